"""A volume on another grid: trilinear resampling, clipping, a centred crop or padding with air, at once."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AxisPlan:
    """How one axis of n voxels becomes one of `size`: resampled to a grid, of which the middle is kept.

    Voxel i of the grid lies at (i + 0.5) * n / grid - 0.5 on the old axis, not before its first voxel
    (`align_corners=False` of torch's interpolate), between `low[i]` and `high[i]` at the share `weight[i]`.
    Only voxels of the grid that are kept are listed; they fill `place` of the new axis.
    """

    low: np.ndarray  # (K,) int64
    high: np.ndarray  # (K,) int64
    weight: np.ndarray  # (K,) float32, in 0..1
    place: slice

    @classmethod
    def of(cls, count: int, grid: int, size: int) -> "AxisPlan":
        """Plan an axis.

        Args:
            count: voxels of the old axis.
            grid: voxels of the resampled axis.
            size: voxels of the new axis, at most `grid` of which are resampled ones.
        """
        first, before = max(0, grid - size) // 2, max(0, size - grid) // 2
        kept = np.arange(first, first + min(grid, size))
        at = np.maximum((kept + 0.5) * (count / grid) - 0.5, 0.0)
        low = at.astype(np.int64)
        high = np.minimum(low + 1, count - 1)
        return cls(low, high, (at - low).astype(np.float32), slice(before, before + len(kept)))


def fit(
    hu: np.ndarray,
    grid: tuple[int, int, int],
    size: tuple[int, int, int],
    limits: tuple[int, int],
    whole: bool = True,
) -> np.ndarray:
    """Resample a volume to a grid, clip it, and cut or pad it about its centre.

    One section at a time: voxels that the crop would drop are never made, and no resampled volume lies in
    memory beside the result.

    Args:
        hu: (D, H, W) whole numbers or floats.
        grid: the resampled (D, H, W); trilinear, without antialiasing.
        size: the (D, H, W) of the result, at the centre of the grid, an odd voxel more behind it.
        limits: the least HU, which is also the padding, and the most.
        whole: whether HU are rounded to whole numbers.

    Returns:
        (D, H, W) of `size`, int16 where `whole`, else float32.
    """
    depth, height, width = (AxisPlan.of(n, g, s) for n, g, s in zip(hu.shape, grid, size, strict=True))
    result = np.full(size, limits[0], dtype=np.int16 if whole else np.float32)
    sections: dict[int, np.ndarray] = {}
    for place, low, high, weight in zip(
        result[depth.place], depth.low.tolist(), depth.high.tolist(), depth.weight, strict=True
    ):
        needed = {low, high} if weight else {low}
        sections = {i: sections[i] if i in sections else _section(hu[i], height, width) for i in needed}
        section = sections[low].copy() if not weight else _between(sections[low], sections[high], weight)
        np.clip(section, *limits, out=section)
        place[height.place, width.place] = np.rint(section, out=section) if whole else section
    return result


def _section(section: np.ndarray, height: AxisPlan, width: AxisPlan) -> np.ndarray:
    """(H, W) -> the kept (H', W') of its grid, float32."""
    left = np.take(section, width.low, axis=1).astype(np.float32)  # (H, W')
    if width.weight.any():
        left = _between(left, np.take(section, width.high, axis=1).astype(np.float32), width.weight)
    if not height.weight.any():
        return left[height.low]  # (H', W')
    return _between(left[height.low], left[height.high], height.weight[:, None])  # (H', W')


def _between(low: np.ndarray, high: np.ndarray, weight: np.ndarray | np.float32) -> np.ndarray:
    """low + (high - low) * weight, float32."""
    between = high - low
    between *= weight
    between += low
    return between
