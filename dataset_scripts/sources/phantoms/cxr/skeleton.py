"""Bones: ribs as tilted rings in three dimensions, clavicles, scapulae, humeral heads and the spine."""

import numpy as np

from .body import Canvas
from .geometry import SIDES, Thorax
from .primitives import (
    Array,
    Grid,
    add_ellipsoid,
    clouds,
    curve,
    step,
    tube_distance,
    tube_thickness,
    vector,
)
from .state import PhantomState

_RIB_COUNT = 11
_RIB_RADIUS_CM = 0.55


def rib_curve(thorax: Thorax, number: int, side: int) -> tuple[Array, Array]:
    """Projected centre line of a rib (1 to 11) and the angle along it.

    A rib is a half ellipse in a plane that falls towards the front: angle 0 at the spine, pi / 2 at the side.

    Returns:
        points (P, 2) float32 in cm; angles (P,) float32.
    """
    i = number - 1
    end = 2.65 if number <= 7 else 2.0
    angle = np.linspace(0.08, end, 68, dtype=np.float32)
    height = (thorax.base_y - thorax.apex_y) / 19.2
    start = thorax.apex_y + (0.1 + 2.05 * i) * height
    drop = (3.2 + 1.15 * min(i, 6)) * height
    reach = float(thorax.outer(start + 0.42 * drop)) + 0.35
    x = side * (1.4 + (reach - 1.4) * np.sin(angle) ** 0.75)
    y = start + drop * (1 - np.cos(angle)) / 2 - 0.45 * np.sin(2 * angle)
    z = 8.5 * np.cos(angle) - 1
    return np.stack([x + thorax.shift(1) * z, y], axis=1).astype(np.float32), angle


def draw_ribs(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rng: np.random.Generator
) -> None:
    """All ribs, back and front halves crossing, with fractures or sclerotic lesions."""
    broken = _broken_ribs(state, rng)
    front, back, front_radius, back_radius = [], [], [], []
    for side in SIDES:
        for number in range(1, _RIB_COUNT + 1):
            points, angle = rib_curve(thorax, number, side)
            if (side, number) in broken:
                points, angle = _fracture(points, angle, broken[side, number])
                _draw_callus(canvas, grid, points, angle, broken[side, number])
            behind = angle < 1.75
            radius = np.float32(_RIB_RADIUS_CM) * (1 + 0.18 * np.clip(angle - 1.6, 0, 1))
            back.append(points[behind])
            back_radius.append(radius[behind])
            front.append(points[angle > 1.4])
            front_radius.append(radius[angle > 1.4])
    for parts, radii, strength in ((back, back_radius, 1.15), (front, front_radius, 0.85)):
        distance = tube_distance(grid, np.concatenate(parts), np.concatenate(radii), 1.15)
        canvas.bone += np.float32(strength) * _shell(distance)
    if state.findings["ribs"].name == "sclerotic lesions":
        _draw_sclerosis(canvas, grid, thorax, rng)


def _shell(distance: Array) -> Array:
    """Thickness in cm through a hollow rod of normalised radius `distance`: bright edges, paler middle."""
    outside = np.sqrt(np.maximum(1.05 - distance**2, 0))
    hollow = np.sqrt(np.maximum(0.55 - distance**2, 0))
    return np.float32(1.0) * outside - np.float32(0.55) * hollow


def _broken_ribs(state: PhantomState, rng: np.random.Generator) -> dict[tuple[int, int], float]:
    """(side, rib number) -> angle of the break."""
    first, angle = int(rng.integers(4, 6)), float(rng.uniform(0.85, 1.2))
    finding = state.findings["ribs"]
    if not finding.name.endswith("fracture"):
        return {}
    side = 1 if finding.name.startswith("left") else -1
    count = 1 if finding.degree == "single" else 4
    return {(side, first + k): angle for k in range(count)}


def _fracture(points: Array, angle: Array, where: float) -> tuple[Array, Array]:
    """A displaced break: a gap, and the outer fragment moved down and inwards."""
    points = points.copy()
    points[angle > where] += vector(-0.35 * np.sign(points[0, 0]), 1.0)
    keep = np.abs(angle - where) > 0.06
    return points[keep], angle[keep]


def _draw_callus(canvas: Canvas, grid: Grid, points: Array, angle: Array, where: float) -> None:
    nearest = points[int(np.argmin(np.abs(angle - where)))]
    add_ellipsoid(canvas.bone, grid, (float(nearest[0]), float(nearest[1] + 0.4)), (1.1, 1.1), 2.4)


def _draw_sclerosis(canvas: Canvas, grid: Grid, thorax: Thorax, rng: np.random.Generator) -> None:
    """Dense round lesions on ribs of both sides."""
    for side in SIDES:
        for number in rng.choice(np.arange(3, 9), 4, replace=False):
            points, angle = rib_curve(thorax, int(number), side)
            spot = points[int(np.argmin(np.abs(angle - rng.uniform(0.5, 1.5))))]
            axes = (float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.55, 0.7)))
            add_ellipsoid(canvas.bone, grid, (float(spot[0]), float(spot[1])), axes, 2.2, 0.3 * side, 0.35)


def clavicle_line(thorax: Thorax, side: int) -> Array:
    """Centre line of a clavicle, (P, 2): an S from the sternum up to the shoulder."""
    y = thorax.apex_y
    medial = [(side * 1.9 + thorax.shift(-9), y + 3.3), (side * 5 + thorax.shift(-8), y + 2.7)]
    return curve([*medial, (side * 9.5, y + 1.0), (side * 13, y + 0.4), (side * 15.8, y + 1.0)], 0.25)


def draw_clavicles(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rng: np.random.Generator
) -> None:
    """Both clavicles, broken or plated where the finding says so."""
    finding = state.findings["clavicles"]
    where = float(rng.uniform(0.45, 0.55))
    for side in SIDES:
        line = clavicle_line(thorax, side)
        t = np.linspace(0, 1, len(line), dtype=np.float32)
        affected = finding.name.startswith("left" if side > 0 else "right")
        if affected and finding.name.endswith("fracture"):
            line[t > where] += vector(-1.1 * side, 2.0)
        radius = 0.6 + 0.3 * (1 - 2 * t) ** 2
        canvas.bone += np.float32(2.3) * _shell(tube_distance(grid, line, radius, 1.15))
        if affected and finding.name.endswith("plate"):
            middle = line[(t > 0.3) & (t < 0.72)]
            canvas.metal += np.float32(2.2) * tube_thickness(grid, middle - vector(0, 0.3), 0.32)
            reach = np.linspace(-0.6, 0.6, 6, dtype=np.float32)[:, None, None] * vector(0, 1)
            screws = (middle[:: max(1, len(middle) // 6)] + reach).reshape(-1, 2)
            canvas.metal += np.float32(2) * tube_thickness(grid, screws, 0.2)


def draw_shoulders(canvas: Canvas, grid: Grid, thorax: Thorax) -> None:
    """Edges of the scapulae and the humeral heads; pale, as with the shoulders rolled forward."""
    for side in SIDES:
        y, x = thorax.apex_y, thorax.half_width
        medial = curve([(side * (x - 1.4), y + 2.6), (side * (x - 0.7), y + 7), (side * (x + 0.9), y + 12.5)])
        lateral = curve(
            [(side * (x + 0.9), y + 12.5), (side * (x + 2.6), y + 8), (side * (x + 3.1), y + 4.2)]
        )
        spine = curve([(side * (x - 1.2), y + 3.6), (side * (x + 1.5), y + 2.0), (side * (x + 4.6), y + 0.6)])
        for line, radius in ((medial, 0.16), (lateral, 0.3), (spine, 0.38)):
            canvas.bone += tube_thickness(grid, line, radius)
        add_ellipsoid(canvas.bone, grid, (side * (x + 1.3), y + 6.4), (1.9, 5.4), 0.35, 0.2 * side, 0.3)
        add_ellipsoid(canvas.bone, grid, (side * (x + 5.4), y + 4.2), (2.4, 2.4), 2.0, 0, 0.4)
        shaft = curve([(side * (x + 5.6), y + 5), (side * (x + 6.0), y + 14), (side * (x + 6.4), 38)], 0.6)
        canvas.bone += np.float32(1.2) * _shell(tube_distance(grid, shaft, 1.1, 1.15))


def spine_shift(y: Array | float, thorax: Thorax, state: PhantomState) -> Array:
    """Sideways position of the spine at height y; convex to the right in dextroscoliosis."""
    finding = state.findings["spine"]
    amount = {"mild": 1.7, "marked": 3.0}.get(finding.degree, 0.0) if "scoliosis" in finding.name else 0.0
    sign = -1 if finding.name == "dextroscoliosis" else 1
    middle = (thorax.apex_y + thorax.base_y) / 2 + 1
    bend = np.exp(-(((y - np.float32(middle)) / np.float32(6.5)) ** 2)) - np.float32(0.2)
    return np.float32(thorax.shift(7)) + np.float32(sign * amount) * bend


def draw_spine(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rng: np.random.Generator
) -> None:
    """Vertebral bodies, discs, pedicles and spinous processes, with the findings of the spine."""
    finding = state.findings["spine"]
    collapsed = int(rng.integers(9, 12))
    heights = np.full(24, 1.9 * thorax.base_y / 24.6) * np.linspace(0.8, 1.25, 24)
    if finding.name == "compression":
        heights[collapsed] *= 0.5
    edges = np.concatenate([[-0.5], -0.5 + np.cumsum(heights)])
    y = grid.y[:, 0]
    which = np.clip(np.searchsorted(edges, y) - 1, 0, 23)
    within = ((y - edges[which]) / heights[which]).astype(np.float32)
    body = step(0.5 - np.abs(within - 0.5) - 0.10, 0.1)
    endplate = np.exp(-(((np.abs(within - 0.5) - 0.36) / 0.07) ** 2))
    half = np.interp(y, [0, 12, 38], [1.25, 1.55, 2.2]) * (1 - 0.08 * np.sin(np.pi * within))
    x = np.abs(grid.x - spine_shift(grid.y, thorax, state))
    strength = 0.55 * body + 0.3 * endplate + 0.1
    if finding.name == "compression":
        strength = strength + 2.6 * (which == collapsed)
        half = half * (1 + 0.4 * (which == collapsed))
    canvas.bone += strength.astype(np.float32)[:, None] * step(half.astype(np.float32)[:, None] - x, 0.3)
    _draw_posterior_parts(canvas, grid, thorax, state, (edges[:-1] + edges[1:]) / 2)
    if finding.name == "degenerative":
        _draw_osteophytes(canvas, grid, thorax, state, edges, rng)
    if finding.name == "hardware":
        _draw_hardware(canvas, grid, thorax, (edges[:-1] + edges[1:]) / 2)


def _draw_posterior_parts(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, centres: Array
) -> None:
    shift = spine_shift(centres.astype(np.float32), thorax, state)
    process = np.stack([shift, centres + 0.5], axis=1).astype(np.float32)
    canvas.bone += tube_thickness(grid, process, 0.32)
    for side in SIDES:
        pedicle = np.stack([shift + side * 1.05, centres - 0.2], axis=1).astype(np.float32)
        canvas.bone += tube_thickness(grid, pedicle, 0.36)


def _draw_osteophytes(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, edges: Array, rng: np.random.Generator
) -> None:
    """Beaks that bridge the disc spaces on both sides, and dense endplates."""
    strong = state.findings["spine"].degree == "marked"
    size = 1.15 if strong else 0.75
    for edge in edges[6:17]:
        x = float(spine_shift(float(edge), thorax, state))
        add_ellipsoid(canvas.bone, grid, (x, edge), (1.9, 0.42), 0.9 if strong else 0.6, 0, 0.3)
        for side in SIDES:
            reach = size * float(rng.uniform(0.75, 1.25))
            add_ellipsoid(
                canvas.bone, grid, (x + side * (1.6 + 0.5 * reach), edge), (reach, 0.5), 1.5 * size, 0, 0.4
            )


def _draw_hardware(canvas: Canvas, grid: Grid, thorax: Thorax, centres: Array) -> None:
    """Two rods with pedicle screws."""
    x = thorax.shift(8)
    levels = centres[(centres > 12) & (centres < 27)]
    for side in SIDES:
        rod = curve([(x + side * 1.25, levels[0] - 0.6), (x + side * 1.25, levels[-1] + 0.6)])
        canvas.metal += tube_thickness(grid, rod, 0.26)
        screws = np.concatenate(
            [curve([(x + side * 0.5, c + 0.2), (x + side * 1.8, c - 0.1)]) for c in levels]
        )
        canvas.metal += tube_thickness(grid, screws, 0.22)


def add_bone_texture(canvas: Canvas, grid: Grid, rng: np.random.Generator, density: float) -> None:
    """Trabecular unevenness and the patient's bone density, on all bone at once."""
    canvas.bone *= np.float32(density) * (1 + np.float32(0.1) * clouds(grid, rng, 0.9))
