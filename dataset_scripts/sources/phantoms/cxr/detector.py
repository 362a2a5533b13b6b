"""From thicknesses to an 8 bit radiograph: Beer-Lambert, scatter, noise, blur, detector curve, borders."""

import numpy as np
from scipy import ndimage

from .body import Canvas
from .geometry import View
from .primitives import FIELD_CM, Array, Grid

# effective linear attenuation at diagnostic energies, per cm; bone and metal on top of the tissue
MU_TISSUE, MU_LUNG, MU_BONE, MU_METAL = 0.20, 0.05, 0.42, 1.1
_SCATTER_FRACTION = 0.22
_WINDOW_CENTRE, _WINDOW_WIDTH = 2.85, 0.72
_LETTERS = {
    "R": (0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001),
    "L": (0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111),
}


def attenuation(canvas: Canvas) -> Array:
    """Line integral of the attenuation coefficient, (N, N) float32, dimensionless."""
    aerated = np.maximum(canvas.lung - np.maximum(canvas.solid, 0), 0) * (1 - np.clip(canvas.opaque, 0, 1))
    tissue = np.maximum(canvas.tissue - aerated - canvas.air, 0.35 * np.minimum(canvas.tissue, 6))
    total = (
        MU_TISSUE * tissue
        + MU_LUNG * aerated
        + MU_BONE * canvas.bone
        + MU_METAL * np.minimum(canvas.metal, 3)
    )
    return total.astype(np.float32)


def expose(line_integral: Array, grid: Grid, view: View, rng: np.random.Generator) -> Array:
    """The picture: (N, N) uint8, bright where little radiation arrives.

    Beer-Lambert intensity plus a smooth scatter part and quantum noise, then a sigmoid of the negative log.
    The window is fixed, not fitted to the picture, so that a finding changes nothing elsewhere.
    """
    primary = np.exp(-_placed(line_integral, grid, view))
    primary = ndimage.gaussian_filter(primary, view.blur_cm * grid.px_per_cm, truncate=3)
    intensity = primary + _SCATTER_FRACTION * _scatter(primary)
    noise = rng.standard_normal(primary.shape, dtype=np.float32)
    noise = ndimage.uniform_filter(noise, 2)
    # quantum noise: the relative error grows as the intensity falls
    density = -np.log(np.maximum(intensity, 1e-4)) + np.float32(0.009 * view.noise) * noise / np.sqrt(
        intensity + 0.004
    )
    value = (density - (_WINDOW_CENTRE - view.exposure)) * np.float32(view.contrast / _WINDOW_WIDTH)
    return (255 / (1 + np.exp(-value))).astype(np.uint8)


def _placed(image: Array, grid: Grid, view: View) -> Array:
    """Zooms, turns and shifts the picture about its centre."""
    angle, scale = np.deg2rad(view.tilt_deg), 1 / view.zoom
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (grid.size - 1) / 2)
    shift = np.array([view.shift_y_cm, view.shift_x_cm]) * grid.px_per_cm
    return ndimage.affine_transform(
        image, matrix, centre - matrix @ (centre + shift), order=1, mode="nearest"
    )


def _scatter(primary: Array) -> Array:
    """Smooth scattered radiation, from a coarse copy of the picture."""
    size = primary.shape[0]
    block = max(1, size // 32)
    edge = size // block * block
    coarse = primary[:edge, :edge].reshape(edge // block, block, edge // block, block).mean((1, 3))
    coarse = ndimage.gaussian_filter(coarse, 3 / FIELD_CM * coarse.shape[0])
    position = np.clip((np.arange(size) + 0.5) / block - 0.5, 0, len(coarse) - 1)
    low = np.minimum(position.astype(int), len(coarse) - 2)
    part = (position - low).astype(np.float32)
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def finish(image: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """Collimation borders and a side marker, drawn into a copy: (N, N) uint8."""
    image = image.copy()
    shown, margins, colour = rng.random(), rng.uniform(-1.5, 1.6, 4), rng.random()
    if shown < 0.35:
        top, bottom, left, right = (int(max(0.0, margin) * grid.px_per_cm) for margin in margins)
        shutter = np.zeros_like(image, bool)
        shutter[:top], shutter[grid.size - bottom :], shutter[:, :left], shutter[:, grid.size - right :] = (
            True,
        ) * 4
        image[shutter] = 245 if colour < 0.2 else 4
    _stamp(image, grid, rng)
    return image


def _stamp(image: Array, grid: Grid, rng: np.random.Generator) -> None:
    """An R at the picture's left or an L at its right: the standard display."""
    shown, left, x_cm, y_cm, height_cm = rng.random(), rng.random(), *rng.uniform(0, 1, 3)
    if shown > 0.8:
        return
    rows = _LETTERS["R" if left < 0.5 else "L"]
    letter = np.array([[bits >> k & 1 for k in range(4, -1, -1)] for bits in rows], bool)
    pixel = max(1, round((0.18 + 0.06 * height_cm) * grid.px_per_cm))
    letter = np.kron(letter, np.ones((pixel, pixel), bool))
    top = int((0.6 + 1.6 * y_cm) * grid.px_per_cm)
    edge = int((0.6 + 1.4 * x_cm) * grid.px_per_cm)
    start = edge if left < 0.5 else grid.size - edge - letter.shape[1]
    image[top : top + letter.shape[0], start : start + letter.shape[1]][letter] = 250
