"""`radir evaluate`: the paper's tables for any number of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from radir_cli.options import AsJson, Out, print_json


def evaluate(
    model: Annotated[list[str], typer.Option(help="A model folder or Hub id; may be repeated.")],
    dataset: Annotated[str, typer.Option(help="A built dataset: folder or Hub id.")],
    out: Out,
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    baseline: Annotated[list[str] | None, typer.Option(help="random, oracle; may be repeated.")] = None,
    embeddings: Annotated[
        list[Path] | None, typer.Option(help="FILE.parquet (id, vector, optionally anatomy) of any model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and the random ranking.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Recall@k and NDCG@k of models: results.json, tables.md, per-query rows and report.html."""
    results = run_evaluation(
        model, baseline or [], embeddings or [], dataset, split, out, seed, progress=not as_json
    )
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
    seed: int,
    progress: bool,
) -> dict[str, Any]:
    """Evaluate models, baselines and embeddings alike, and write the report."""
    from dataset_scripts.folder import BuiltDataset
    from eval.benchmark import evaluate_models
    from eval.embeddings import OracleRanking, ParquetEmbeddings, RandomRanking
    from eval.model_embeddings import ModelEmbeddings
    from eval.protocol import Protocol
    from eval.report import write_report

    known: dict[str, Callable[[], Any]] = {"random": lambda: RandomRanking(seed), "oracle": OracleRanking}
    for name in baselines:
        if name not in known:
            raise ValueError(f"there is no baseline {name!r}; there are {', '.join(known)}")
    data = BuiltDataset.open(dataset)
    sources = [
        *(ModelEmbeddings(path, progress=progress) for path in models),
        *(ParquetEmbeddings(path) for path in embeddings),
        *(known[name]() for name in baselines),
    ]
    results = evaluate_models(data, split, sources, Protocol(seed=seed), out, progress)
    write_report(data, out)
    return results


def print_summary(results: dict[str, Any], out: Path) -> None:
    """The few figures to look at first, and where the rest is."""
    from eval.tables import summary_table

    typer.echo(summary_table(results))
    typer.echo(f"figures: {out / 'results.json'}\nreport:  {(out / 'report.html').resolve().as_uri()}")
