"""MIMIC-CXR's images: is a JPEG whole, and a JPEG or DICOM as a grey PNG of a given size."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dataset_scripts.sources.images import TOO_LARGE, TRUNCATED, UNREADABLE, check_header

_JPEG = ("JPEG",)
_END_OF_IMAGE = b"\xff\xd9"
_TAIL = 64  # bytes in which the end marker must lie; some writers pad with zeros


def check_jpeg(path: Path) -> None:
    """Check a JPEG's header and its end.

    Nothing is decoded, which would cost hours for 377,110 images: damage in the middle of a file goes unseen
    here and is what `sha256sum -c SHA256SUMS.txt` is for. A file that broke off lacks the marker at its end.

    Raises:
        ValueError: if either is damaged.
    """
    try:
        with Image.open(path, formats=_JPEG) as image:
            check_header(image)
        with path.open("rb") as file:
            file.seek(-min(_TAIL, file.seek(0, os.SEEK_END)), os.SEEK_END)
            tail = file.read()
    except Exception as error:  # Pillow's readers raise what they like on damaged files
        raise ValueError(_reason(error)) from error
    if not tail.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError(TRUNCATED)


def render_jpeg(path: Path, size: int) -> bytes:
    """A JPEG as an 8-bit grey PNG whose shorter side is `size` pixels, or its own if that is less, upright.

    Raises:
        ValueError: if the file is damaged.
    """
    try:
        with Image.open(path, formats=_JPEG) as image:
            check_header(image)
            # The decoder may skip detail: never below twice the wanted size, so that the result stays smooth.
            scale = 2 * size / min(image.size)
            image.draft("L", (round(image.width * scale), round(image.height * scale)))
            return _png(ImageOps.exif_transpose(image).convert("L"), size)
    except Exception as error:  # Pillow's readers raise what they like on damaged files
        raise ValueError(_reason(error)) from error


def render_dicom(path: Path, size: int) -> bytes:
    """A DICOM as an 8-bit grey PNG whose shorter side is `size` pixels, or its own if that is less.

    Raises:
        ValueError: as `read_radiograph_8_bit` does.
    """
    from modeling_radir.dicom import read_radiograph_8_bit  # imports torch, which nothing else here needs

    return _png(Image.fromarray(np.ascontiguousarray(read_radiograph_8_bit(path))), size)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError) or str(error) == TOO_LARGE:
        return TOO_LARGE
    return TRUNCATED if "truncated" in str(error) else UNREADABLE


def _png(image: Image.Image, size: int) -> bytes:
    scale = size / min(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()
