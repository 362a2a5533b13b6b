"""Painting solids into a volume with partial-volume edges: grids, ellipsoids, tubes, points and smooth noise.

Everything lies in the standard body's own millimetres (x to the patient's left, y to the back, z to the head,
the origin between the lungs at the height of the carina); a patient's size is a factor between these and
real ones. Nothing here knows anatomy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

Array = np.ndarray
Box = tuple[slice, slice, slice]  # slices, rows, columns
Point = tuple[float, float, float]  # x, y, z
_FAR = np.float32(1e3)


@dataclass
class Canvas:
    """A volume being painted.

    Attributes:
        hu: (D, H, W) float32.
        z, y, x: voxel centres in body mm, (D, 1, 1), (H, 1) and (W,) float32, so that they broadcast.
        voxel: voxel size in body mm along (z, y, x).
        scale: real mm in a body mm along (z, y, x).
    """

    hu: Array
    z: Array
    y: Array
    x: Array
    voxel: tuple[float, float, float]
    scale: tuple[float, float, float]

    @property
    def edge(self) -> float:
        """Width in body mm over which a surface is blurred by the voxels' size."""
        return sum(self.voxel) / 3

    def box(self, low: Point, high: Point) -> Box:
        """The voxels between two corners (x, y, z) in body mm and one around; may be empty."""
        slices = []
        for axis, centres in ((2, self.z), (1, self.y), (0, self.x)):
            size = self.voxel[2 - axis]
            start = float(centres.flat[0])
            first = int(np.floor((low[axis] - start) / size)) - 1
            last = int(np.ceil((high[axis] - start) / size)) + 2
            slices.append(slice(max(0, min(first, centres.size)), max(0, min(last, centres.size))))
        return slices[0], slices[1], slices[2]

    def axes(self, box: Box) -> tuple[Array, Array, Array]:
        """x (W,), y (H, 1) and z (D, 1, 1) of a box."""
        return self.x[box[2]], self.y[box[1]], self.z[box[0]]

    def cover(self, distance: Array) -> Array:
        """The filled share of voxels at a signed distance (negative inside) in body mm: 0..1."""
        return np.clip(np.float32(0.5) - distance / np.float32(self.edge), 0, 1)

    def paint(self, box: Box, cover: Array, hu: float | Array) -> None:
        """Fills a share of the voxels of a box with another tissue."""
        part = self.hu[box]
        part += cover * (np.asarray(hu, np.float32) - part)

    def ellipsoid(
        self, centre: Point, axes: Point, hu: float, opacity: float = 1.0, tilt: float = 0.0
    ) -> None:
        """Paints an ellipsoid of semi-axes (x, y, z) in body mm, turned by `tilt` rad about z."""
        box, distance = self.ellipsoid_distance(centre, axes, tilt)
        cover = self.cover(distance)
        if max(axes) < 3 * self.edge:  # small: the soft edge must not make it larger than it is
            volume = 4 / 3 * np.pi * axes[0] * axes[1] * axes[2] / float(np.prod(self.voxel))
            cover *= np.float32(min(1.0, volume / max(float(cover.sum()), 1e-6)))
        self.paint(box, cover * np.float32(opacity), hu)

    def ellipsoid_distance(self, centre: Point, axes: Point, tilt: float = 0.0) -> tuple[Box, Array]:
        """A box around an ellipsoid and its signed distance there, along rays from the centre."""
        reach = [max(axes[0], axes[1])] * 2 + [axes[2]] if tilt else list(axes)
        pad = self.edge
        low = (centre[0] - reach[0] - pad, centre[1] - reach[1] - pad, centre[2] - reach[2] - pad)
        high = (centre[0] + reach[0] + pad, centre[1] + reach[1] + pad, centre[2] + reach[2] + pad)
        box = self.box(low, high)
        x, y, z = self.axes(box)
        dx, dy, dz = x - np.float32(centre[0]), y - np.float32(centre[1]), z - np.float32(centre[2])
        if tilt:
            cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
            dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
        squares = dx * dx, dy * dy, dz * dz
        a, b, c = (np.float32(axis**-2) for axis in axes)
        unit = np.sqrt(squares[0] * a + squares[1] * b + squares[2] * c) + np.float32(1e-4)
        length = np.sqrt(squares[0] + squares[1] + squares[2]) + np.float32(1e-4 * min(axes))
        return box, (unit - 1) * (length / unit)

    def ball(self, centre: Point, diameter_mm: float, hu: float, opacity: float = 1.0) -> None:
        """Paints a ball of a diameter in real mm."""
        self.ellipsoid(centre, self.real(diameter_mm), hu, opacity)

    def real(self, diameter_mm: float) -> Point:
        """The semi-axes (x, y, z) in body mm of a ball of a diameter in real mm."""
        z, y, x = self.scale
        return diameter_mm / 2 / x, diameter_mm / 2 / y, diameter_mm / 2 / z

    def tube_distance(self, points: Array, radii: Array | float) -> tuple[Box, Array]:
        """A box around a chain of capsules and its signed distance there.

        Args:
            points: (P, 3) x, y, z in body mm.
            radii: one radius, or one for each point, in body mm.
        """
        points = np.asarray(points, np.float32)
        radii = np.broadcast_to(np.asarray(radii, np.float32), len(points))
        pad = float(radii.max()) + self.edge
        box = self.box(tuple(points.min(0) - pad), tuple(points.max(0) + pad))
        x, y, z = self.axes(box)
        distance = np.full((z.size, y.size, x.size), _FAR, np.float32)
        for start, end, r0, r1 in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            pad = float(max(r0, r1)) + self.edge
            inner = self.box(tuple(np.minimum(start, end) - pad), tuple(np.maximum(start, end) + pad))
            window = tuple(
                slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box, strict=True)
            )
            part = distance[window]
            np.minimum(part, _capsule(*self.axes(inner), start, end, r0, r1), out=part)
        return box, distance

    def tube(self, points: Array, radii: Array | float, hu: float, opacity: float = 1.0) -> None:
        """Paints a chain of capsules; see `tube_distance`."""
        box, distance = self.tube_distance(points, radii)
        cover = self.cover(distance)
        thin = float(np.max(radii)) / self.edge
        if thin < 1:  # a thin wire fills less of its voxels than the soft edge says
            cover *= np.float32(np.pi * thin**2 / (np.pi * (thin**2 + thin / 2 + 1 / 12)))
        self.paint(box, cover * np.float32(opacity), hu)

    def splat(self, points: Array, volumes: Array, hu: float, limit: float = 1.0) -> None:
        """Paints many small pieces: at (P, 3) x, y, z, each of a volume (P,) in body mm^3."""
        shape = self.hu.shape
        places = [
            (points[:, axis] - float(centres.flat[0])) / size
            for axis, centres, size in zip((2, 1, 0), (self.z, self.y, self.x), self.voxel, strict=True)
        ]
        inside = np.all([(p > 0) & (p < n - 1) for p, n in zip(places, shape, strict=True)], axis=0)
        filled = volumes[inside] / float(np.prod(self.voxel))
        if not len(filled):
            return
        whole = [np.floor(p[inside]).astype(np.int64) for p in places]
        offsets = [p[inside] - w for p, w in zip(places, whole, strict=True)]
        index = (whole[0] * shape[1] + whole[1]) * shape[2] + whole[2]
        indices, weights = [], []
        for corner in np.ndindex(2, 2, 2):
            indices.append(index + (corner[0] * shape[1] + corner[1]) * shape[2] + corner[2])
            shares = [p if c else 1 - p for p, c in zip(offsets, corner, strict=True)]
            weights.append(filled * shares[0] * shares[1] * shares[2])
        first = int(index.min())
        total = np.bincount(np.concatenate(indices) - first, np.concatenate(weights))
        cover = np.minimum(total, limit).astype(np.float32)
        part = self.hu.reshape(-1)[first : first + len(cover)]
        part += cover * (np.float32(hu) - part)


def _capsule(x: Array, y: Array, z: Array, start: Array, end: Array, r0: float, r1: float) -> Array:
    """Signed distance to a capsule whose radius goes from r0 to r1."""
    axis = end - start
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    length = max(float(axis @ axis), 1e-6)
    t = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / np.float32(length), 0, 1)
    dx, dy, dz = dx - t * axis[0], dy - t * axis[1], dz - t * axis[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz) - (r0 + t * (r1 - r0))


def curve(points: Sequence[Point], count: int = 16) -> Array:
    """A smooth curve through points (x, y, z): (count, 3) float32."""
    knots = np.asarray(points, float)
    place = np.linspace(0, len(knots) - 1, count)
    if len(knots) < 4:
        flat = [np.interp(place, np.arange(len(knots)), column) for column in knots.T]
        return np.stack(flat, 1).astype(np.float32)
    smooth = [ndimage.map_coordinates(column, [place], order=3, mode="nearest") for column in knots.T]
    return np.stack(smooth, 1).astype(np.float32)


def table(z: Array, heights: Sequence[float], values: Sequence[float]) -> Array:
    """Values at heights, given from the foot upwards, interpolated: float32 in the shape of z."""
    return np.interp(z, heights, values).astype(np.float32)


@lru_cache(maxsize=4)
def _noise_block(smooth_voxels: float) -> Array:
    rng = np.random.default_rng(20261122)
    block = rng.standard_normal((96, 128, 128), np.float32)
    block = ndimage.gaussian_filter(block, smooth_voxels, mode="wrap")
    block /= block.std()
    block.flags.writeable = False
    return block


def clouds(shape: tuple[int, ...], smooth_voxels: float, rng: np.random.Generator) -> Array:
    """Smooth noise of mean 0 and deviation 1: a random part of one fixed block, mirrored at random."""
    block = _noise_block(smooth_voxels)
    starts, flips = rng.integers(0, block.shape, 3), rng.random(3) < 0.5
    for axis in range(3):
        take = (starts[axis] + np.arange(shape[axis])) % block.shape[axis]
        block = block.take(take[::-1] if flips[axis] else take, axis=axis)
    return block
