"""From images to an index: what `radir index` does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.provenance import joined, known_data, training_data
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.outputs import claim
from modeling_radir.inference import embed_all, takes_volumes
from modeling_radir.processing_radir import RadIRProcessor
from radir_search.features import encode_anatomies, read_pixels
from radir_search.image_files import list_images
from radir_search.index import WHOLE_IMAGE, RetrievalIndex
from radir_search.index_folder import Origin, check_output
from radir_search.model_identity import commit_of, load_known, model_digests


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
    """What an indexing wrote and what it left out, each with its reason; `data` are the terms of its data."""

    folder: Path
    count: int
    anatomies: int
    skipped: list[dict[str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


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


def dataset_items(data: BuiltDataset, splits: Sequence[str] | None = None) -> Iterator[IndexItem]:
    """The images of a built dataset with their texts, for the index to show beside its hits.

    Args:
        data: the dataset.
        splits: of it; all by default.

    Raises:
        ValueError: if it lacks a split, or is damaged.
    """
    for split in _known_splits(data, splits):
        findings = data.findings(split)
        for row in data.studies(split):
            about = {name: row[name] for name in ("image_id", "study_id", "subject_id")}
            about |= {"split": split, "text": row["findings"], "findings": findings.get(row["study_id"], {})}
            yield IndexItem(partial(data.image, row), about)


def _known_splits(data: BuiltDataset, splits: Sequence[str] | None) -> list[str]:
    unknown = [split for split in splits or () if split not in data.splits]
    if unknown:
        raise ValueError(f"{data.folder} has no split {unknown[0]!r}; it has {', '.join(data.splits)}")
    return list(dict.fromkeys(splits or data.splits))


def build_index(
    model_id: str,
    images: Iterable[IndexItem] | Path | BuiltDataset,
    out: Path,
    batch_size: int = 64,
    progress: bool = True,
    splits: Sequence[str] | None = None,
) -> IndexSummary:
    """Embed images, as a whole and conditioned on each of the model's anatomies; write the index.

    Images that cannot be read are left out and listed. The index keeps which model and dataset it is of, and
    the terms of their data: what nobody knows anything of counts as restricted.

    Args:
        model_id: a model folder or Hub id.
        images: a folder of such images as the model takes, a built dataset, or any images.
        out: the folder to write; an index that is there is replaced, other files beside it stay.
        batch_size: images at a time.
        progress: show a progress bar.
        splits: of a dataset; all by default.

    Raises:
        ValueError: if `out` cannot be written or holds something else, the model cannot be loaded or gives
            features that are no finite numbers, no image is left, or model or dataset changed meanwhile.
    """
    if isinstance(images, BuiltDataset):
        _known_splits(images, splits)
    elif isinstance(images, Path) and not images.is_dir():
        raise ValueError(f"{images} is no folder: give the folder that holds the images")
    with claim(out) as place:
        check_output(place)
        index, skipped = _embed(model_id, images, batch_size, progress, splits)
        index.write(place)
    return IndexSummary(out, len(index), len(index.anatomies) - 1, skipped, dict(index.origin.data))


def _embed(
    model_id: str,
    images: Iterable[IndexItem] | Path | BuiltDataset,
    batch_size: int,
    progress: bool,
    splits: Sequence[str] | None,
) -> tuple[RetrievalIndex, list[dict[str, str]]]:
    """The index in memory, and what was left out of it."""
    model, processor, digests = load_known(model_id)
    dataset = {"name": images.name, "digest": images.digest} if isinstance(images, BuiltDataset) else {}
    items = _items(images, splits, takes_volumes(processor))
    anatomies = tuple(model.config.anatomies) if model.config.fusion_config is not None else ()
    about: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    bar = progress_bar(items, desc="index", unit="image", shown=progress)
    pixels = _readable(processor, bar, about, skipped)
    found = list(_finite(embed_all(model, pixels, encode_anatomies(model, anatomies), batch_size), about))
    if not found:
        first = f"; the first of {len(skipped)}: {skipped[0]['reason']}" if skipped else ": none was given"
        raise ValueError(f"no image could be read{first}")
    if model_digests(model_id, commit_of(model)) != digests:
        raise ValueError(f"the model {model_id} was replaced while it was at work: run the command again")
    if isinstance(images, BuiltDataset) and BuiltDataset(images.folder).digest != images.digest:
        raise ValueError(f"{images.folder} was changed while it was being indexed: run the command again")
    made_by = str(Path(model_id).resolve()) if Path(model_id).is_dir() else model_id
    origin = Origin(made_by, digests, _terms(model_id, images), dataset)
    return RetrievalIndex.create(_by_anatomy(found, anatomies), about, origin), skipped


def _items(
    images: Iterable[IndexItem] | Path | BuiltDataset, splits: Sequence[str] | None, volumes: bool
) -> Iterable[IndexItem]:
    if isinstance(images, BuiltDataset):
        return dataset_items(images, splits)
    return folder_items(images, volumes) if isinstance(images, Path) else images


def _terms(model_id: str, images: Iterable[IndexItem] | Path | BuiltDataset) -> dict[str, Any]:
    """On which terms the images and the model were had; of images that are no dataset's nobody knows."""
    of_images = training_data(images) if isinstance(images, BuiltDataset) else None
    return joined({"images": of_images, "model": known_data(model_id)})


def _finite(
    batches: Iterable[tuple[Tensor, Tensor | None]], about: Sequence[dict[str, Any]]
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The batches; ends with a sentence at the first feature that is NaN or infinite."""
    count = 0
    for whole, conditional in batches:
        for features in (whole, whole if conditional is None else conditional):
            bad = (~torch.isfinite(features).flatten(1).all(dim=1)).nonzero()
            if len(bad):
                image = about[count + int(bad[0])]["image_id"]
                raise ValueError(
                    f"the model gives NaN or infinite features for {image}, and nothing can be compared with "
                    "them: train it again with a lower learning rate"
                )
        count += len(whole)
        yield whole, conditional


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
        name = str(item.about["image_id"])
        try:
            if _shown(name) != name:
                raise ValueError("its name is no UTF-8 text, which an index needs: rename it")
            one = read_pixels(processor, item.image)
        except (ValueError, OSError) as error:
            skipped.append({"path": _shown(name), "reason": _shown(str(error))})
            continue
        about.append(item.about)
        yield one


def _shown(name: str) -> str:
    """A text that can be printed, whatever a file's name holds beside UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
