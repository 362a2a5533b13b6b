"""What the scanner does to the body: kernel, slice profile, noise, and rounding to whole HU."""

import numpy as np

from .canvas import Array
from .state import Scan

HU_MIN, HU_MAX = -1024, 3071  # what 12 bits hold
_FWHM = 2.355  # full width at half maximum of a Gaussian of deviation 1
_GRAIN = 0.25  # what a voxel's noise shares with each neighbour in its row and column


def acquire(hu: Array, scan: Scan, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> Array:
    """The volume as reconstructed.

    Args:
        hu: (D, H, W) float32, the body.
        scan: kernel, slice thickness and noise.
        spacing_mm: (z, y, x).
        rng: draws the noise, which depends on nothing in the body.

    Returns:
        (D, H, W) int16 within HU_MIN and HU_MAX.
    """
    sigmas = (
        scan.slice_mm / _FWHM / spacing_mm[0],
        scan.blur_mm / spacing_mm[1],
        scan.blur_mm / spacing_mm[2],
    )
    for axis, sigma in enumerate(sigmas):  # three weights with the variance of the Gaussian
        hu = _blur(hu, min(sigma**2 / 2, 0.3), axis)
    noise = rng.standard_normal(hu.shape, np.float32)
    for axis in (1, 2):
        noise = _blur(noise, _GRAIN, axis)
    hu = hu + noise * np.float32(scan.noise_hu / (1 - 4 * _GRAIN + 6 * _GRAIN**2))
    return np.clip(np.rint(hu), HU_MIN, HU_MAX).astype(np.int16)


def _blur(volume: Array, side: float, axis: int) -> Array:
    """Smooths with the weights (side, 1 - 2 side, side) along an axis, whose ends are repeated."""
    moved = volume.swapaxes(0, axis)
    result = moved * np.float32(1 - 2 * side)
    result[1:] += np.float32(side) * moved[:-1]
    result[:-1] += np.float32(side) * moved[1:]
    result[0] += np.float32(side) * moved[0]
    result[-1] += np.float32(side) * moved[-1]
    return result.swapaxes(0, axis)
