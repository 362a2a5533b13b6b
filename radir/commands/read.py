"""`radir read`: what was understood of a text."""

import dataclasses
from typing import Annotated

import typer

from radir.commands.options import AsJson, print_json

COLUMNS = ("concept", "kind", "anatomy", "side", "degree", "status", "change")


def read(
    text: Annotated[str, typer.Argument(help="A report, or some sentences of one; - reads standard input.")],
    as_json: AsJson = False,
) -> None:
    """Print what a text says: every finding with its place, side, degree, status and change."""
    from dataset_scripts.mining.reader import Reader
    from dataset_scripts.mining.sentences import split_sentences

    if text == "-":
        text = typer.get_text_stream("stdin").read()
    reader = Reader()
    sentences = split_sentences(text)
    if not sentences:
        raise ValueError('the text is empty: give a report, for example radir read "Small left effusion."')
    mentions = [
        {"sentence": sentence, **dataclasses.asdict(statement), "anatomy": "; ".join(statement.anatomies)}
        for sentence in sentences
        for statement in reader.read_sentence(sentence)
    ]
    if as_json:
        print_json({"sentences": sentences, "mentions": mentions})
        return
    _print_table(mentions)


def _print_table(mentions: list[dict[str, object]]) -> None:
    """The mentions as a table, with the number of sentences that say nothing of the kind."""
    from rich.console import Console
    from rich.table import Table

    if not mentions:
        typer.echo("No finding, anatomy or device was found in the text.")
        return
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name)
    for mention in mentions:
        table.add_row(*(str(mention[name]) for name in COLUMNS))
    Console().print(table)
