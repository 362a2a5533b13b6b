"""Small pictures of a dataset's images, as data URIs for a page that loads nothing.

Volumes bring torch along, through `modeling_radir`: it is imported where one is met.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from modeling_radir.volumes import Volume

THUMBNAIL_PX = 160
VOLUME_PX = 240  # of a volume's axial slice, below which there are two more
WINDOW = "lung"


def thumbnail(image: Any, size: int = THUMBNAIL_PX) -> str | None:
    """A JPEG as a data URI; None for what is neither an image nor a volume.

    Args:
        image: a PIL image, or a Volume, of which three slices are shown, see `middle_slices`.
        size: of the longer side, in pixels; the width of a volume's picture is at least VOLUME_PX.
    """
    if not isinstance(image, Image.Image):
        from modeling_radir.volumes import Volume

        return data_uri(middle_slices(image, max(size, VOLUME_PX))) if isinstance(image, Volume) else None
    if image.mode not in ("L", "RGB"):
        # 16-bit and float images have no fixed range: minimum to maximum
        pixels = np.asarray(image.convert("F"))
        spread = float(np.ptp(pixels)) or 1.0
        image = Image.fromarray(((pixels - pixels.min()) / spread * 255).astype(np.uint8))
    return data_uri(bounded(image, size))


def bounded(image: Image.Image, size: int) -> Image.Image:
    """The image, or a smaller copy whose longer side has this many pixels."""
    small = image.copy()
    small.thumbnail((size, size))
    return small


def data_uri(image: Image.Image, quality: int = 80) -> str:
    """An image as a JPEG inside an address."""
    encoded = io.BytesIO()
    image.convert("L" if image.mode == "L" else "RGB").save(encoded, format="JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def middle_slices(volume: "Volume", width: int = VOLUME_PX) -> Image.Image:
    """Slices through the middle of a volume: axial, and below it coronal and sagittal, in the lung window.

    They lie as on a viewing station, the patient's right at the left and the front or the head at the top. A
    mm is as long down as across.

    Args:
        volume: of any orientation and spacing.
        width: of the picture, in pixels.
    """
    turned = volume.in_frame()
    depth_mm, height_mm, width_mm = (
        count * mm for count, mm in zip(turned.hu.shape, turned.spacing_mm, strict=True)
    )
    middle = [count // 2 for count in turned.hu.shape]
    small = width / (width_mm + height_mm)  # pixels for each mm of the two slices below
    coronal_px = max(1, round(small * width_mm))
    top = _slice(turned.hu[middle[0]], width, round(width / width_mm * height_mm))
    below = round(small * depth_mm)
    coronal = _slice(turned.hu[::-1, middle[1]], coronal_px, below)
    sagittal = _slice(turned.hu[::-1, :, middle[2]], width - coronal_px, below)
    picture = Image.new("L", (width, top.height + coronal.height))
    for part, place in ((top, (0, 0)), (coronal, (0, top.height)), (sagittal, (coronal.width, top.height))):
        picture.paste(part, place)
    return picture


def volume_note() -> str:
    """What the pictures of volumes show, for the page's text."""
    level, width = _window()
    return (
        "Volumes show as slices through their middle, axial above coronal and sagittal, in the "
        f"{WINDOW} window (level {level:g} HU, width {width:g} HU)."
    )


def _slice(hu: np.ndarray, width: int, height: int) -> Image.Image:
    """A slice (rows, cols) in HU as a grey picture of a size."""
    level, span = _window()
    shares = np.clip((hu.astype(np.float32) - (level - span / 2)) / span, 0, 1)
    grey = Image.fromarray(np.rint(255 * shares).astype(np.uint8))
    return grey.resize((max(1, width), max(1, height)), Image.Resampling.BILINEAR)


def _window() -> tuple[float, float]:
    from modeling_radir.heat_maps.overlays import WINDOWS

    return WINDOWS[WINDOW]
