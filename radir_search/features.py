"""From an image, in a file or in memory, to what the model takes; and from anatomies to their queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeling_radir.inference import takes_volumes
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.processing_radir import RadIRProcessor
from radir_search.image_files import check_kind


def read_pixels(processor: RadIRProcessor, image: Any) -> Tensor:
    """Pixel values of one image.

    Args:
        processor: of the model.
        image: a path, a PIL image or a Volume, or a function that reads one.

    Returns:
        (1, C, H, W), or (1, 1, D, H, W) of a volume, float32.

    Raises:
        ValueError: if it cannot be read, is of the other kind, or holds numbers that are not finite.
    """
    if isinstance(image, Path):
        check_kind(image, takes_volumes(processor))
    elif callable(image):
        image = image()
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    if not torch.isfinite(pixels).all():
        raise ValueError(f"{image if isinstance(image, Path) else 'the image'} holds NaN or infinite values")
    return pixels


@torch.inference_mode()
def encode_anatomies(model: RadIRModel, anatomies: Sequence[str]) -> Tensor | None:
    """Text latents (Q, d) of anatomies that the model knows, None for none."""
    return model.encode_anatomies(*model.anatomy_tokens(anatomies)) if anatomies else None
