"""From images to an index: what `radir index` does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from modeling_radir.image_files import list_images
from modeling_radir.inference import embed_all, load, takes_volumes
from modeling_radir.processing_radir import RadIRProcessor
from radir_search.features import encode_anatomies, read_pixels
from radir_search.index import WHOLE_IMAGE, RetrievalIndex


@dataclass(frozen=True)
class IndexItem:
    """An image to index, and what is known of it (image_id at least).

    The image is a path, a PIL image, or a function that reads what the image processor takes when its turn
    comes, and raises ValueError where it cannot.
    """

    image: Path | Image.Image | Callable[[], Any]
    about: dict[str, Any]


@dataclass
class IndexSummary:
    """What an indexing wrote and what it left out, each with its reason."""

    folder: Path
    count: int
    anatomies: int
    skipped: list[dict[str, str]] = field(default_factory=list)


def folder_items(folder: Path, volumes: bool = False) -> Iterator[IndexItem]:
    """The images below a folder, in the order of their paths.

    Args:
        folder: of X-rays, or of volumes.
        volumes: what the model takes. Files of the other kind come along, to be listed as left out.

    Raises:
        ValueError: if there is none of the right kind.
    """
    for path in list_images(folder, volumes):
        name = folder.name if path == folder else str(path.relative_to(folder))
        yield IndexItem(path, {"image_id": name, "study_id": "", "path": str(path.resolve())})


def build_index(
    model_id: str,
    items: Iterable[IndexItem] | Path,
    out: Path,
    batch_size: int = 64,
    progress: bool = True,
) -> IndexSummary:
    """Embed images, whole and under every anatomy that the model knows, and write the index.

    Images that cannot be read are left out and listed.

    Args:
        model_id: a model folder or Hub id.
        items: the images, or a folder of such images as the model takes.
        out: the folder to write.
        batch_size: images at a time.
        progress: show a progress bar.

    Raises:
        ValueError: if the model cannot be loaded, or no image is left.
    """
    model, processor = load(model_id)
    if isinstance(items, Path):
        items = folder_items(items, takes_volumes(processor))
    anatomies = tuple(model.config.anatomies) if model.config.fusion_config is not None else ()
    about: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    pixels = _readable(
        processor, tqdm(items, desc="index", unit="image", disable=not progress), about, skipped
    )
    found = list(embed_all(model, pixels, encode_anatomies(model, anatomies), batch_size))
    if not found:
        raise ValueError(f"no image could be read; the first of {len(skipped)}: {skipped[0]['reason']}")
    made_by = str(Path(model_id).resolve()) if Path(model_id).is_dir() else model_id
    RetrievalIndex.create(_by_anatomy(found, anatomies), about, made_by).save(out)
    return IndexSummary(out, len(about), len(anatomies), skipped)


def _by_anatomy(found: Sequence[tuple[Tensor, Tensor | None]], anatomies: Sequence[str]) -> dict[str, Tensor]:
    """Features of batches, as `embed` returns them, to those of all images (n, d) for each name."""
    embeddings = {WHOLE_IMAGE: torch.cat([whole for whole, _ in found])}
    fused = [conditional for _, conditional in found if conditional is not None]
    if fused:
        embeddings |= dict(zip(anatomies, torch.cat(fused).unbind(dim=1), strict=True))
    return embeddings


def _readable(
    processor: RadIRProcessor,
    items: Iterable[IndexItem],
    about: list[dict[str, Any]],
    skipped: list[dict[str, str]],
) -> Iterator[Tensor]:
    """Pixel values of the images that can be read; `about` and `skipped` grow with what is met."""
    for item in items:
        try:
            one = read_pixels(processor, item.image)
        except ValueError as error:
            skipped.append({"path": str(item.about["image_id"]), "reason": str(error)})
            continue
        about.append(item.about)
        yield one
