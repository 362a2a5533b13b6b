"""From images to an index, and from one image to its hits: what `radir index` and `radir search` do."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoProcessor

from .configuration_radir import RadIRConfig
from .modeling_radir import RadIRModel
from .naming import unknown_name
from .processing_radir import RadIRProcessor
from .retrieval_index import WHOLE_IMAGE, RetrievalIndex

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class IndexItem:
    """An image to index: a path or a PIL image, and what is known of it (image_id at least)."""

    image: Path | Image.Image
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
        pixel_values: (B, C, H, W) float.
        queries: (Q, d), of `model.encode_anatomies`.

    Returns:
        (B, d) of the whole images and, for queries, (B, Q, d); float32 on the CPU, L2-normalised.
    """
    vision = model.encode_image(pixel_values.to(model.device))
    whole = model.project_image(vision).float().cpu()
    if queries is None:
        return whole, None
    return whole, model.fuse(vision.tokens, vision.grid, queries).float().cpu()


def folder_items(folder: Path) -> Iterator[IndexItem]:
    """The images below a folder, in the order of their paths.

    Raises:
        ValueError: if there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    for path in paths:
        name = str(path.relative_to(folder))
        yield IndexItem(path, {"image_id": name, "study_id": "", "path": str(path.resolve())})


def build_index(
    model_id: str, items: Iterable[IndexItem], out: Path, batch_size: int = 64, progress: bool = True
) -> IndexSummary:
    """Embed images, whole and under every anatomy that the model knows, and write the index.

    Images that cannot be read are left out and listed.

    Raises:
        ValueError: if the model cannot be loaded, or no image is left.
    """
    model, processor = load(model_id)
    anatomies = tuple(model.config.anatomies) if model.config.fusion_config is not None else ()
    queries = _queries(model, anatomies)
    wholes: list[Tensor] = []
    fused: list[Tensor] = []
    about: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    batch: list[Tensor] = []

    def flush() -> None:
        if batch:
            whole, conditional = embed(model, torch.cat(batch), queries)
            wholes.append(whole)
            fused.extend([] if conditional is None else [conditional])
            batch.clear()

    for item in tqdm(items, desc="index", unit="image", disable=not progress):
        try:
            batch.append(processor(images=item.image, return_tensors="pt")["pixel_values"])
        except ValueError as error:
            skipped.append({"path": str(item.about["image_id"]), "reason": str(error)})
            continue
        about.append(item.about)
        if len(batch) == batch_size:
            flush()
    flush()
    if not about:
        raise ValueError(f"no image could be read; the first of {len(skipped)}: {skipped[0]['reason']}")
    embeddings = {WHOLE_IMAGE: torch.cat(wholes)}
    if fused:
        embeddings |= dict(zip(anatomies, torch.cat(fused).unbind(dim=1), strict=True))  # (n, d) each
    made_by = str(Path(model_id).resolve()) if Path(model_id).is_dir() else model_id
    RetrievalIndex.create(embeddings, about, made_by).save(out)
    return IndexSummary(out, len(about), len(anatomies), skipped)


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
        image: the query's file.
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
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
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
