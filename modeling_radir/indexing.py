"""From images to an index, and from one image to its hits: what `radir index` and `radir search` do."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_radir import RadIRConfig
from .image_files import check_kind, list_images, takes_volumes
from .modeling_radir import RadIRModel
from .naming import unknown_name
from .processing_radir import RadIRProcessor
from .retrieval_index import WHOLE_IMAGE, RetrievalIndex

# Numbers in the pixel values of one batch at most: 128 MB, so that volumes go through one by one.
BATCH_VALUES = 2**25


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


@dataclass(frozen=True)
class Hit:
    """One indexed image: rank from 1, cosine similarity under the anatomy, and what is known of it."""

    rank: int
    score: float
    image_id: str
    study_id: str
    findings: str


def check_model(model: str | Path) -> None:
    """Make sure that a folder or Hub id holds a RadIR model, before anything is spent on it.

    Raises:
        ValueError: if it does not, with what was found instead.
    """
    path = Path(model)
    if not path.is_dir() and (path.is_absolute() or str(model).count("/") != 1):
        raise ValueError(f"{model} is neither a model folder nor a Hub id (user/name)")
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ValueError(f"{model} is no model folder or Hub id that can be loaded: {error}") from error
    if config.model_type != RadIRConfig.model_type:
        raise ValueError(
            f"{model} holds a model of type {config.model_type!r}, not {RadIRConfig.model_type!r}: to "
            "compare another model, export its vectors to a Parquet file and `radir evaluate --embeddings` it"
        )


def load(model: str | Path, device: str | torch.device | None = None) -> tuple[RadIRModel, RadIRProcessor]:
    """A trained model, ready for inference (on the GPU if there is one), and its processor.

    Raises:
        ValueError: if the folder or Hub id holds no RadIR model.
    """
    check_model(model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return AutoModel.from_pretrained(model).eval().to(device), AutoProcessor.from_pretrained(model)


@torch.inference_mode()
def embed(
    model: RadIRModel, pixel_values: Tensor, queries: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Features of a batch of images, each encoded once.

    Args:
        model: with a fusion if there are queries.
        pixel_values: (B, C, H, W), or (B, 1, D, H, W) of volumes, float.
        queries: (Q, d), of `model.encode_anatomies`.

    Returns:
        (B, d) of the whole images and, for queries, (B, Q, d); float32 on the CPU, L2-normalised.
    """
    vision = model.encode_image(pixel_values.to(model.device))
    whole = model.project_image(vision).float().cpu()
    if queries is None:
        return whole, None
    return whole, model.fuse(vision.tokens, vision.grid, queries).float().cpu()


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


def embed_all(
    model: RadIRModel, pixels: Iterable[Tensor], queries: Tensor | None = None, batch_size: int = 64
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Features of images that come one after the other, batch by batch.

    Args:
        model, queries: as of `embed`.
        pixels: (1, C, H, W) or (1, 1, D, H, W) each, all of one shape.
        batch_size: images at a time; fewer where they hold more than BATCH_VALUES numbers.

    Yields:
        As `embed` returns, in the order of the images.
    """
    batch: list[Tensor] = []
    for one in pixels:
        batch.append(one)
        if len(batch) == batch_size or (len(batch) + 1) * one.numel() > BATCH_VALUES:
            yield embed(model, torch.cat(batch), queries)
            batch.clear()
    if batch:
        yield embed(model, torch.cat(batch), queries)


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
    found = list(embed_all(model, pixels, _queries(model, anatomies), batch_size))
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
            one = _pixels(processor, item.image)
        except ValueError as error:
            skipped.append({"path": str(item.about["image_id"]), "reason": str(error)})
            continue
        about.append(item.about)
        yield one


def _pixels(processor: RadIRProcessor, image: Any) -> Tensor:
    """Pixel values (1, ...) of one image, or of what a function reads."""
    if isinstance(image, Path):
        check_kind(image, takes_volumes(processor))
    elif callable(image):
        image = image()
    return processor(images=image, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def _queries(model: RadIRModel, anatomies: Sequence[str]) -> Tensor | None:
    """Text latents (Q, d) of anatomies that the model knows, None for none."""
    return model.encode_anatomies(*model.anatomy_tokens(anatomies)) if anatomies else None


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
    pixels = _pixels(processor, Path(image))
    whole, conditional = embed(model, pixels, _queries(model, [anatomy] if anatomy else []))
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
