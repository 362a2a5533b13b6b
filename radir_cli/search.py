"""`radir index`, `search` and `heat-map`: from images to an index, from one image to its hits, and why."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dataset_scripts.entities import LexicalScorer
from radir_cli.options import AsJson, Out, print_json

if TYPE_CHECKING:
    from dataset_scripts.explain import Explanation


def index(
    model: Annotated[str, typer.Option(help="A model folder or Hub id.")],
    out: Out,
    images: Annotated[
        Path | None,
        typer.Option(help="A folder of JPEG, PNG or DICOM images, or of NIfTI files and DICOM series."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A built dataset: folder or Hub id.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Of the dataset; may be repeated; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Embed images under every anatomy, for `radir search`."""
    from radir_search.build_index import build_index

    if (images is None) == (dataset is None):
        raise ValueError("give either --images DIR or --dataset DIR_OR_ID")
    items = images if images is not None else _dataset_items(str(dataset), split)
    built = build_index(model, items, out, progress=not as_json)
    if as_json:
        print_json(dataclasses.asdict(built))
        return
    typer.echo(f"{built.folder}: {built.count:,} images under {built.anatomies} anatomies and as a whole")
    for skipped in built.skipped:
        typer.echo(f"  left out {skipped['path']}: {skipped['reason']}")


def _dataset_items(dataset: str, splits: list[str] | None) -> Iterator[Any]:
    """The images of a built dataset with their texts, for the index to show beside its hits."""
    from dataset_scripts.folder import BuiltDataset
    from radir_search.build_index import IndexItem

    data = BuiltDataset.open(dataset)
    for split in splits or data.splits:
        findings = data.findings(split)
        for row in data.studies(split):
            about = {name: row[name] for name in ("image_id", "study_id", "subject_id")}
            about |= {"split": split, "text": row["findings"], "findings": findings.get(row["study_id"], {})}
            yield IndexItem(partial(data.image, row), about)


def search(
    index: Annotated[Path, typer.Option(help="A folder that `radir index` wrote.")],
    image: Annotated[Path, typer.Option(help="The query: an image, or a volume's file or folder.")],
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
    from radir_search.query import search_image

    anatomy = default_ontology().resolve(anatomy) if anatomy else None  # "cardiac silhouette" is the heart
    hits = search_image(index, image, anatomy, k, model)
    whys = _compared(findings, [hit.findings for hit in hits])
    if as_json:
        rows = [dataclasses.asdict(hit) for hit in hits]
        if findings is not None:
            rows = [
                row | {"text_relevance": why and why.to_dict()} for row, why in zip(rows, whys, strict=True)
            ]
        print_json({"image": str(image), "anatomy": anatomy, "hits": rows})
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


def heat_map(
    model: Annotated[str, typer.Option(help="A model folder or Hub id.")],
    image: Annotated[Path, typer.Option(help="The query: an image, or a volume's file or folder.")],
    anatomy: Annotated[str, typer.Option(help="Where to look.")],
    out: Annotated[Path, typer.Option(help="The PNG file to write.")],
    hit: Annotated[Path | None, typer.Option(help="What it was compared with; by default itself.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw where in an image its likeness comes from, as far as an anatomy is concerned."""
    from dataset_scripts.ontology import default_ontology
    from dataset_scripts.plumbing.atomic import atomic_path
    from modeling_radir.drawing import draw_heat_map

    if out.suffix.lower() != ".png":
        raise ValueError(f"--out is {out}: give a name that ends in .png")
    picture = draw_heat_map(model, image, default_ontology().resolve(anatomy), hit)
    with atomic_path(out) as temporary:
        picture.save(temporary, format="png")
    print_json({"file": str(out)}) if as_json else typer.echo(out)


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
