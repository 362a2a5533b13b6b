"""Drawing in centimetres: grids, ellipsoids, tubes along curves and smooth noise, all float32.

The image plane has x to the right (the patient's left), y down, the origin above the middle of the neck.
Everything returns or adds to projected thicknesses in cm; nothing here knows anatomy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

FIELD_CM = 38.0  # side of the square field of view
Array = np.ndarray
Window = tuple[slice, slice]  # rows, columns
EVERYWHERE: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Grid:
    """Pixel centres: x (1, N) and y (N, 1) float32 in cm, `px_per_cm` pixels per cm."""

    size: int
    px_per_cm: float
    x: Array
    y: Array

    def zeros(self) -> Array:
        """An empty thickness map: (N, N) float32."""
        return np.zeros((self.size, self.size), np.float32)


@lru_cache(maxsize=4)
def make_grid(size: int) -> Grid:
    """The grid of a square image of `size` pixels."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) * (FIELD_CM / size)).astype(np.float32)
    x = (centres - FIELD_CM / 2)[None, :]
    y = centres[:, None].copy()
    x.flags.writeable = y.flags.writeable = False
    return Grid(size, size / FIELD_CM, x, y)


def vector(*values: float) -> Array:
    """The values as a float32 array."""
    return np.array(values, np.float32)


def step(value: Array, width: float) -> Array:
    """A smooth step from 0 to 1 around 0 over about `width`, without overflow."""
    t = np.clip(value / np.float32(width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def window(grid: Grid, cx: float, cy: float, reach: float) -> Window:
    """Rows and columns of the square of half side `reach` cm around a point, cut at the image border."""
    scale = grid.px_per_cm
    col, row, half = (cx + FIELD_CM / 2) * scale, cy * scale, reach * scale + 1
    rows = slice(max(0, int(row - half)), max(0, int(row + half) + 1))
    cols = slice(max(0, int(col - half)), max(0, int(col + half) + 1))
    return rows, cols


def ellipse_radius(
    x: Array, y: Array, centre: tuple[float, float], axes: tuple[float, float], angle: float
) -> Array:
    """Squared normalised radius (1 on the ellipse) of points for an ellipse turned by `angle` radians."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    if angle:
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    return (dx / np.float32(axes[0])) ** 2 + (dy / np.float32(axes[1])) ** 2


def add_ellipsoid(
    target: Array,
    grid: Grid,
    centre: tuple[float, float],
    axes: tuple[float, float],
    depth: float,
    angle: float = 0.0,
    edge: float = 0.5,
    union: bool = False,
) -> None:
    """Adds to `target` (or unites with it) the thickness depth * (1 - r^2)^edge of an ellipsoid.

    `edge` is 0.5 for a true ellipsoid, lower for flatter shapes with a harder border.
    """
    rows, cols = window(grid, *centre, max(axes))
    radius = ellipse_radius(grid.x[:, cols], grid.y[rows], centre, axes, angle)
    patch = np.float32(depth) * np.maximum(1 - radius, 0) ** np.float32(edge)
    combine = np.maximum if union else np.add
    combine(target[rows, cols], patch, out=target[rows, cols])


def curve(points: Sequence[tuple[float, float]], spacing: float = 0.12) -> Array:
    """A Catmull-Rom curve through `points`, sampled about every `spacing` cm: (P, 2) float32."""
    p = np.asarray(points, np.float32)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    lengths = np.linalg.norm(np.diff(p[1:-1], axis=0), axis=1)
    pieces = []
    for i, length in enumerate(lengths):
        t = np.linspace(0, 1, max(2, int(length / spacing) + 1), dtype=np.float32)[:, None]
        a, b, c, d = p[i : i + 4]
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate(pieces).astype(np.float32)


def _splat(grid: Grid, points: Array, reach_cm: float) -> tuple[Array, Array, Array, slice]:
    """Surroundings of points in an image padded so far that no window leaves it.

    Returns:
        which points lie near the image (P,) bool; flat pixel numbers of their windows (Q * k * k,); squared
        distances in cm (Q, k, k) float32; the slice of the image within a padded row or column.
    """
    half = int(np.ceil(reach_cm * grid.px_per_cm))
    pixel = (points + vector(FIELD_CM / 2, 0)) * np.float32(grid.px_per_cm) - np.float32(0.5)
    near = ((pixel > -half) & (pixel < grid.size - 1 + half)).all(axis=1)
    pixel = pixel[near]
    base = np.rint(pixel).astype(np.intp)  # ufunc.at is fast for this type and float32 values alone
    offset = np.arange(-half, half + 1)
    cm = np.float32(1 / grid.px_per_cm)
    rest = base.astype(np.float32) - pixel
    dx2 = ((rest[:, :1] + offset.astype(np.float32)) * cm) ** 2  # (Q, k)
    dy2 = ((rest[:, 1:] + offset.astype(np.float32)) * cm) ** 2
    width = grid.size + 4 * half
    flat = (base[:, 1:] + offset + 2 * half)[:, :, None] * width + (base[:, :1] + offset + 2 * half)[
        :, None, :
    ]
    return near, flat.reshape(-1), dy2[:, :, None] + dx2[:, None, :], slice(2 * half, 2 * half + grid.size)


def tube_distance(grid: Grid, points: Array, radius: Array | float, reach: float = 1.3) -> Array:
    """Distance to the nearest point over the radius there, up to `reach`: (N, N) float32, 9 elsewhere."""
    radius = np.broadcast_to(np.asarray(radius, np.float32), len(points))
    near, flat, d2, inside = _splat(grid, points, float(radius.max()) * reach)
    width = inside.start + inside.stop
    out = np.full(width**2, 81, np.float32)
    np.minimum.at(out, flat, (d2 / (radius[near] ** 2)[:, None, None]).reshape(-1))
    return np.sqrt(out.reshape(width, width)[inside, inside])


def tube_thickness(grid: Grid, points: Array, radius: Array | float) -> Array:
    """Thickness of thin round tubes along points, blurred to at least the pixel size: (N, N) float32.

    Thin tubes keep their integral, so that a vessel looks alike at every image size.
    """
    radius = np.broadcast_to(np.asarray(radius, np.float32), len(points))
    broad = np.maximum(radius, np.float32(0.62 / grid.px_per_cm))
    near, flat, d2, inside = _splat(grid, points, float(broad.max()) * 1.6)
    radius, broad = radius[near], broad[near]
    width = inside.start + inside.stop
    height = (2 * radius * (radius / broad))[:, None, None]
    out = np.zeros(width**2, np.float32)
    np.maximum.at(out, flat, (height * np.exp(-d2 / (broad**2)[:, None, None])).reshape(-1))
    return out.reshape(width, width)[inside, inside]


@lru_cache(maxsize=16)
def _spline_matrix(size: int, knots: int) -> Array:
    """(size, knots) float32 weights of a uniform cubic B-spline, which smooths its knots."""
    u = (np.arange(size) + 0.5) / size * (knots - 3)
    first = np.minimum(u.astype(int), knots - 4)
    t = u - first
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    )
    matrix = np.zeros((size, knots), np.float32)
    np.put_along_axis(matrix, first[:, None] + np.arange(4), weights.astype(np.float32), axis=1)
    return matrix


def clouds(grid: Grid, rng: np.random.Generator, scale_cm: float, where: Window = EVERYWHERE) -> Array:
    """Smooth noise of about unit variance with features of `scale_cm`, in a window: float32."""
    knots = max(4, round(FIELD_CM / scale_cm) + 3)
    matrix = _spline_matrix(grid.size, knots)
    noise = rng.standard_normal((knots, knots), dtype=np.float32)
    return (matrix[where[0]] @ noise @ matrix[where[1]].T) * np.float32(2.1)
