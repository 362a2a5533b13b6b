"""`radir evaluate`: the paper's tables for any models; `radir export-run`: the same tasks for other tools."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radir.commands.options import AsJson, Out, print_json

if TYPE_CHECKING:
    from radir_eval.protocol import Protocol
    from radir_eval.rankers.vectors import Ranker

Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model folder or Hub id; may be repeated.")
]
Dataset = Annotated[str, typer.Option(help="A built dataset: folder or Hub id.")]
Split = Annotated[str, typer.Option(help="Which split.")]
Baselines = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        help="random, oracle, oracle-content, frozen and frozen-centred (the tower of the first --model "
        "before training), biomedclip, medclip=PATH, pmc-clip, ct-clip, medsiglip, rad-dino, biovil-t, or "
        "any user/model; NAME=ID_OR_PATH for weights of your own; may be repeated.",
    ),
]
Embeddings = Annotated[
    list[Path] | None,
    typer.Option(help="FILE.parquet (id, vector, optionally anatomy) of any model; may be repeated."),
]
Choices = Annotated[
    Path | None,
    typer.Option(
        "--protocol",
        help="FILE.yaml with fields of the protocol that shall differ from the paper's: threshold, "
        "max_per_anatomy, ks_conditional, ...; results.json shows them all.",
    ),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option("--skip-unreadable", help="Leave out images that cannot be read, for all, and list them."),
]
Seed = Annotated[int | None, typer.Option(help="Of the bootstrap and the random ranking; 0 by default.")]


def evaluate(
    dataset: Dataset,
    out: Out,
    model: Models = None,
    split: Split = "test",
    baseline: Baselines = None,
    embeddings: Embeddings = None,
    protocol: Choices = None,
    seed: Seed = None,
    heat_maps: Annotated[
        int | None, typer.Option(help="How many the report shows at most; 0 for none.")
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Recall@k and NDCG@k of models: results.json, tables, per-query rows and report.html; resumes."""
    choices = _protocol(protocol, seed)
    results = run_evaluation(
        model or [], baseline or [], embeddings or [], dataset, split, out, choices, not as_json, heat_maps,
        skip_unreadable,
    )  # fmt: skip
    if as_json:
        print_json(results)
    else:
        print_summary(results, out)


def run_evaluation(
    models: list[str],
    baselines: list[str],
    embeddings: list[Path],
    dataset: str,
    split: str,
    out: Path,
    protocol: "Protocol",
    progress: bool,
    heat_maps: int | None = None,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluate models, baselines and embeddings alike, and write the report."""
    from radir_eval.benchmark import evaluate_models
    from radir_eval.report.examples import MOST_HEAT_MAPS
    from radir_eval.report.page import write_report

    from dataset_scripts.building.built_dataset import BuiltDataset

    data = BuiltDataset.open(dataset)
    rankers = _rankers(models, baselines, embeddings, protocol.seed, progress)
    drawn = MOST_HEAT_MAPS if heat_maps is None else heat_maps
    results = evaluate_models(
        data, split, rankers, protocol, out, progress, heat_maps=drawn, skip_unreadable=skip_unreadable
    )
    write_report(data, out, progress=progress)
    return results


def _protocol(path: Path | None, seed: int | None) -> "Protocol":
    from radir_eval.protocol import Protocol

    protocol = Protocol() if path is None else Protocol.read(path)
    return protocol if seed is None else dataclasses.replace(protocol, seed=seed)


def _rankers(
    models: list[str], baselines: list[str], embeddings: list[Path], seed: int, progress: bool
) -> "list[Ranker]":
    from radir_eval.baselines import BASELINES, parse_baseline
    from radir_eval.rankers.radir_model import ModelEmbeddings
    from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings, RandomRanker
    from radir_eval.retrieval_split import CONTENT

    from modeling_radir.checks import unknown_name

    if not (models or baselines or embeddings):
        raise ValueError("there is nothing to rank by: give --model, --baseline or --embeddings")
    references: dict[str, Any] = {
        "random": lambda: RandomRanker(seed),
        "oracle": OracleRanker,
        "oracle-content": lambda: OracleRanker(relevance=CONTENT),
    }
    first = models[0] if models else None
    known = [*references, *BASELINES]
    for name in baselines:
        if name not in known and not ("=" in name or "/" in name or Path(name).is_dir()):
            raise unknown_name("baseline", name, known)
    return [
        *(ModelEmbeddings(path, progress=progress) for path in models),
        *(ParquetEmbeddings(path) for path in embeddings),
        *(
            references[name]()
            if name in references
            else parse_baseline(name, progress=progress, first_model=first)
            for name in baselines
        ),
    ]


def print_summary(results: dict[str, Any], out: Path) -> None:
    """The few figures to look at first, and where the rest is."""
    from radir_eval.tables.paper_tables import summary_table

    typer.echo(summary_table(results))
    for one in results["left_out"]:
        typer.echo(f"  left out: {one['reason']}")
    typer.echo(f"figures: {out / 'results.json'}\nreport:  {out / 'report.html'}")


def export_run(
    dataset: Dataset,
    out: Out,
    model: Models = None,
    split: Split = "test",
    baseline: Baselines = None,
    embeddings: Embeddings = None,
    anatomy: Annotated[
        list[str] | None, typer.Option(help="Tasks of these anatomies alone; may be repeated.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Candidates of a query in a run.")] = None,
    include_text: Annotated[
        bool, typer.Option("--include-text", help="Texts too, though the dataset is not open.")
    ] = False,
    include_images: Annotated[
        bool, typer.Option("--include-images", help="Images too, though the dataset is not open.")
    ] = False,
    protocol: Choices = None,
    seed: Seed = None,
    skip_unreadable: SkipUnreadable = False,
    as_json: AsJson = False,
) -> None:
    """Write the benchmark's tasks and rankings as TREC files and as a corpus / queries / gains folder."""
    from radir_eval.export.export import ExportOptions, export_run

    from dataset_scripts.building.built_dataset import BuiltDataset

    options = ExportOptions(
        anatomies=anatomy,
        depth=depth,
        include_text=include_text or None,
        include_images=include_images or None,
    )
    choices = _protocol(protocol, seed)
    rankers = _rankers(model or [], baseline or [], embeddings or [], choices.seed, progress=not as_json)
    exported = export_run(
        BuiltDataset.open(dataset), split, rankers, choices, out, not as_json, options,
        skip_unreadable=skip_unreadable,
    )  # fmt: skip
    if as_json:
        print_json(dataclasses.asdict(exported))
    else:
        typer.echo(f"{exported.tasks} tasks: {exported.trec}, {exported.gains}")
        for reason in exported.left_out.values():
            typer.echo(f"  left out: {reason}")
