"""Pictures of heat-maps: laid over a radiograph, and three orthogonal slices of a volume."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import library, unknown_name
from ..image_processing_radir import OneImage, to_grey
from ..volumes import CANONICAL, Volume
from .integrated_gradients import in_image_coordinates

COLOURS = "inferno"
# Level and width in HU, as radiologists set them.
WINDOWS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"lung": (-600.0, 1500.0), "mediastinum": (40.0, 400.0)}
)
# In the frame SPL: name of the slice, the axis it is cut along, what lies across and upwards, and whether
# rows run upwards, so that the head is at the top.
_PLANES = (
    ("axial", 0, "R - L, mm", "P - A, mm", False),
    ("coronal", 1, "R - L, mm", "I - S, mm", True),
    ("sagittal", 2, "A - P, mm", "I - S, mm", True),
)
# Of a volume whose orientation is not known.
_UNKNOWN_PLANES = (
    ("depth", 0, "width, mm", "height, mm", False),
    ("height", 1, "width, mm", "depth, mm", True),
    ("width", 2, "height, mm", "depth, mm", True),
)


def overlay(
    image: OneImage, heat: Tensor, processor: Any = None, opacity: float = 0.6, colours: str = COLOURS
) -> Image.Image:
    """A radiograph with a heat-map over it, in the radiograph's own pixels.

    The colour of a pixel and how much it covers grow with its heat, in parts of the map's maximum; without
    heat the radiograph shows as it is.

    Args:
        image: the radiograph as it was given to the processor: a path, a PIL image or an array.
        heat: (rows, cols) of one image, of `attention_map`.
        processor: as for `in_image_coordinates`.
        opacity: how much the hottest pixel is covered, 0 to 1.
        colours: name of a colour map of matplotlib.

    Returns:
        RGB, of the radiograph's size.

    Raises:
        ValueError: if the image cannot be read, the map is not one of an image, or a setting is not known.
        ImportError: without matplotlib.
    """
    _check_opacity(opacity)
    grey = (to_grey(image) + 1) / 2  # (H, W) in [0, 1]
    shares = _shares(in_image_coordinates(heat, grey.shape, processor))  # (H, W)
    cover = opacity * shares[..., None]
    mixed = (1 - cover) * grey[..., None] + cover * _colour_map(colours)(shares)[..., :3]  # (H, W, 3)
    return Image.fromarray(np.rint(255 * mixed).astype(np.uint8))


def orthogonal_slices(
    volume: Volume, heat: Tensor, window: str = "lung", opacity: float = 0.6, colours: str = COLOURS
) -> Any:
    """An axial, a coronal and a sagittal slice through the maximum of a volume's heat-map.

    Slices are drawn as on a viewing station: the patient's right at the left, the front or the head at the
    top. Axes are in mm from the corner of the volume, one mm as long as the other; letters name the sides.

    Args:
        volume: what the tower saw: `Volume(p.prepare(path), p.spacing_mm, p.orientation)` for a
            RadIRCTImageProcessor p. With axis_codes "", which suits the orientation "released", the sides are
            named after the array's axes.
        heat: (T, rows, cols) of one volume, of `attention_map`, in the volume's axes.
        window: "lung" or "mediastinum", of WINDOWS; its level and width stand in the title.
        opacity, colours: as for `overlay`.

    Returns:
        a matplotlib Figure; `figure.savefig(path)` writes it.

    Raises:
        ValueError: if the map is not one of a volume, or a setting is not known.
        ImportError: without matplotlib.
    """
    if window not in WINDOWS:
        raise unknown_name("window", window, WINDOWS)
    _check_opacity(opacity)
    full = in_image_coordinates(heat, volume.hu.shape)  # (D, H, W)
    shares = Volume(_shares(full), volume.spacing_mm, volume.axis_codes).in_frame(CANONICAL).hu
    planes = _PLANES if volume.axis_codes else _UNKNOWN_PLANES
    volume = volume.in_frame(CANONICAL)
    peak = np.unravel_index(int(shares.argmax()), shares.shape)
    figure = library("matplotlib.figure", "drawing heat-maps").Figure(figsize=(12, 4.5), layout="constrained")
    for axes, plane in zip(figure.subplots(1, 3), planes, strict=True):
        grey, part = (array.take(peak[plane[1]], axis=plane[1]) for array in (volume.hu, shares))
        _draw(axes, plane, _windowed(grey, window), part, volume.spacing_mm, opacity, _colour_map(colours))
        axes.set_title(f"{plane[0]}, slice {peak[plane[1]] + 1} of {shares.shape[plane[1]]}")
    level, width = (f"{hu:.0f} HU" for hu in WINDOWS[window])
    figure.suptitle(f"{window} window, level {level}, width {width}; colour: share of the highest heat")
    figure.colorbar(figure.axes[0].images[1], ax=figure.axes, shrink=0.7)
    return figure


def _draw(
    axes: Any,
    plane: tuple[str, int, str, str, bool],
    grey: np.ndarray,
    part: np.ndarray,
    spacing_mm: tuple[float, float, float],
    opacity: float,
    colour_map: Any,
) -> None:
    """One slice (rows, cols), grey in [0, 1], and the shares of heat in it."""
    _, cut, across_name, down_name, upwards = plane
    down, across = (mm for axis, mm in enumerate(spacing_mm) if axis != cut)
    height, width = grey.shape[0] * down, grey.shape[1] * across
    place = {
        "extent": (0, width, 0, height) if upwards else (0, width, height, 0),
        "origin": "lower" if upwards else "upper",
        "aspect": "equal",
    }
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, **place)
    axes.imshow(part, cmap=colour_map, vmin=0, vmax=1, alpha=opacity * part, **place)
    axes.set_xlabel(across_name)
    axes.set_ylabel(down_name)


def _check_opacity(opacity: float) -> None:
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; a share between 0 and 1 is needed")


def _windowed(hu: np.ndarray, window: str) -> np.ndarray:
    """HU to [0, 1] through a window."""
    level, width = WINDOWS[window]
    return np.clip((hu.astype(np.float32) - (level - width / 2)) / width, 0, 1)


def _shares(heat: Tensor) -> np.ndarray:
    """Heat in parts of its maximum, float32; zeros for a map without any."""
    highest = float(heat.max())
    return (heat / highest if highest > 0 else torch.zeros_like(heat)).numpy()


def _colour_map(name: str) -> Any:
    known = library("matplotlib", "drawing heat-maps").colormaps
    if name not in known:
        raise unknown_name("colour map", name, known)
    return known[name]
