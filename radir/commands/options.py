"""Options and output that several subcommands share."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dataset_scripts.relevance.entities import EntityExtractor

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Out = Annotated[Path, typer.Option(help="The folder to write.")]


class ScorerName(StrEnum):
    """What finds the entities behind the relevance."""

    LEXICAL = "lexical"
    RATESCORE = "ratescore"


WhichScorer = Annotated[
    ScorerName, typer.Option(help="What finds the entities: rules, or RaTEScore's two models.")
]
Ner = Annotated[str | None, typer.Option(help="ratescore: the NER model, a Hub id or folder.")]
Encoder = Annotated[str | None, typer.Option(help="ratescore: the entity encoder, a Hub id or folder.")]


def make_scorer(
    name: ScorerName, ner: str | None, encoder: str | None, shards: Path | None = None
) -> "EntityExtractor":
    """The scorer that the options ask for; the models are looked up at once, and loaded when needed."""
    models: dict[str, Any] = {"ner": ner, "encoder": encoder}
    models = {option: value for option, value in models.items() if value is not None}
    if name is ScorerName.LEXICAL:
        if models or shards is not None:
            raise ValueError("--ner, --encoder and --shards belong to --scorer ratescore")
        from dataset_scripts.relevance.lexical.extractor import LexicalExtractor

        return LexicalExtractor()
    from dataset_scripts.relevance.neural.extractor import RateScoreExtractor
    from dataset_scripts.relevance.neural.shards import ShardedExtractor

    with_models = RateScoreExtractor(**models, progress=True)
    return with_models if shards is None else ShardedExtractor(with_models, shards, progress=True)


def print_json(value: Any) -> None:
    """Print a value as `--json` asks for it."""
    typer.echo(json.dumps(value, indent=1, default=str))
