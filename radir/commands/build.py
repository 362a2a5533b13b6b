"""`radir build NAME`: one subcommand for each source, whose options are the fields it declares."""

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from dataset_scripts.sources.base import Source
from dataset_scripts.sources.registry import SOURCES
from radir.commands.options import (
    AsJson,
    Encoder,
    Ner,
    Out,
    ScorerName,
    WhichScorer,
    make_scorer,
    print_json,
)

app = typer.Typer(no_args_is_help=True)


def run_build(
    source: Source,
    out: Path,
    scorer: ScorerName = ScorerName.LEXICAL,
    ner: str | None = None,
    encoder: str | None = None,
    shards: Path | None = None,
    processes: int | None = None,
    as_json: bool = False,
) -> None:
    """Build a dataset and say what is in it and what was left out."""
    from dataset_scripts.building.build import build_dataset

    chosen = make_scorer(scorer, ner, encoder, shards)
    facts = build_dataset(source, out, chosen, processes=processes, progress=not as_json)
    if as_json:
        print_json({"folder": str(out), **dataclasses.asdict(facts)})
        return
    images = ", ".join(f"{count:,} {split}" for split, count in facts.images.items())
    findings = sum(facts.findings.values())
    typer.echo(f"{out}: {images}; {findings:,} findings over {len(facts.findings)} anatomies")
    for reason, skipped in facts.skipped.items():
        typer.echo(f"  left out {skipped:,}: {reason}")


def _add_build_command(kind: type[Source]) -> None:
    """Add `radir build NAME`; its options are the fields that the source declares."""
    shared = list(inspect.signature(run_build).parameters)[1:]

    def command(**given: Any) -> None:
        settings = {name: given.pop(name) for name in shared}
        run_build(kind(**given), **settings)

    hints = get_type_hints(kind)
    parameters: dict[str, tuple[Any, Any]] = {
        item.name: (
            Annotated[hints[item.name], typer.Option(help=_sentence(item.metadata["help"]))],
            inspect.Parameter.empty if item.default is dataclasses.MISSING else item.default,
        )
        for item in dataclasses.fields(kind)  # type: ignore[arg-type]
    }
    parameters |= {
        "out": (Out, inspect.Parameter.empty),
        "scorer": (WhichScorer, ScorerName.LEXICAL),
        "ner": (Ner, None),
        "encoder": (Encoder, None),
        "shards": (
            Annotated[Path | None, typer.Option(help="ratescore: where results are kept, and shared.")],
            None,
        ),
        "processes": (
            Annotated[int | None, typer.Option(help="Worker processes; all cores by default.")],
            None,
        ),
        "as_json": (AsJson, False),
    }
    command.__annotations__ = {name: annotation for name, (annotation, _) in parameters.items()}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in parameters.items()
        ]
    )
    app.command(kind.name, help=(kind.__doc__ or "").partition("\n\n")[0])(command)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


for _kind in SOURCES.values():
    _add_build_command(_kind)
