"""Options and output that several subcommands share."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dataset_scripts.relevance.entities import EntityExtractor
    from dataset_scripts.relevance.formulas import Corpus

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


class RelevanceName(StrEnum):
    """What two texts are compared by."""

    PAPER = "paper"
    CONTENT = "content"


WhichRelevance = Annotated[
    RelevanceName, typer.Option(help="RaTEScore as published, or by what the texts affirm.")
]
WhichCorpus = Annotated[
    str | None,
    typer.Option(help="content: a built dataset, folder or Hub id, whose training reports say what is rare."),
]


def corpus_of(
    dataset: str | None, relevance: RelevanceName, scorer: "EntityExtractor | None" = None
) -> "Corpus | None":
    """The document frequencies of a built dataset; None without one.

    Args:
        dataset: a folder or Hub id.
        relevance: what the texts are compared by.
        scorer: what found the entities of the texts; the dataset's must be the same.

    Raises:
        ValueError: the relevance does not need them, or the dataset does not hold those of this scorer.
    """
    if dataset is None:
        return None
    if relevance is not RelevanceName.CONTENT:
        raise ValueError("--corpus belongs to --relevance content: give both, or none")
    from dataset_scripts.building.built_dataset import BuiltDataset
    from dataset_scripts.relevance.formulas import Corpus

    return Corpus.of(BuiltDataset.open(dataset).entities(scorer))


def print_json(value: Any) -> None:
    """Print a value as `--json` asks for it."""
    typer.echo(json.dumps(value, indent=1, default=str))
