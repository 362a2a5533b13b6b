"""Images as the baselines' own preprocessing takes them: 8-bit PIL images."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from modeling_radir.dicom import is_dicom
from modeling_radir.image_processing_radir import to_grey
from modeling_radir.pictures import DEEP_MODES, read_picture, upright
from modeling_radir.volumes import Volume

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def as_pil(image: Any) -> Image.Image:
    """An image as an 8-bit PIL image.

    The baselines were made for 8-bit images. Those come through as they are, in their own mode, which their
    transforms convert themselves. Deeper PNGs, DICOM files and arrays of floats become grey the way the RadIR
    processors scale them, in 8 bits. EXIF orientation is applied to all.

    Args:
        image: a PIL image, an array (H, W) or (H, W, 3), or the path of a picture or DICOM file.

    Raises:
        ValueError: it cannot be read, or is a volume.
    """
    if isinstance(image, Volume):
        raise ValueError("this baseline takes single images, not volumes: choose one for CT, such as ct-clip")
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if path.is_file() and not is_dicom(path):
            image = read_picture(path)
    if isinstance(image, Image.Image):
        image = upright(image)
    if isinstance(image, Image.Image) and image.mode not in DEEP_MODES:
        return image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and _is_picture(image.shape):
        return Image.fromarray(image)
    grey = to_grey(image)  # (H, W) in [-1, 1]
    return Image.fromarray(np.rint((grey + 1) * 127.5).astype(np.uint8))


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] == 3)


def clip_pixels(image: Image.Image, size: int = 224) -> Tensor:
    """CLIP's evaluation transform: (3, size, size) float32.

    The shorter side is resized to `size`, bicubic with antialiasing, in the image's own mode; then the centre
    is cut out, made RGB, and normalised with CLIP's mean and standard deviation.
    """
    resized = v2.functional.resize(image, [size], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    colours = v2.functional.center_crop(resized, [size, size]).convert("RGB")
    pixels = v2.functional.to_dtype(v2.functional.pil_to_tensor(colours), torch.float32, scale=True)
    return v2.functional.normalize(pixels, list(CLIP_MEAN), list(CLIP_STD))
