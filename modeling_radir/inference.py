"""A trained model at work: found, loaded, and asked for the features of images, batch by batch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoProcessor

from .checks import load_checked
from .configuration_radir import RadIRConfig
from .modeling_radir import RadIRModel
from .processing_radir import RadIRProcessor

# Numbers in the pixel values of one batch at most: 128 MB, so that volumes go through one by one.
BATCH_VALUES = 2**25
# What transformers raises for files that are missing, damaged, or of wrong types.
_BAD_FILES = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def check_model(model: str | Path) -> None:
    """Make sure that a folder or Hub id holds a RadIR model, before anything is spent on it.

    Raises:
        ValueError: if it does not, with what was found instead.
    """
    path = Path(model)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"{model} is no model folder: it has no config.json: save it there")
    if not path.is_dir() and (path.is_absolute() or str(model).count("/") != 1):
        raise ValueError(f"{model} is neither a model folder nor a Hub id (user/name)")
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except _BAD_FILES as error:
        raise ValueError(f"{model} is no model folder or Hub id that can be loaded: {error}") from error
    if config.model_type != RadIRConfig.model_type:
        raise ValueError(
            f"{model} holds a model of type {config.model_type!r}, not {RadIRConfig.model_type!r}: to "
            "compare another model, export its vectors to a Parquet file and `radir evaluate --embeddings` it"
        )


def load(model: str | Path, device: str | torch.device | None = None) -> tuple[RadIRModel, RadIRProcessor]:
    """A trained model, ready for inference (on the GPU if there is one), and its processor.

    Raises:
        ValueError: if the folder or Hub id holds no RadIR model, lacks weights, or holds some that are NaN or
            infinite; if its processor cannot be read.
    """
    check_model(model)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
    except _BAD_FILES as error:
        raise ValueError(f"the processor of {model} cannot be loaded: {error}") from error
    if not isinstance(processor, RadIRProcessor):
        raise ValueError(
            f"{model} has no processor that reads images (processor_config.json): save the model's own there"
        )
    return load_checked(AutoModel, model, trust_remote_code=False).eval().to(device), processor


def takes_volumes(processor: Any) -> bool:
    """Whether a RadIRProcessor is one for volumes; it is for X-rays otherwise."""
    return "depth" in processor.image_processor.size


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
