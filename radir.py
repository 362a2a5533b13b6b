"""The front door: the `radir` command. Each subcommand hands over to one module and prints its answer."""

import dataclasses
import inspect
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.table import Table

from dataset_scripts.entities import LexicalScorer
from dataset_scripts.phantom_source import PhantomCXRSource
from dataset_scripts.records import Source
from dataset_scripts.sources import SOURCES
from dataset_scripts.store import Scorer

if TYPE_CHECKING:
    from dataset_scripts.explain import Explanation

app = typer.Typer(
    help="Radiology image retrieval by anatomy: build, evaluate, index, search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Out = Annotated[Path, typer.Option(help="The folder to write.")]


class ScorerName(StrEnum):
    """What finds the entities behind the relevance."""

    LEXICAL = "lexical"
    RATESCORE = "ratescore"


class AffinityName(StrEnum):
    """RaTEScore's matrices of type weights."""

    LONG = "long"
    SHORT = "short"


WhichScorer = Annotated[
    ScorerName, typer.Option(help="What finds the entities: rules, or RaTEScore's two models.")
]
Ner = Annotated[str | None, typer.Option(help="ratescore: the NER model, a Hub id or folder.")]
Encoder = Annotated[str | None, typer.Option(help="ratescore: the entity encoder, a Hub id or folder.")]


def _scorer(name: ScorerName, ner: str | None, encoder: str | None, shards: Path | None = None) -> Scorer:
    """The scorer that the options ask for; the models are looked up at once, and loaded when needed."""
    models: dict[str, Any] = {"ner": ner, "encoder": encoder}
    models = {option: value for option, value in models.items() if value is not None}
    if name is ScorerName.LEXICAL:
        if models or shards is not None:
            raise ValueError("--ner, --encoder and --shards belong to --scorer ratescore")
        return LexicalScorer()
    from dataset_scripts.rate_scorer import RateScorer
    from dataset_scripts.rate_shards import ShardedScorer

    with_models = RateScorer(**models, progress=True)
    return with_models if shards is None else ShardedScorer(with_models, shards, progress=True)


build = typer.Typer(no_args_is_help=True)
app.add_typer(build, name="build", help="Build a dataset folder: mining, entities, relevance, Parquet.")


def _build(
    source: Source,
    out: Path,
    scorer: ScorerName = ScorerName.LEXICAL,
    ner: str | None = None,
    encoder: str | None = None,
    shards: Path | None = None,
    processes: int | None = None,
    as_json: bool = False,
) -> None:
    from dataset_scripts.build import build_dataset

    chosen = _scorer(scorer, ner, encoder, shards)
    facts = build_dataset(source, out, chosen, processes=processes, progress=not as_json)
    if as_json:
        _print_json({"folder": str(out), **dataclasses.asdict(facts)})
        return
    images = ", ".join(f"{count:,} {split}" for split, count in facts.images.items())
    findings = sum(facts.findings.values())
    typer.echo(f"{out}: {images}; {findings:,} findings over {len(facts.findings)} anatomies")
    for reason, skipped in facts.skipped.items():
        typer.echo(f"  left out {skipped:,}: {reason}")


def _add_build_command(kind: type[Source]) -> None:
    """Add `radir build NAME`; its options are the fields that the source declares."""
    shared = list(inspect.signature(_build).parameters)[1:]

    def command(**given: Any) -> None:
        settings = {name: given.pop(name) for name in shared}
        _build(kind(**given), **settings)

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
    build.command(kind.name, help=(kind.__doc__ or "").partition("\n\n")[0])(command)


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


for _kind in SOURCES.values():
    _add_build_command(_kind)


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
    findings: Annotated[
        str | None, typer.Option(help="What the query shows there, to say how each hit's text compares.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the indexed images most like one image, as far as an anatomy is concerned."""
    from dataset_scripts.ontology import default_ontology
    from modeling_radir.indexing import search_image

    anatomy = default_ontology().resolve(anatomy) if anatomy else None  # "cardiac silhouette" is the heart
    hits = search_image(index, image, anatomy, k, model)
    whys = _compared(findings, [hit.findings for hit in hits])
    if as_json:
        rows = [dataclasses.asdict(hit) for hit in hits]
        if findings is not None:
            rows = [
                row | {"text_relevance": why and why.to_dict()} for row, why in zip(rows, whys, strict=True)
            ]
        _print_json({"image": str(image), "anatomy": anatomy, "hits": rows})
        return
    columns = [
        "rank",
        "score",
        "image",
        "study",
        "findings",
        *(["relevance of the texts"] if findings else []),
    ]
    table = Table(*columns, title=f"{image} · {anatomy or 'whole image'}")
    for hit, why in zip(hits, whys, strict=True):
        cells = [str(hit.rank), f"{hit.score:.4f}", hit.image_id, hit.study_id, hit.findings]
        if findings:
            cells.append(f"{why.score:.2f}: {why.line(120)}" if why else "")
        table.add_row(*cells)
    Console().print(table)


def _compared(findings: str | None, hits: list[str]) -> "list[Explanation | None]":
    """How the query's findings compare with each hit's; the model has seen neither."""
    from dataset_scripts.explain import explain_hits
    from dataset_scripts.ratescore import RateScoreWeights

    if not findings:
        return [None] * len(hits)
    found = iter(
        explain_hits(findings, [hit for hit in hits if hit], LexicalScorer(), RateScoreWeights.named())
    )
    return [next(found) if hit else None for hit in hits]


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
    source = PhantomCXRSource(count=count, seed=seed)
    _build(source, data)
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


@app.command()
def score(
    candidates: Annotated[Path, typer.Argument(help="One text a line.")],
    references: Annotated[Path, typer.Argument(help="One text a line.")],
    scorer: WhichScorer = ScorerName.LEXICAL,
    ner: Ner = None,
    encoder: Encoder = None,
    affinity: Annotated[
        AffinityName, typer.Option(help="For reports, or for short texts.")
    ] = AffinityName.LONG,
    neg_weight: Annotated[
        float | None,
        typer.Option(help="Of contradictions; RaTEScore 0.6.0's by default, 0.3612 as in the paper."),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every line with every line.")] = False,
    as_json: AsJson = False,
) -> None:
    """RaTEScore of two files of texts, line by line."""
    from dataset_scripts.scoring import score_files

    chosen = _scorer(scorer, ner, encoder)
    scores = score_files(candidates, references, chosen, affinity.value, neg_weight, all_pairs)
    if as_json:
        _print_json({"scores": scores})
        return
    for row in scores:
        typer.echo(" ".join(f"{value:.6f}" for value in (row if isinstance(row, list) else [row])))


@app.command()
def discover(
    radgraph: Annotated[
        list[Path] | None, typer.Option(help="RadGraph's JSON: files or folders; may be repeated.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Reports to run the radgraph package on (extra radgraph).")
    ] = None,
    out: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("terms.csv"),
    min_count: Annotated[int, typer.Option(help="Leave out rarer terms.")] = 1,
    as_json: AsJson = False,
) -> None:
    """List the anatomy terms of a corpus by frequency, and which of them the ontology covers."""
    from dataset_scripts import discovery

    if bool(radgraph) == (reports is not None):
        raise ValueError("give either --radgraph FILE_OR_DIR (RadGraph's JSON) or --reports FILE")
    if reports is not None:
        documents = discovery.annotate(discovery.read_reports(reports), progress=not as_json)
        found = discovery.survey(documents, min_count=min_count)
    else:
        found = discovery.discover(radgraph or [], min_count=min_count, progress=not as_json)
    discovery.write_terms(found.terms, out)
    if as_json:
        _print_json(dataclasses.asdict(found))
        return
    typer.echo(
        f"{found.documents:,} reports, {found.mentions:,} mentions of anatomy, "
        f"{found.covered_share:.1%} covered; {out}: {len(found.terms):,} terms"
    )


@app.command()
def push(
    dataset: Annotated[Path, typer.Option(help="A built dataset's folder.")],
    repo: Annotated[str, typer.Option(help="The repository on the Hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    i_may_share: Annotated[
        bool, typer.Option("--i-may-share", help="You may hand on restricted content to who can read there.")
    ] = False,
    identifiers_only: Annotated[
        bool, typer.Option("--identifiers-only", help="Identifiers and relevances, no text, no images.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a built dataset to the Hub; what may not be shared is refused."""
    from dataset_scripts.publish import push_dataset

    url = push_dataset(
        dataset,
        repo,
        private=private,
        i_may_share=i_may_share,
        identifiers_only=identifiers_only,
        progress=not as_json,
    )
    _print_json({"url": url}) if as_json else typer.echo(url)


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
