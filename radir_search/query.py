"""From one image to its hits: what `radir search` does."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeling_radir.checks import unknown_name
from modeling_radir.inference import embed
from radir_search.features import encode_anatomies, read_pixels
from radir_search.index import WHOLE_IMAGE, RetrievalIndex, check_k
from radir_search.model_identity import check_same_model, load_known

logger = logging.getLogger(__name__)


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
    """The k indexed images most like an image, for an anatomy or as a whole.

    Args:
        folder: of the index.
        image: the query's file, or the folder of a DICOM series.
        anatomy: a name that the index knows; None compares whole images.
        k: number of hits; fewer come back, with a logged warning, from a smaller index.
        model_id: the model, wherever it lies now; the one that the index was made with by default.

    Raises:
        ValueError: if the index, the image or the anatomy is not there, or the model is another than the one
            that made the index.
    """
    index = RetrievalIndex.load(folder)
    name = anatomy or WHOLE_IMAGE
    if name not in index.anatomies:
        if index.anatomies == (WHOLE_IMAGE,):
            raise ValueError(f"{folder} was made by a model without fusion: search it without an anatomy")
        raise unknown_name("anatomy", name, [known for known in index.anatomies if known])
    check_k(k)
    if k > len(index):
        logger.warning("%d hits were asked for, and %s holds %d images: all come back", k, folder, len(index))
    model_id = model_id or _made_by(index, folder)
    model, processor, digests = load_known(model_id)
    if index.origin.model_digests:  # version 1 has none
        check_same_model(index.origin.model_digests, digests, f"the index in {folder}", model_id)
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


def _made_by(index: RetrievalIndex, folder: Path) -> str:
    if not index.model:
        raise ValueError(f"{folder} does not say which model made it: give that with --model")
    if Path(index.model).is_absolute() and not Path(index.model).is_dir():
        raise ValueError(
            f"{index.model}, the model that made {folder}, is not there: give --model with where it is now"
        )
    return index.model


def _hit(rank: int, score: float, about: dict[str, Any], anatomy: str | None) -> Hit:
    """A hit with the findings that matter to the question: the anatomy's, or the whole text."""
    findings = about.get("findings", {}).get(anatomy, "") if anatomy else about.get("text", "")
    return Hit(rank, score, str(about["image_id"]), about.get("study_id", ""), findings)
