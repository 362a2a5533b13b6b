"""From images to a retrieval index, and from one image to its hits: what `radir index` and `radir search` do."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoModel, AutoProcessor

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


def load(model: str | Path) -> tuple[RadIRModel, RadIRProcessor]:
    """A trained model, ready for inference on the GPU if there is one, and its processor.

    Raises:
        ValueError: if the folder or Hub id holds no RadIR model.
    """
    path = Path(model)
    if not path.is_dir() and (path.is_absolute() or str(model).count("/") != 1):
        raise ValueError(f"{model} is neither a model folder nor a Hub id (user/name)")
    try:
        loaded = AutoModel.from_pretrained(model)
        processor = AutoProcessor.from_pretrained(model) if isinstance(loaded, RadIRModel) else None
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{model} cannot be loaded as a RadIR model: {error}") from error
    if processor is None:
        raise ValueError(f"{model} holds a {type(loaded).__name__}; a RadIR model is needed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return loaded.eval().to(device), processor


@torch.inference_mode()
def embed(model: RadIRModel, pixel_values: Tensor, anatomies: Sequence[str]) -> dict[str, Tensor]:
    """Features of a batch, whole (`""`) and under each anatomy, each image encoded once.

    Args:
        model: with a fusion if any anatomy is asked for.
        pixel_values: (B, C, H, W) float.
        anatomies: names that the model's config knows.

    Returns:
        name -> (B, d) float32 on the CPU, L2-normalised.
    """
    vision = model.encode_image(pixel_values.to(model.device))
    features = {WHOLE_IMAGE: model.project_image(vision).float().cpu()}
    if anatomies:
        queries = model.encode_anatomies(*model.anatomy_tokens(anatomies))
        fused = model.fuse(vision.tokens, vision.grid, queries).float().cpu()  # (B, Q, d)
        features |= {name: fused[:, place] for place, name in enumerate(anatomies)}
    return features


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
    parts: dict[str, list[Tensor]] = {name: [] for name in (WHOLE_IMAGE, *anatomies)}
    about: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    batch: list[Tensor] = []

    def flush() -> None:
        if batch:
            for name, rows in embed(model, torch.cat(batch), anatomies).items():
                parts[name].append(rows)
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
    embeddings = {name: torch.cat(rows) for name, rows in parts.items()}
    made_by = str(Path(model_id).resolve()) if Path(model_id).is_dir() else model_id
    RetrievalIndex.create(embeddings, about, made_by).save(out)
    return IndexSummary(out, len(about), len(anatomies), skipped)


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
    query = embed(model, pixels, [anatomy] if anatomy else [])[name]
    scores, positions = index.search(query, name, k)
    return [
        _hit(rank, score, index.items[position], anatomy)
        for rank, (score, position) in enumerate(zip(scores[0].tolist(), positions[0].tolist(), strict=True), 1)
    ]


def _hit(rank: int, score: float, about: dict[str, Any], anatomy: str | None) -> Hit:
    """A hit with the findings that matter to the question: the anatomy's, or the whole text."""
    findings = about.get("findings", {}).get(anatomy, "") if anatomy else about.get("text", "")
    return Hit(rank, score, about["image_id"], about.get("study_id", ""), findings)
