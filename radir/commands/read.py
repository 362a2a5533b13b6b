"""`radir read`: what was understood of a text."""

import dataclasses
from typing import Annotated, Any

import typer

from radir.commands.options import AsJson, print_json

COLUMNS = ("section", "concept", "kind", "anatomies", "side", "degree", "status", "change")
READ = ("findings", "impression")


def read(
    text: Annotated[str, typer.Argument(help="A report, or some sentences of one; - reads standard input.")],
    as_json: AsJson = False,
) -> None:
    """Print what a text says: every finding with its place, side, degree, status and change.

    Of a report with sections, findings and impression are read.
    """
    from dataset_scripts.mining.reader import Reader
    from dataset_scripts.mining.sections import split_sections
    from dataset_scripts.mining.sentences import split_sentences

    if text == "-":
        text = typer.get_text_stream("stdin").read()
    reader = Reader()
    sections = split_sections(text)
    parts = {name: sections.pop(name) for name in READ if name in sections}
    if not parts:
        parts, sections = {"": text}, {}
    sentences = [(name, sentence) for name, part in parts.items() for sentence in split_sentences(part)]
    if not sentences:
        raise ValueError('the text is empty: give a report, for example radir read "Small left effusion."')
    mentions = [
        {"section": name, "sentence": sentence, **dataclasses.asdict(statement)}
        for name, sentence in sentences
        for statement in reader.read_sentence(sentence)
    ]
    if as_json:
        said = [sentence for _, sentence in sentences]
        print_json({"sentences": said, "mentions": mentions, "not_read": list(sections)})
        return
    _print_table(mentions)
    if sections:
        typer.echo(f"not read: {', '.join(sections)}")


def _print_table(mentions: list[dict[str, Any]]) -> None:
    """The mentions as a table; columns that hold nothing are left out."""
    from rich.console import Console
    from rich.table import Table

    if not mentions:
        typer.echo("No finding, anatomy or device was found in the text.")
        return
    shown = [{**mention, "anatomies": "; ".join(mention["anatomies"])} for mention in mentions]
    columns = [name for name in COLUMNS if any(mention[name] for mention in shown)]
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name)
    for mention in shown:
        table.add_row(*(mention[name] for name in columns))
    Console().print(table)
