"""Soft tissue and air: trunk, lungs, hemidiaphragms, vessels, heart, vessels, hila, trachea, stomach."""

from dataclasses import dataclass

import numpy as np

from .geometry import SIDES, Thorax, View
from .primitives import Array, Grid, add_ellipsoid, clouds, curve, step, tube_thickness, vector
from .state import Habitus, PhantomState


@dataclass
class Canvas:
    """Projected thicknesses in cm, each (N, N) float32, filled in by the drawing functions.

    Attributes:
        tissue: soft tissue of the whole trunk, as if the lungs were full.
        lung: aerated lung (air is taken out of `tissue` there).
        solid: soft tissue within the lungs' space (heart, vessels, lesions), which replaces air.
        opaque: fraction of the remaining lung air that fluid or consolidation replaces.
        air: pure gas outside the lungs (trachea, stomach, pneumothorax).
        bone, metal: what they say.
        vessel_mask: where pulmonary markings may be drawn.
    """

    tissue: Array
    lung: Array
    solid: Array
    opaque: Array
    air: Array
    bone: Array
    metal: Array
    vessel_mask: Array

    @classmethod
    def empty(cls, grid: Grid) -> "Canvas":
        """A canvas without anything on it."""
        tissue, lung, solid, opaque, air, bone, metal = (grid.zeros() for _ in range(7))
        return cls(tissue, lung, solid, opaque, air, bone, metal, vessel_mask=grid.zeros() + 1)

    def cover(self, fraction: Array, where: tuple[slice, slice] | None = None) -> None:
        """Fills a fraction (0..1) of the air that is left."""
        part = self.opaque if where is None else self.opaque[where]
        part += (1 - part) * fraction


def draw_trunk(canvas: Canvas, grid: Grid, thorax: Thorax, habitus: Habitus, view: View) -> None:
    """Neck, shoulders, trunk, arms and breasts."""
    y = grid.y[:, 0]
    knots = vector(0, 2.2, 4.2, 6.0, 8.0, 11.0, 14.5, 18.0, 38.0)
    torso, neck = thorax.torso, 5.2 + 1.6 * habitus.bulk
    widths = [
        neck,
        neck + 0.4,
        neck + 3.8,
        neck + 8,
        18.5,
        19.5,
        torso + 1.6,
        torso,
        torso + 1.5 * habitus.bulk,
    ]
    smooth = np.convolve(np.pad(np.interp(y, knots, widths), 6, mode="edge"), np.full(13, 1 / 13), "valid")
    thick = np.interp(y, [0, 4, 9, 16, 38], [0.55, 0.62, 0.85, 1.0, 1.05]) * thorax.depth
    u = np.abs(grid.x) / smooth[:, None].astype(np.float32)
    canvas.tissue += thick[:, None].astype(np.float32) * np.sqrt(np.maximum(1 - u**4, 0))
    for side in SIDES:
        _draw_arm(canvas, grid, thorax, habitus, view, side)
        if habitus.female:
            size = 4.2 + 2.2 * habitus.breast_size + habitus.bulk
            x = side * (0.5 * thorax.half_width + 1.0) + thorax.shift(-9)
            centre, depth = (x, 20.5 + 2.5 * habitus.breast_size), 1.2 + 2.2 * habitus.breast_size
            add_ellipsoid(canvas.tissue, grid, centre, (size, size), depth, edge=0.45)


def _draw_arm(canvas: Canvas, grid: Grid, thorax: Thorax, habitus: Habitus, view: View, side: int) -> None:
    """The upper arm at the picture's border, more or less far from the trunk."""
    start = thorax.torso + 1.5 + 0.6 * habitus.bulk
    elbow = start + 1.5 + view.arms_out_cm
    centre = np.interp(grid.y[:, 0], [7.5, 15, 38], [start - 1, start + 0.5, elbow]).astype(np.float32)
    radius = np.float32(3.2 + 1.6 * habitus.bulk)
    distance = (grid.x * side - centre[:, None]) / radius
    sleeve = 2 * radius * np.sqrt(np.maximum(1 - distance**2, 0)) * step(grid.y - 9.5, 4)
    np.maximum(canvas.tissue, sleeve, out=canvas.tissue)


def draw_lungs(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    """Air of both lungs down to the hemidiaphragms, with the thin posterior recess behind them."""
    depth = np.float32(0.68 * thorax.depth)
    outer, inner = thorax.outer(grid.y), thorax.inner(grid.y)  # (N, 1)
    centre, half = (outer + inner) / 2, np.maximum((outer - inner) / 2, np.float32(0.05))
    for side in SIDES:
        u = (grid.x * side - centre) / half
        height = np.sqrt(np.maximum(1 - u * u * u * u * u * u, 0)) * step(grid.y - thorax.apex_y, 1.6)
        columns = slice(grid.size // 2, None) if side > 0 else slice(0, grid.size // 2)
        below = grid.y - hemidiaphragm_line(grid.x, thorax, state, side)
        air = 1 - step(below, 0.25) * (1 - 0.13 * np.exp(-np.maximum(below, 0) / np.float32(1.8)))
        air *= np.float32(0.3) + np.float32(0.7) * step(grid.x * side - 3.2, 6.5)  # the spine takes the room
        canvas.lung[:, columns] = (depth * height * air)[:, columns]


def hemidiaphragm_line(x: Array | float, thorax: Thorax, state: PhantomState, side: int) -> Array:
    """Height of the hemidiaphragm over x, with an eventration's hump where there is one."""
    line = thorax.dome(x, side)
    name = "left hemidiaphragm" if side > 0 else "right hemidiaphragm"
    if state.findings[name].name == "eventration":
        hump = np.exp(-(((np.asarray(x, np.float32) * side - 6.0) / np.float32(2.9)) ** 2))
        line = line - np.float32(2.9) * hump
    return line


def draw_markings(canvas: Canvas, grid: Grid, thorax: Thorax, rng: np.random.Generator) -> None:
    """Branching pulmonary vessels from both hila and a fine parenchymal texture."""
    starts = np.concatenate([_vessel_starts(thorax, side, rng) for side in SIDES])
    points, radii = _grow(starts, rng)
    vessels = tube_thickness(grid, points[radii > 0.13], radii[radii > 0.13])
    vessels += tube_thickness(grid, points[radii <= 0.13], radii[radii <= 0.13])
    texture = np.maximum(clouds(grid, rng, 0.8), 0) * np.float32(0.4) + clouds(grid, rng, 4.0) * np.float32(
        0.25
    )
    canvas.solid += (vessels * np.float32(5.0) + texture) * canvas.vessel_mask


def _vessel_starts(thorax: Thorax, side: int, rng: np.random.Generator) -> Array:
    """Rows (x, y, direction, length, radius, side) of the primary branches of one hilum."""
    count = 9
    direction = np.deg2rad(np.linspace(-78, 82, count) + rng.normal(0, 6, count))  # down is positive
    x, y = hilum_centre(thorax, side)
    length = np.interp(direction, [-1.4, 0, 1.4], [4.6, 3.0, 5.2]) * rng.uniform(0.85, 1.15, count)
    radius = rng.uniform(0.22, 0.3, count)
    spread = np.linspace(-1.6, 1.6, count)
    columns = [np.full(count, x + side * 0.4), y + spread, direction, length, radius, np.full(count, side)]
    return np.stack(columns, axis=1).astype(np.float32)


def _grow(branches: Array, rng: np.random.Generator, levels: int = 4) -> tuple[Array, Array]:
    """Points (P, 2) and radii (P,) of trees that fork at each level."""
    points, radii = [], []
    for level in range(levels):
        t = np.linspace(0, 1, 28 - 5 * level, dtype=np.float32)
        bend = rng.normal(0, 0.22, (len(branches), 1)).astype(np.float32)
        x, y, direction, length, radius, side = (column[:, None] for column in branches.T)
        angle = direction + bend * t
        px = x + side * np.cos(angle) * length * t
        py = y + np.sin(angle) * length * t
        points.append(np.stack([px, py], axis=-1).reshape(-1, 2))
        radii.append((radius * (1 - 0.3 * t)).reshape(-1))
        fork = rng.uniform(0.2, 0.55, (len(branches), 2)) * [-1, 1]
        shrink = rng.uniform(0.55, 0.75, (len(branches), 2))
        stretch = rng.uniform(0.6, 0.9, (len(branches), 2))
        branches = np.concatenate(
            [
                np.stack(
                    [
                        px[:, -1],
                        py[:, -1],
                        angle[:, -1] + fork[:, k],
                        length[:, 0] * stretch[:, k],
                        radius[:, 0] * shrink[:, k],
                        side[:, 0],
                    ],
                    axis=1,
                )
                for k in range(2)
            ]
        ).astype(np.float32)
    return np.concatenate(points), np.concatenate(radii)


def hilum_centre(thorax: Thorax, side: int) -> tuple[float, float]:
    """Centre of a hilum; the left one lies a little higher."""
    return side * 3.9 + thorax.shift(-1), thorax.apex_y + (10.4 if side < 0 else 9.5)


def draw_hila(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    """Hilar vessels of both sides, larger where the finding says so."""
    for side in SIDES:
        finding = state.findings["left hilum" if side > 0 else "right hilum"]
        grow = {"mild": 1.5, "marked": 2.1}[finding.degree] if finding.name == "enlarged" else 1.0
        x, y = hilum_centre(thorax, side)
        x += side * 0.7 * (grow - 1)
        add_ellipsoid(canvas.solid, grid, (x, y), (1.1 * grow, 2.0 * grow), 2.4 * grow, -0.35 * side)
        add_ellipsoid(
            canvas.solid,
            grid,
            (x + 0.5 * side, y + 1.8 * grow),
            (0.75 * grow, 1.9 * grow),
            1.8 * grow,
            -0.3 * side,
        )
        add_ellipsoid(
            canvas.solid, grid, (x + 0.6 * side, y - 1.2 * grow), (0.7 * grow, 0.9 * grow), 1.4 * grow
        )


def draw_heart(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, habitus: Habitus) -> None:
    """The heart: ventricles towards the left apex and the right atrial bulge."""
    scale, dx = thorax.heart_scale, thorax.shift(-4)
    y = thorax.base_y - 2.9
    width = 6.0 * thorax.half_width / 13.2
    grow = 1 + 1.15 * (scale - 1)  # most of an enlargement goes to the left
    heart = grid.zeros()
    if state.findings["heart"].name == "pericardial effusion":
        add_ellipsoid(heart, grid, (0.9 + dx, y + 0.9), (width * scale * 1.02, 5.6), 12, 0.06, 0.3)
        add_ellipsoid(heart, grid, (0.4 + dx, y - 3.2), (3.6, 4.4), 10, 0.0, 0.4, union=True)
    else:
        angle = 0.66 - 0.3 * habitus.bulk - 0.25 * (scale - 1)
        left = 8.0 * grow * width / 6.0
        axes = (0.66 * left + 0.4, 4.7 * scale**0.5)
        add_ellipsoid(heart, grid, (left - axes[0] * 0.93 + dx, y + 0.4), axes, 11, angle, 0.42)
        base = (1.3 + dx, y - 3.6)  # outflow tract and left atrial appendage: the straight upper left border
        add_ellipsoid(heart, grid, base, (3.0 * scale**0.5, 4.4), 10, 0.5, 0.4, union=True)
        right = 3.8 * (1 + 0.75 * (scale - 1)) * width / 6.0
        add_ellipsoid(heart, grid, (dx - right + 3.2, y + 0.3), (3.2, 4.9), 9.5, 0.0, 0.4, union=True)
    np.maximum(canvas.solid, heart, out=canvas.solid)


def draw_mediastinum(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    """The central soft tissue from the neck to the diaphragm, the aorta and the pulmonary trunk."""
    widen = 0.0
    finding = state.findings["mediastinum"]
    if finding.name == "widened":
        widen = 1.3 if finding.degree == "mild" else 2.6
    y = grid.y[:, 0] - thorax.apex_y
    right = np.interp(y, [-6, -1, 2, 5, 9, 30], [3.6, 3.1, 2.9, 3.0, 2.8, 1.8])
    left = np.interp(y, [-6, -1, 2, 5, 9, 30], [3.6, 3.0, 2.5, 2.3, 2.2, 1.8])
    swell = widen * np.exp(-(((y - 4.5) / 4.2) ** 4))
    x = grid.x - np.float32(thorax.shift(-1))
    half = ((left + right) / 2 + swell).astype(np.float32)[:, None]
    band = np.abs(x - ((left - right) / 2).astype(np.float32)[:, None]) / half
    np.maximum(canvas.solid, np.float32(14) * np.maximum(1 - band**4, 0) ** np.float32(0.5), out=canvas.solid)
    _draw_aorta(canvas, grid, thorax, state)
    trunk = (1.9 + thorax.shift(-3), thorax.apex_y + 10.4)
    add_ellipsoid(canvas.solid, grid, trunk, (2.1, 3.0), 9, -0.3, union=True)


def aortic_knob(thorax: Thorax, state: PhantomState) -> tuple[float, float, float]:
    """Centre x, y and radius of the aortic knob."""
    finding = state.findings["aorta"]
    x, y, radius = 1.95 + thorax.shift(2), thorax.apex_y + 6.0, 1.65
    if finding.name == "aneurysm":
        return x + 1.1, y + 0.2, 3.0
    if finding.name == "tortuous":
        return x + (0.4 if finding.degree == "mild" else 0.8), y - 0.4, 1.7
    return x, y, radius


def descending_aorta(thorax: Thorax, state: PhantomState) -> Array:
    """Centre line of the descending aorta, (P, 2), from the knob to the diaphragm; bows out if tortuous."""
    finding = state.findings["aorta"]
    x, y, _ = aortic_knob(thorax, state)
    bow = {"mild": 1.6, "marked": 3.0}.get(finding.degree, 0.0)
    low = thorax.base_y + 4
    return curve(
        [
            (x, y),
            (x + bow * 0.75, y + 4),
            (x - 0.1 + bow, y + 8.5),
            (x - 0.5 + bow * 0.5, y + 13),
            (0.6, low),
        ],
        0.3,
    )


def _draw_aorta(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    finding = state.findings["aorta"]
    x, y, radius = aortic_knob(thorax, state)
    add_ellipsoid(canvas.solid, grid, (x, y), (radius, radius * 1.05), 8, 0, 0.4, union=True)
    line = descending_aorta(thorax, state)
    centre = np.interp(grid.y[:, 0], line[:, 1], line[:, 0]).astype(np.float32)[:, None]
    inside = np.maximum(1 - ((grid.x - centre) / np.float32(1.35)) ** 2, 0) * step(grid.y - y, 0.8)
    np.maximum(canvas.solid, np.float32(7) * inside ** np.float32(0.45), out=canvas.solid)
    if finding.degree == "marked" or finding.name == "aneurysm":  # the ascending aorta unfolds to the right
        add_ellipsoid(canvas.solid, grid, (-2.5, y + 4.6), (2.0, 5.4), 8, 0, 0.4, union=True)


def trachea_line(thorax: Thorax, state: PhantomState) -> Array:
    """Centre line of the trachea, (P, 2), from the neck to the carina."""
    finding = state.findings["trachea"]
    amount = {"": 0.0, "mild": 1.3, "marked": 2.4}[finding.degree]
    bend = -amount if finding.name == "deviated right" else amount
    top, carina, z = thorax.apex_y, thorax.apex_y + 8.2, thorax.shift(-1)
    return curve(
        [
            (z, 0.5),
            (z + 0.1 * bend, top - 2.6),
            (z + bend, top + 2.2),
            (z + bend * 0.85, top + 5),
            (z + 0.3 * bend, carina),
        ]
    )


def draw_trachea(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    """The air column of the trachea and the two main bronchi."""
    line = trachea_line(thorax, state)
    column = tube_thickness(grid, line, 0.72)
    end = line[-1]
    for side, slope in ((-1, 1.2), (1, 0.75)):
        bronchus = curve(
            [
                tuple(end),
                (end[0] + side * 1.5, end[1] + slope * 1.2),
                (end[0] + side * 3.2, end[1] + slope * 2.7),
            ]
        )
        np.maximum(column, tube_thickness(grid, bronchus, np.linspace(0.65, 0.45, len(bronchus))), out=column)
    canvas.air += column * np.float32(1.9)


def draw_stomach(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rng: np.random.Generator
) -> None:
    """Gas of the gastric fundus below the left hemidiaphragm, with a fluid level, or a hernia."""
    finding = state.findings["stomach"]
    size = 1.0 + float(rng.uniform(-0.12, 0.12))
    level = float(rng.uniform(0.25, 0.7))
    if finding.name == "absent":
        return
    if finding.name == "distended":
        size *= 1.75 if finding.degree == "mild" else 2.5
    if finding.name == "hiatal hernia":
        _draw_hernia(canvas, grid, thorax, 2.5 if finding.degree == "small" else 3.7)
        return
    axes = (2.3 * size, 1.25 * size)
    x = 6.0 + thorax.shift(-2)
    y = float(thorax.dome(x, 1)) + 0.7 + axes[1]
    gas = grid.zeros()
    add_ellipsoid(gas, grid, (x, y), axes, 6.5 * size**0.4, 0.1, 0.4)
    gas *= 1 - step(grid.y - np.float32(y + level * axes[1]), 0.3)
    np.maximum(canvas.air, gas, out=canvas.air)


def _draw_hernia(canvas: Canvas, grid: Grid, thorax: Thorax, radius: float) -> None:
    """A round retrocardiac mass with gas above a fluid level."""
    x, y = 1.0 + thorax.shift(4), thorax.base_y - 0.4 - 0.5 * radius
    add_ellipsoid(canvas.solid, grid, (x, y), (radius * 1.15, radius), 7, 0, 0.4)
    gas = grid.zeros()
    add_ellipsoid(gas, grid, (x, y), (radius * 0.95, radius * 0.82), 8, 0, 0.4)
    canvas.air += gas * (1 - step(grid.y - np.float32(y + 0.15 * radius), 0.3))
