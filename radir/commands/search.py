"""`radir index`, `search` and `heat-map`: from images to an index, from one image to its hits, and why."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from radir.commands.options import (
    AsJson,
    Out,
    RelevanceName,
    WhichCorpus,
    WhichRelevance,
    corpus_of,
    print_json,
)

if TYPE_CHECKING:
    from dataset_scripts.relevance.explain import Explanation


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
    """Embed images once for every anatomy, for `radir search`."""
    from dataset_scripts.building.built_dataset import BuiltDataset
    from radir_search.build_index import build_index
    from radir_search.sharing import on_privacy

    if (images is None) == (dataset is None):
        raise ValueError("give either --images DIR or --dataset DIR_OR_ID")
    if split and dataset is None:
        raise ValueError("--split belongs to --dataset: a folder of images has no splits")
    source = images if images is not None else BuiltDataset.open(str(dataset))
    built = build_index(model, source, out, progress=not as_json, splits=split)
    if as_json:
        print_json(dataclasses.asdict(built))
        return
    typer.echo(f"{built.folder}: {built.count:,} images, for {built.anatomies} anatomies and as a whole")
    for skipped in built.skipped:
        typer.echo(f"  left out {skipped['path']}: {skipped['reason']}")
    if line := on_privacy(built.data):
        typer.echo(line)


def search(
    index: Annotated[Path, typer.Option(help="A folder that `radir index` wrote.")],
    image: Annotated[Path, typer.Option(help="The query: an image, or a volume's file or folder.")],
    anatomy: Annotated[str | None, typer.Option(help="Where to look; the whole image by default.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    model: Annotated[str | None, typer.Option(help="The model, if it moved since the indexing.")] = None,
    findings: Annotated[
        str | None, typer.Option(help="What the query shows there, to say how each hit's text compares.")
    ] = None,
    relevance: WhichRelevance = RelevanceName.PAPER,
    corpus: WhichCorpus = None,
    as_json: AsJson = False,
) -> None:
    """Find the indexed images most like one image, for one anatomy or as a whole."""
    from radir_search.query import search_image

    if not findings and (relevance is not RelevanceName.PAPER or corpus):
        raise ValueError("--relevance and --corpus compare texts: give the query's as --findings TEXT")
    anatomy = _resolved(anatomy) if anatomy else None
    hits = search_image(index, image, anatomy, k, model)
    whys = _compared(findings, [hit.findings for hit in hits], relevance, corpus)
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
    hit: Annotated[
        Path | None, typer.Option(help="The image it was compared with; itself by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw which pixels of an image its similarity for one anatomy comes from."""
    from dataset_scripts.plumbing.atomic import atomic_path
    from dataset_scripts.plumbing.outputs import claim
    from modeling_radir.heat_maps.draw import draw_heat_map

    if out.suffix.lower() != ".png":
        raise ValueError(f"--out is {out}: give a name that ends in .png")
    if out.is_dir():
        raise ValueError(f"--out is {out}, which is a folder: give the name of a file")
    with claim(out) as place:
        picture = draw_heat_map(model, image, _resolved(anatomy), hit)
        with atomic_path(place) as temporary:
            picture.save(temporary, format="png")
    print_json({"file": str(out)}) if as_json else typer.echo(out)


def _resolved(anatomy: str) -> str:
    """The anatomy that a name or a synonym stands for: "cardiac silhouette" is the heart.

    A name that the ontology lacks may be the model's own; the model refuses it if it is not.
    """
    from dataset_scripts.mining.ontology import default_ontology

    try:
        return default_ontology().resolve(anatomy)
    except ValueError:
        return anatomy


def _compared(
    findings: str | None, hits: list[str], relevance: RelevanceName, corpus: str | None
) -> "list[Explanation | None]":
    """How the query's findings compare with each hit's; the model reads neither."""
    from dataset_scripts.relevance.explain import explain_hits
    from dataset_scripts.relevance.lexical.extractor import LexicalExtractor

    if not findings:
        return [None] * len(hits)
    scorer = LexicalExtractor()
    counted = corpus_of(corpus, relevance, scorer)
    texts = [hit for hit in hits if hit]
    found = iter(explain_hits(findings, texts, scorer, None, relevance.value, counted))
    return [next(found) if hit else None for hit in hits]
