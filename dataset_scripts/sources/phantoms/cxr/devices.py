"""Lines and tubes: thin opaque curves and a few solid parts, along the paths that they take in a patient."""

import numpy as np

from .body import Canvas, trachea_line
from .geometry import Thorax
from .primitives import Array, Grid, add_ellipsoid, curve, tube_thickness, vector
from .state import PhantomState


def draw_devices(
    canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rng: np.random.Generator
) -> None:
    """The line or tube of the state, if any."""
    y = thorax.apex_y
    tip = y + 9.5 + float(rng.uniform(-0.6, 0.8))  # lower superior vena cava
    name = state.findings["lines and tubes"].name
    cava = [(-1.9, y + 5), (-2.0, tip)]
    if name == "endotracheal tube":
        _draw_endotracheal(canvas, grid, trachea_line(thorax, state))
    elif name == "right central line":
        _draw_line(canvas, grid, [(-4.6, 0.2), (-3.6, y - 1.5), (-2.2, y + 2.6), *cava], 0.17)
    elif name == "left central line":
        _draw_line(canvas, grid, [(16, y + 7.5), (12.5, y + 3.6), (7, y + 2.6), (2.6, y + 3.8), *cava], 0.17)
    elif name == "port":
        _draw_line(
            canvas, grid, [(-8.6, y + 6.2), (-7.6, y + 2.2), (-4.2, y + 0.6), (-2.3, y + 3), *cava], 0.17
        )
        _draw_reservoir(canvas, grid, (-8.6, y + 7.0))
    elif name == "nasogastric tube":
        dome = thorax.pick(thorax.dome_y, 1)
        path = [
            (0.5, 0.2),
            (0.3, y + 2),
            (0.5, y + 10),
            (0.9, dome - 1),
            (2.6, dome + 2.2),
            (5.6, dome + 3.6),
            (7.2, dome + 5.2),
        ]
        _draw_line(canvas, grid, path, 0.2)
    elif name == "pacemaker":
        _draw_pacemaker(canvas, grid, thorax)


def _draw_line(canvas: Canvas, grid: Grid, path: list[tuple[float, float]], radius: float) -> None:
    canvas.metal += np.float32(2.2) * tube_thickness(grid, curve(path), radius)


def _draw_endotracheal(canvas: Canvas, grid: Grid, trachea: Array) -> None:
    """Two pale walls and an opaque stripe, ending above the carina."""
    inside = trachea[: int(0.80 * len(trachea))]
    for offset, strength in ((-0.5, 1.0), (0.5, 2.8)):
        canvas.metal += np.float32(strength) * tube_thickness(grid, inside + vector(offset, 0), 0.19)


def _draw_reservoir(canvas: Canvas, grid: Grid, centre: tuple[float, float]) -> None:
    add_ellipsoid(canvas.metal, grid, centre, (1.4, 1.4), 0.7, edge=0.2)
    add_ellipsoid(canvas.bone, grid, centre, (0.8, 0.8), 2.0, edge=0.3)


def _draw_pacemaker(canvas: Canvas, grid: Grid, thorax: Thorax) -> None:
    """A generator below the left clavicle and two leads to the right atrium and ventricle."""
    y, dx = thorax.apex_y, thorax.shift(-7)
    centre = (10.6 + dx, y + 5.2)
    add_ellipsoid(canvas.metal, grid, centre, (2.5, 2.1), 1.3, 0.3, 0.15)
    heart = thorax.base_y - 3.7
    entry = [(9.6 + dx, y + 3.4), (6.0, y + 2.4), (2.4, y + 3.6), (-1.6, y + 5.6), (-2.0, y + 10)]
    _draw_line(canvas, grid, [*entry, (-2.4, heart + 0.5), (-1.2, heart + 1.6)], 0.15)
    _draw_line(canvas, grid, [*entry, (-1.2, heart + 2.2), (2.2, heart + 3.6), (4.8, heart + 2.8)], 0.15)
