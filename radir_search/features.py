"""From an image, in a file or in memory, to what the model takes; and from anatomies to their queries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modeling_radir.image_files import check_kind
from modeling_radir.inference import takes_volumes
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.processing_radir import RadIRProcessor


def read_pixels(processor: RadIRProcessor, image: Any) -> Tensor:
    """Pixel values (1, ...) of one image, or of what a function reads."""
    if isinstance(image, Path):
        check_kind(image, takes_volumes(processor))
    elif callable(image):
        image = image()
    return processor(images=image, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def encode_anatomies(model: RadIRModel, anatomies: Sequence[str]) -> Tensor | None:
    """Text latents (Q, d) of anatomies that the model knows, None for none."""
    return model.encode_anatomies(*model.anatomy_tokens(anatomies)) if anatomies else None
