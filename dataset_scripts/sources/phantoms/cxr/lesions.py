"""Findings of lungs, pleura, hila, mediastinum and aortic wall, drawn onto the normal chest."""

import numpy as np

from .body import Canvas, aortic_knob, descending_aorta, hemidiaphragm_line, hilum_centre
from .geometry import Thorax
from .primitives import (
    Grid,
    add_ellipsoid,
    clouds,
    curve,
    ellipse_radius,
    step,
    tube_distance,
    tube_thickness,
    vector,
    window,
)
from .state import Finding, PhantomState


def draw_upper_lobe(
    canvas: Canvas, grid: Grid, thorax: Thorax, finding: Finding, side: int, rng: np.random.Generator
) -> None:
    """The finding of one upper lobe, between the clavicle and the hilum."""
    x = side * (0.52 * thorax.half_width + float(rng.uniform(-0.8, 0.8)))
    y = thorax.apex_y + 5.6 + float(rng.uniform(-0.8, 0.9))
    if finding.name == "nodule":
        _nodule(canvas, grid, (x, y), 1.05 if finding.degree == "small" else 1.7)
    elif finding.name == "mass":
        add_ellipsoid(canvas.solid, grid, (x, y), (2.9, 2.5), 7.0, float(rng.uniform(-0.5, 0.5)), 0.35)
        _spicules(canvas, grid, (x, y), 3.8, rng)
    elif finding.name == "consolidation":
        _consolidation(canvas, grid, (x, y), (4.0, 3.6), 0.5 if finding.degree == "patchy" else 0.85, rng)
    elif finding.name == "scarring":
        _scarring(canvas, grid, thorax, side, finding.degree == "marked", rng)
    elif finding.name == "cavity":
        _cavity(canvas, grid, (x, y), 2.4)
    elif finding.name == "granuloma":
        _calcified_spots(canvas, grid, (x, y), 1.6, 3, 0.5, rng)


def draw_lower_lobe(
    canvas: Canvas,
    grid: Grid,
    thorax: Thorax,
    state: PhantomState,
    finding: Finding,
    side: int,
    rng: np.random.Generator,
) -> None:
    """The finding of one lower lobe, above the hemidiaphragm."""
    x = side * (0.60 * thorax.half_width + float(rng.uniform(-0.5, 0.8)))
    floor = float(hemidiaphragm_line(x, thorax, state, side))
    y = floor - 3.6 + float(rng.uniform(-0.5, 0.5))
    if finding.name == "consolidation":
        _consolidation(
            canvas, grid, (x, y + 0.4), (4.2, 3.3), 0.5 if finding.degree == "patchy" else 0.85, rng
        )
    elif finding.name == "nodule":
        _nodule(canvas, grid, (x, y - 0.6), 1.05 if finding.degree == "small" else 1.7)
    elif finding.name == "atelectasis":
        _atelectasis(canvas, grid, (x, y + 1.2), side, finding.degree == "marked", rng)
    elif finding.name == "interstitial":
        _reticulation(canvas, grid, (x, y), 0.55 if finding.degree == "mild" else 1.0, rng)


def _nodule(canvas: Canvas, grid: Grid, centre: tuple[float, float], radius: float) -> None:
    add_ellipsoid(canvas.solid, grid, centre, (radius, radius * 0.94), 5.5 * radius, edge=0.4)


def _spicules(
    canvas: Canvas, grid: Grid, centre: tuple[float, float], reach: float, rng: np.random.Generator
) -> None:
    """Fine strands around a mass."""
    angles = np.linspace(0, 2 * np.pi, 11, endpoint=False) + rng.uniform(-0.2, 0.2, 11)
    ends = [(centre[0] + reach * np.cos(a), centre[1] + reach * np.sin(a)) for a in angles]
    strands = np.concatenate([curve([centre, end]) for end in ends])
    canvas.solid += np.float32(2.5) * tube_thickness(grid, strands, 0.13)


def _consolidation(
    canvas: Canvas,
    grid: Grid,
    centre: tuple[float, float],
    axes: tuple[float, float],
    density: float,
    rng: np.random.Generator,
) -> None:
    """Fluffy airspace disease with an uneven border and branching air bronchograms."""
    where = window(grid, *centre, max(axes) * 1.5)
    radius = ellipse_radius(grid.x[:, where[1]], grid.y[where[0]], centre, axes, 0.0)
    uneven = clouds(grid, rng, 2.4, where) * np.float32(0.22) + clouds(grid, rng, 0.9, where) * np.float32(
        0.14
    )
    body = step(1.0 - np.sqrt(radius) + uneven, 0.9)
    away = np.sign(centre[0])
    start = (centre[0] - away * 2.2, centre[1] - 0.8)
    angles = np.sort(rng.uniform(-1.1, 1.3, 4))
    reach = rng.uniform(1.2, 2.6, 4)
    forks = [
        (centre[0] + away * r * np.cos(a), centre[1] + r * np.sin(a))
        for a, r in zip(angles, reach, strict=True)
    ]
    bends = [
        (centre[0] - away * float(rng.uniform(0.2, 1.2)), centre[1] + float(rng.uniform(-0.5, 0.5)))
        for _ in forks
    ]
    bronchi = np.concatenate([curve([start, bend, fork]) for bend, fork in zip(bends, forks, strict=True)])
    gaps = np.minimum(tube_thickness(grid, bronchi, 0.15)[where] * np.float32(1.1), np.float32(0.4))
    canvas.cover(np.float32(density) * body * (1 - gaps), where)


def _scarring(
    canvas: Canvas, grid: Grid, thorax: Thorax, side: int, marked: bool, rng: np.random.Generator
) -> None:
    """Coarse strands from the hilum to the apex and a shrunken apical opacity."""
    hx, hy = hilum_centre(thorax, side)
    count = 7 if marked else 4
    tops = np.linspace(3.4, 8.6 if marked else 7.0, count) + rng.uniform(-0.3, 0.3, count)
    heights = thorax.apex_y + 1.6 + rng.uniform(-0.2, 1.6, count)
    strands = [
        curve(
            [
                (side * top, height),
                ((side * top + hx) / 2 + side * float(rng.uniform(-0.6, 0.9)), (height + hy) / 2),
                (hx + side * 0.8, hy - 1.2),
            ]
        )
        for top, height in zip(tops, heights, strict=True)
    ]
    radius = 0.34 if marked else 0.24
    canvas.solid += np.float32(6.0 if marked else 5.0) * tube_thickness(grid, np.concatenate(strands), radius)
    cap = (side * 5.2, thorax.apex_y + 1.6)
    where = window(grid, *cap, 4)
    distance = ellipse_radius(grid.x[:, where[1]], grid.y[where[0]], cap, (3.4, 1.7), 0.0)
    edge = clouds(grid, rng, 1.0, where) * np.float32(0.25)
    canvas.cover(np.float32(0.7 if marked else 0.45) * step(1 - np.sqrt(distance) + edge, 0.6), where)


def _cavity(canvas: Canvas, grid: Grid, centre: tuple[float, float], radius: float) -> None:
    """A thick wall around gas, with a little fluid at the bottom."""
    ring = grid.zeros()
    add_ellipsoid(ring, grid, centre, (radius, radius * 0.95), 7.0, edge=0.4)
    hole = grid.zeros()
    add_ellipsoid(hole, grid, (centre[0], centre[1] - 0.1), (radius * 0.66, radius * 0.62), 7.0, edge=0.4)
    hole *= 1 - step(grid.y - np.float32(centre[1] + 0.33 * radius), 0.25)
    canvas.solid += ring * 1.1
    canvas.solid -= np.minimum(hole * 1.25, canvas.solid)


def _calcified_spots(
    canvas: Canvas,
    grid: Grid,
    centre: tuple[float, float],
    spread: float,
    count: int,
    radius: float,
    rng: np.random.Generator,
) -> None:
    """Small, very dense round spots around a centre."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 2)
    for angle in angles:
        reach = spread * float(rng.uniform(0.5, 1.0))
        spot = (centre[0] + reach * float(np.cos(angle)), centre[1] + reach * float(np.sin(angle)))
        size = radius * float(rng.uniform(0.85, 1.2))
        add_ellipsoid(canvas.bone, grid, spot, (size, size), 2.2, edge=0.35)


def _atelectasis(
    canvas: Canvas, grid: Grid, centre: tuple[float, float], side: int, marked: bool, rng: np.random.Generator
) -> None:
    """Plate-like bands, nearly horizontal."""
    levels = (-2.2, -0.9, 0.5) if marked else (-0.6,)
    slope = side * float(rng.uniform(-0.12, 0.28))
    for level in levels:
        half = 3.6 * float(rng.uniform(0.85, 1.1))
        x, y = centre[0] + float(rng.uniform(-0.8, 0.8)), centre[1] + level
        slope += float(rng.uniform(-0.08, 0.08))
        line = curve([(x - half, y - slope * half), (x, y - 0.25), (x + half, y + slope * half)])
        taper = (0.55 if marked else 0.48) * np.sin(np.linspace(0.15, np.pi - 0.15, len(line))) ** 0.6
        profile = np.maximum(1 - tube_distance(grid, line, taper, 1.1) ** 2, 0)
        canvas.cover(np.float32(0.62 if marked else 0.55) * profile)


def _reticulation(
    canvas: Canvas, grid: Grid, centre: tuple[float, float], strength: float, rng: np.random.Generator
) -> None:
    """A net of fine lines: the zero crossings of smooth noise."""
    where = window(grid, *centre, 6.5)
    radius = ellipse_radius(grid.x[:, where[1]], grid.y[where[0]], centre, (4.6, 4.4), 0.0)
    body = step(1.15 - np.sqrt(radius), 0.7)
    net = grid.zeros()[where]
    for scale in (0.75, 1.05):
        net = np.maximum(net, np.exp(-((clouds(grid, rng, scale, where) / np.float32(0.22)) ** 2)))
    canvas.cover(np.float32(strength) * body * (np.float32(0.12) + np.float32(0.6) * net), where)


def draw_pleura(
    canvas: Canvas, grid: Grid, thorax: Thorax, finding: Finding, side: int, rng: np.random.Generator
) -> None:
    """The finding of one pleura."""
    jitter = float(rng.uniform(-0.4, 0.4))
    if finding.name == "effusion":
        _effusion(canvas, grid, thorax, finding.degree, side, jitter)
    elif finding.name == "pneumothorax":
        _pneumothorax(canvas, grid, thorax, finding.degree, side, jitter)
    elif finding.name == "thickening":
        _thickening(canvas, grid, thorax, finding.degree == "marked", side, rng)
    elif finding.name == "plaque":
        _plaque(canvas, grid, thorax, side, rng)


def _half(grid: Grid, side: int) -> tuple[slice, slice]:
    middle = grid.size // 2
    return slice(None), slice(middle, None) if side > 0 else slice(0, middle)


def _effusion(canvas: Canvas, grid: Grid, thorax: Thorax, degree: str, side: int, jitter: float) -> None:
    """Fluid with a meniscus that climbs towards the side."""
    where = _half(grid, side)
    dome = thorax.pick(thorax.dome_y, side)
    level, climb = {"small": (dome + 2.6, 4.8), "moderate": (dome - 0.4, 5.6), "large": (dome - 4.8, 5.6)}[
        degree
    ]
    u = np.clip(grid.x[:, where[1]] * side / thorax.half_width, 0, 1)
    surface = np.float32(level + jitter) - np.float32(climb) * u**3
    fluid = step(grid.y - surface, 1.1)
    canvas.cover(np.float32(0.93 if degree == "small" else 0.86) * fluid, where)


def _pneumothorax(canvas: Canvas, grid: Grid, thorax: Thorax, degree: str, side: int, jitter: float) -> None:
    """Gas without markings outside a thin visceral pleural line, widest at the apex."""
    where = _half(grid, side)
    apex, lateral = (3.6, 1.5) if degree == "small" else (6.4, 4.6)
    y = grid.y[:, 0]
    down = np.clip((y - thorax.apex_y) / 20, 0, 1)
    gap = np.interp(
        down,
        [0, 0.25, 0.7, 1],
        [lateral * 1.3, lateral, lateral * 0.6, 0.0 if degree == "small" else lateral * 0.4],
    )
    edge = (thorax.outer(grid.y)[:, 0] - gap + 0.2 * jitter).astype(np.float32)[:, None]
    top = np.float32(thorax.apex_y + apex + jitter)
    # distance into the collapsed lung, from its lateral border and from its rounded top
    centre = np.float32(4.3)
    bow = np.float32(0.10) * (grid.x[:, where[1]] * side - centre) ** 2
    inside = np.minimum(edge - grid.x[:, where[1]] * side, grid.y - top - bow)
    gas = step(-inside, 0.25)
    line = np.exp(-((inside / np.float32(0.22)) ** 2))
    canvas.vessel_mask[where] *= 1 - gas
    canvas.air[where] += np.float32(0.33) * canvas.lung[where] * gas
    canvas.solid[where] += np.float32(2.2) * line
    canvas.cover(np.float32(0.08 if degree == "small" else 0.2) * (1 - gas), where)


def _thickening(
    canvas: Canvas, grid: Grid, thorax: Thorax, marked: bool, side: int, rng: np.random.Generator
) -> None:
    """A soft rind along the lateral wall and over the apex."""
    where = _half(grid, side)
    wave = clouds(grid, rng, 3.0, where) * np.float32(0.2)
    from_wall = thorax.outer(grid.y) - grid.x[:, where[1]] * side
    from_top = grid.y - thorax.apex_y - np.float32(0.10) * (grid.x[:, where[1]] * side - 5.0) ** 2
    thickness = np.float32(2.1 if marked else 1.25) + wave
    extent = 1 - step(grid.y - (thorax.apex_y + 17), 4)
    rind = np.maximum(step(thickness - from_wall, 0.4) * extent, step(thickness * 0.9 - from_top, 0.4))
    canvas.cover(np.float32(0.85 if marked else 0.75) * rind, where)


def _plaque(canvas: Canvas, grid: Grid, thorax: Thorax, side: int, rng: np.random.Generator) -> None:
    """Calcified plates with ragged borders over the mid lung, along the wall and on the dome."""
    noise = clouds(grid, rng, 1.0)
    height = thorax.apex_y + 12.0 + float(rng.uniform(-1, 1))
    places = (
        ((side * 0.66 * thorax.half_width, height), (2.3, 1.5), 0.5 * side),
        ((side * (float(thorax.outer(height + 1)) - 0.4), height + 1.0), (0.7, 3.0), 0.0),
        (
            (side * 0.5 * thorax.half_width, float(thorax.dome(side * 0.5 * thorax.half_width, side))),
            (2.4, 0.6),
            0.0,
        ),
    )
    for centre, axes, angle in places:
        where = window(grid, *centre, max(axes) * 1.4)
        radius = np.sqrt(ellipse_radius(grid.x[:, where[1]], grid.y[where[0]], centre, axes, angle))
        uneven = noise[where]
        canvas.bone[where] += step(1 - radius + 0.3 * uneven, 0.35) * np.maximum(1.5 + 0.5 * uneven, 0.4)


def draw_hilar_finding(
    canvas: Canvas, grid: Grid, thorax: Thorax, finding: Finding, side: int, rng: np.random.Generator
) -> None:
    """Mass, calcified nodes or clips at one hilum; a plain enlargement is part of the normal drawing."""
    x, y = hilum_centre(thorax, side)
    x += side * 1.0
    if finding.name == "mass":
        for dx, dy, radius in ((0.9, 0.3, 2.3), (0.2, -1.6, 1.5), (0.8, 2.0, 1.5)):
            add_ellipsoid(
                canvas.solid,
                grid,
                (x + side * dx, y + dy),
                (radius, radius),
                3.2 * radius,
                edge=0.35,
                union=True,
            )
    elif finding.name == "calcified nodes":
        _calcified_spots(canvas, grid, (x, y), 1.4, 5, 0.55, rng)
    elif finding.name == "clips":
        for k in range(5):
            cx, cy = x + float(rng.uniform(-0.9, 1.1)), y - 1.8 + 0.9 * k
            slant = float(rng.uniform(-0.4, 0.4))
            canvas.metal += np.float32(2) * tube_thickness(
                grid, curve([(cx - 0.45, cy - slant), (cx + 0.45, cy + slant)]), 0.16
            )


def draw_mediastinal_finding(
    canvas: Canvas, grid: Grid, thorax: Thorax, finding: Finding, rng: np.random.Generator
) -> None:
    """Nodes, a mass or calcified nodes; a plain widening is part of the normal drawing."""
    y = thorax.apex_y
    if finding.name == "lymphadenopathy":  # lumps right of the trachea
        for dy, reach, radius in ((2.6, 3.1, 1.5), (4.8, 3.4, 1.7), (7.0, 3.2, 1.5)):
            centre = (-reach + thorax.shift(-1), y + dy + float(rng.uniform(-0.2, 0.2)))
            add_ellipsoid(canvas.solid, grid, centre, (radius, radius), 7, edge=0.35, union=True)
    elif finding.name == "mass":  # an anterior mass that bulges to the left, above the hilum
        add_ellipsoid(
            canvas.solid, grid, (3.4 + thorax.shift(-6), y + 4.4), (3.0, 3.3), 9, edge=0.35, union=True
        )
    elif finding.name == "calcified nodes":
        _calcified_spots(canvas, grid, (-0.9, y + 7.0), 1.5, 5, 0.6, rng)


def draw_aortic_calcification(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState) -> None:
    """Calcium in the wall of the arch and down the descending aorta."""
    x, y, radius = aortic_knob(thorax, state)
    arc = np.linspace(-2.7, 1.1, 50)
    wall = np.stack([x + radius * np.cos(arc), y + radius * np.sin(arc)], axis=1).astype(np.float32)
    canvas.bone += np.float32(4.0) * tube_thickness(grid, wall, 0.3)
    line = descending_aorta(thorax, state)
    dashes = line[(line[:, 1] > y + 2) & (line[:, 1] < y + 9) & (np.sin(line[:, 1] * 3) > -0.2)]
    canvas.bone += np.float32(3.0) * tube_thickness(grid, dashes + vector(1.3, 0), 0.24)


def draw_free_air(canvas: Canvas, grid: Grid, thorax: Thorax, state: PhantomState, side: int) -> None:
    """A crescent of gas between the hemidiaphragm, left as a thin line, and what lies below."""
    where = _half(grid, side)
    below = grid.y - hemidiaphragm_line(grid.x[:, where[1]], thorax, state, side)
    lateral = grid.x[:, where[1]] * side
    thickness = np.float32(1.7) * np.maximum(1 - ((lateral - 6.8) / np.float32(4.8)) ** 2, 0)
    crescent = step(below - 0.45, 0.25) * step(0.45 + thickness - below, 0.25) * (thickness > 0.1)
    np.maximum(canvas.air[where], np.float32(8.0) * crescent, out=canvas.air[where])
