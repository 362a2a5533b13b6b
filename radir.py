"""The front door: the `radir` command. Each subcommand hands over to one module and prints its answer."""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    help="Radiology image retrieval by anatomy: build, evaluate, index, search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Out = Annotated[Path, typer.Option(help="The folder to write.")]


class Builder(StrEnum):
    """The datasets that `radir build` makes."""

    PHANTOM_CXR = "phantom-cxr"
    OPEN_I = "open-i"


class ScorerName(StrEnum):
    """What finds the entities behind the relevance."""

    LEXICAL = "lexical"


@app.command()
def build(
    name: Annotated[Builder, typer.Argument(help="Which dataset.")],
    out: Out,
    source: Annotated[Path | None, typer.Option(help="open-i: the folder with the CSV files.")] = None,
    scorer: Annotated[ScorerName, typer.Option(help="What finds the entities.")] = ScorerName.LEXICAL,
    views: Annotated[str | None, typer.Option(help="open-i: frontal (default), lateral or all.")] = None,
    count: Annotated[int | None, typer.Option(help="phantom-cxr: number of studies (default 2000).")] = None,
    size: Annotated[int | None, typer.Option(help="phantom-cxr: pixels a side (default 256).")] = None,
    seed: Annotated[int, typer.Option(help="Of the phantoms and of the split by patient.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Build a dataset folder: mining, entities, relevance, Parquet."""
    from dataset_scripts.build import build_dataset
    from dataset_scripts.entities import LexicalScorer

    assert scorer is ScorerName.LEXICAL
    options = {"source": source, "views": views, "count": count, "size": size, "seed": seed}
    summary = build_dataset(_source(name, options), out, LexicalScorer(), progress=not as_json)
    if as_json:
        _print_json(dataclasses.asdict(summary))
        return
    images = ", ".join(f"{count:,} {split}" for split, count in summary.images.items())
    typer.echo(
        f"{summary.folder}: {images}; {summary.findings:,} findings over {summary.anatomies} anatomies"
    )
    for reason, skipped in summary.skipped.items():
        typer.echo(f"  left out {skipped:,}: {reason}")


def _source(name: Builder, options: dict[str, Any]) -> Any:
    """The builder's source; an option that it does not have is the user's mistake."""
    from dataset_scripts.open_i import OpenISource
    from dataset_scripts.phantom_source import PhantomCXRSource

    kind: Any = {Builder.PHANTOM_CXR: PhantomCXRSource, Builder.OPEN_I: OpenISource}[name]
    given = {option: value for option, value in options.items() if value is not None}
    known = {item.name for item in dataclasses.fields(kind)}
    for option in given:
        if option not in known:
            raise ValueError(f"{name.value} has no option --{option}; it has {', '.join(sorted(known))}")
    if "source" in known and "source" not in given:
        raise ValueError(f"{name.value} is built from a local copy: give its folder as --source DIR")
    return kind(**given)


@app.command()
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
    results = _evaluate(
        model, baseline or [], embeddings or [], dataset, split, out, seed, progress=not as_json
    )
    if as_json:
        _print_json(results)
    else:
        _print_summary(results, out)


def _evaluate(
    models: list[str],
    baselines: list[str],
    embeddings: list[Path],
    dataset: str,
    split: str,
    out: Path,
    seed: int,
    progress: bool,
) -> dict[str, Any]:
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


def _print_summary(results: dict[str, Any], out: Path) -> None:
    from eval.tables import summary_table

    typer.echo(summary_table(results))
    typer.echo(f"figures: {out / 'results.json'}\nreport:  {(out / 'report.html').resolve().as_uri()}")


@app.command()
def index(
    model: Annotated[str, typer.Option(help="A model folder or Hub id.")],
    out: Out,
    images: Annotated[Path | None, typer.Option(help="A folder of JPEG or PNG images.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A built dataset: folder or Hub id.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Of the dataset; may be repeated; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Embed images under every anatomy, for `radir search`."""
    from modeling_radir.indexing import build_index, folder_items

    if (images is None) == (dataset is None):
        raise ValueError("give either --images DIR or --dataset DIR_OR_ID")
    items = folder_items(images) if images is not None else _dataset_items(str(dataset), split)
    built = build_index(model, items, out, progress=not as_json)
    if as_json:
        _print_json(dataclasses.asdict(built))
        return
    typer.echo(f"{built.folder}: {built.count:,} images under {built.anatomies} anatomies and as a whole")
    for skipped in built.skipped:
        typer.echo(f"  left out {skipped['path']}: {skipped['reason']}")


def _dataset_items(dataset: str, splits: list[str] | None) -> Iterator[Any]:
    """The images of a built dataset with their texts, for the index to show beside its hits."""
    from dataset_scripts.folder import BuiltDataset
    from modeling_radir.indexing import IndexItem

    data = BuiltDataset.open(dataset)
    for split in splits or data.splits:
        findings = data.findings(split)
        for row in data.studies(split):
            about = {name: row[name] for name in ("image_id", "study_id", "subject_id")}
            about |= {"split": split, "text": row["findings"], "findings": findings.get(row["study_id"], {})}
            yield IndexItem(row["image"], about)


@app.command()
def search(
    index: Annotated[Path, typer.Option(help="A folder that `radir index` wrote.")],
    image: Annotated[Path, typer.Option(help="The query image.")],
    anatomy: Annotated[str | None, typer.Option(help="Where to look; the whole image by default.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    model: Annotated[str | None, typer.Option(help="The model, if it moved since the indexing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the indexed images most like one image, as far as an anatomy is concerned."""
    from dataset_scripts.ontology import default_ontology
    from modeling_radir.indexing import search_image

    anatomy = default_ontology().resolve(anatomy) if anatomy else None  # "cardiac silhouette" is the heart
    hits = search_image(index, image, anatomy, k, model)
    if as_json:
        _print_json(
            {"image": str(image), "anatomy": anatomy, "hits": [dataclasses.asdict(hit) for hit in hits]}
        )
        return
    table = Table(
        "rank", "score", "image", "study", "findings", title=f"{image} · {anatomy or 'whole image'}"
    )
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", hit.image_id, hit.study_id, hit.findings)
    Console().print(table)


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    count: Annotated[int, typer.Option(help="Number of phantom studies.")] = 2000,
    config: Annotated[
        Path | None, typer.Option(help="Training settings; configs/demo.yaml by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Phantoms, both training stages, a plain CLIP of the same budget, evaluation, index, search, report."""
    from configs.settings import load_config
    from train_accelerate import train

    settings = str(config or files("configs") / "demo.yaml")
    data, models = out / "phantom-cxr", [out / "radir-cxr-phantom", out / "clip-cxr-phantom"]
    clock = _Clock()
    build(Builder.PHANTOM_CXR, data, count=count, seed=seed)
    clock.lap("build")
    for method, folder in zip(("radir", "clip"), models, strict=True):
        arguments = ["--dataset", data, "--output_dir", folder, "--method", method, "--seed", seed]
        train(load_config([settings, *map(str, arguments)]))
        clock.lap(f"training {method}")
    results = _evaluate(
        [str(path) for path in models], ["random"], [], str(data), "test", out / "evaluation", seed, True
    )
    clock.lap("evaluation")
    index(str(models[0]), out / "index", dataset=str(data), split=["train"])
    query = _first_image(data, out / "query.png")
    search(out / "index", query, anatomy="left pleura", k=5)
    clock.lap("index and search")
    typer.echo(clock.summary())
    _print_summary(results, out / "evaluation")


def _first_image(data: Path, path: Path) -> Path:
    """Save the first held-out image as a file, to be searched with."""
    from dataset_scripts.folder import BuiltDataset

    BuiltDataset.open(data).studies("test")[0]["image"].save(path)
    return path


class _Clock:
    """Wall time of the demo's parts."""

    def __init__(self) -> None:
        self._last, self._laps = time.perf_counter(), list[str]()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps.append(f"{name} {now - self._last:.0f} s")
        self._last = now

    def summary(self) -> str:
        return "time: " + ", ".join(self._laps)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, default=str))


def main() -> None:
    """The console script: bad input ends with a sentence and exit code 2."""
    logging.basicConfig(format="%(message)s")
    try:
        app()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"radir: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
