"""A heat-map as a picture, whatever the model takes: what the report and `radir heat-map` show."""

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..image_processing_radir_ct import RELEASED_ORIENTATION
from ..inference import load, takes_volumes
from ..processing_radir import RadIRProcessor
from ..volumes import Volume
from .integrated_gradients import attention_map
from .overlays import orthogonal_slices, overlay

DOTS_PER_INCH = 60  # of a volume's slices: 720 x 250 pixels at most


def draw_heat_map(model: str | Path, image: Path, anatomy: str, hit: Path | None = None) -> Image.Image:
    """Which pixels of an image its similarity for one anatomy comes from.

    Args:
        model: a model folder or Hub id.
        image: a radiograph, or a volume if the model takes volumes, as its processor reads them.
        anatomy: a name that the model knows.
        hit: what it is compared with; None: itself.

    Returns:
        RGB.

    Raises:
        ValueError: if a file cannot be read, or the model has no fusion or does not know the anatomy.
    """
    loaded, processor = load(model)

    def pixels(path: Path) -> torch.Tensor:
        return processor(images=path, return_tensors="pt")["pixel_values"]

    heat = attention_map(loaded, pixels(image), anatomy, None if hit is None else pixels(hit))
    return picture(image, heat[0], processor)


def picture(image: Any, heat: torch.Tensor, processor: RadIRProcessor) -> Image.Image:
    """A heat-map over the image that it belongs to: RGB.

    Args:
        image: as it was given to the processor.
        heat: (rows, cols), or (T, rows, cols) of a volume, of `attention_map`.
        processor: of the model.
    """
    images: Any = processor.image_processor
    if not takes_volumes(processor):
        return overlay(image, heat, images)
    codes = "" if images.orientation == RELEASED_ORIENTATION else images.orientation
    seen = Volume(images.prepare(image), images.spacing_mm, codes)
    encoded = io.BytesIO()
    orthogonal_slices(seen, heat).savefig(encoded, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    return Image.open(encoded).convert("RGB")
