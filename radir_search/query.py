"""From one image to its hits: what `radir search` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeling_radir.inference import embed, load
from modeling_radir.naming import unknown_name
from radir_search.features import encode_anatomies, read_pixels
from radir_search.index import WHOLE_IMAGE, RetrievalIndex


@dataclass(frozen=True)
class Hit:
    """One indexed image: rank from 1, cosine similarity under the anatomy, and what is known of it."""

    rank: int
    score: float
    image_id: str
    study_id: str
    findings: str


def search_image(
    folder: Path, image: Path, anatomy: str | None = None, k: int = 10, model_id: str | None = None
) -> list[Hit]:
    """The k indexed images most like an image, as far as an anatomy is concerned.

    Args:
        folder: of the index.
        image: the query's file, or the folder of a DICOM series.
        anatomy: a name that the index knows; None compares whole images.
        k: number of hits.
        model_id: the model; the one that the index was made with by default.

    Raises:
        ValueError: if the index, the image or the anatomy is not there.
    """
    index = RetrievalIndex.load(folder)
    name = anatomy or WHOLE_IMAGE
    if name not in index.anatomies:
        if index.anatomies == (WHOLE_IMAGE,):
            raise ValueError(f"{folder} was made by a model without fusion: search it without an anatomy")
        raise unknown_name("anatomy", name, [known for known in index.anatomies if known])
    model, processor = load(model_id or index.model)
    pixels = read_pixels(processor, Path(image))
    whole, conditional = embed(model, pixels, encode_anatomies(model, [anatomy] if anatomy else []))
    query = whole if conditional is None else conditional[:, 0]
    scores, positions = index.search(query, name, k)
    return [
        _hit(rank, score, index.items[position], anatomy)
        for rank, (score, position) in enumerate(
            zip(scores[0].tolist(), positions[0].tolist(), strict=True), 1
        )
    ]


def _hit(rank: int, score: float, about: dict[str, Any], anatomy: str | None) -> Hit:
    """A hit with the findings that matter to the question: the anatomy's, or the whole text."""
    findings = about.get("findings", {}).get(anatomy, "") if anatomy else about.get("text", "")
    return Hit(rank, score, about["image_id"], about.get("study_id", ""), findings)
