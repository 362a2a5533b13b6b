"""Spine, ribs, sternum, clavicles and scapulae with their findings."""

import numpy as np

from .canvas import Array, Canvas
from .chest import SIDES, Chest, cavity_outline
from .state import PhantomCTState
from .tissues import CALCIUM, METAL

_PERIOD = 24.0  # from one vertebral body to the next, in body mm
_BODY = 9.6  # half the height of a vertebral body
_SPINE_Y = 59.0
_RIBS = 11


def draw_skeleton(
    canvas: Canvas, chest: Chest, state: PhantomCTState, rngs: dict[str, np.random.Generator]
) -> None:
    """All bones; ribs lie in the wall, so that the order to the lungs does not matter."""
    density = state.build.bone_density
    _draw_shoulders(canvas, density)
    _draw_sternum(canvas, density)
    _draw_ribs(canvas, chest, density)
    _draw_rib_finding(canvas, chest, state, rngs["ribs"])
    _draw_spine(canvas, chest, density)
    _draw_spine_finding(canvas, chest, state, rngs["spine"])


def _draw_spine(canvas: Canvas, chest: Chest, density: float) -> None:
    """Bodies with a dense rim, disks between them, the canal, and the arches behind."""
    box = canvas.box((-44, 38, -400), (44, 112, 400))
    x, y, z = canvas.axes(box)
    phase = np.abs(np.mod(z - np.float32(chest.level) + _PERIOD / 2, np.float32(_PERIOD)) - _PERIOD / 2)
    radius = np.hypot(x / np.float32(1.2), y - np.float32(_SPINE_Y)) - np.float32(14.5)
    column = canvas.cover(radius)
    canvas.paint(box, column, 80.0)
    bone = np.maximum(radius, phase - np.float32(_BODY))
    spongy = np.float32(210 * density) + np.float32(330) * canvas.cover(np.abs(bone + 1.5) - 2)
    canvas.paint(box, canvas.cover(bone), spongy)
    arch = np.minimum(
        np.maximum(np.abs(x) - 4, np.abs(y - 96) - 12),  # spinous process
        np.maximum(np.abs(np.abs(x) - 18) - 13, np.abs(y - 80 + np.abs(x) * np.float32(0.2)) - 5),
    )
    canvas.paint(box, canvas.cover(np.maximum(arch, phase - 8)), 380 * density)
    canal = np.hypot(x, y - np.float32(81)) - 8
    canvas.paint(box, canvas.cover(canal), 25.0)


def _levels(chest: Chest, low: float, high: float) -> Array:
    """Heights of the middles of the vertebral bodies between two heights."""
    numbers = np.arange(-9, 6)
    heights = chest.level + _PERIOD * numbers
    return heights[(heights > low) & (heights < high)]


def _draw_spine_finding(
    canvas: Canvas, chest: Chest, state: PhantomCTState, rng: np.random.Generator
) -> None:
    finding = state.findings["spine"]
    if finding.is_normal:
        return
    levels = _levels(chest, -165, 60)
    if finding.name == "degenerative":
        marked = finding.degree == "marked"
        for height in levels if marked else levels[1:6]:
            for x, y in ((-19, 50), (15, 45)) if marked else ((-18, 51),):
                axes = (6, 6, 9) if marked else (4.5, 4.5, 5)
                canvas.ellipsoid((x, y, height + _PERIOD / 2), axes, 650.0)
        return
    height = float(levels[int(rng.integers(1, len(levels) - 2))])
    if finding.name == "compression":
        _compress(canvas, height, 0.45 if finding.degree == "mild" else 0.85)
    elif finding.name == "hardware":
        for sign in SIDES.values():
            canvas.tube(np.array([(sign * 17, 92, height - 20), (sign * 17, 92, height + 44)]), 2.8, METAL)
            for z in (height, height + _PERIOD):
                canvas.tube(np.array([(sign * 17, 90, z), (sign * 9, 52, z)]), 2.4, METAL)
    else:
        hu = CALCIUM if finding.name == "sclerotic lesion" else 30.0
        canvas.ball((float(rng.uniform(-6, 6)), _SPINE_Y - 2, height), finding.size_mm, hu)


def _compress(canvas: Canvas, height: float, share: float) -> None:
    """The upper part of a body, most of it in front, sinks into a dense band."""
    box = canvas.box((-18, 44, height - 12), (18, 76, height + 12))
    x, y, z = canvas.axes(box)
    radius = np.hypot(x / np.float32(1.2), y - np.float32(_SPINE_Y)) - np.float32(14)
    top = np.float32(height + _BODY) - np.float32(2 * _BODY * share) * np.clip((76 - y) / 28, 0.2, 1)
    inside = canvas.cover(radius) * canvas.cover(np.abs(z - height) - np.float32(_BODY + 1))
    canvas.paint(box, inside * canvas.cover(top - z), 75.0)
    canvas.paint(box, inside * canvas.cover(np.abs(z - top + 3) - 3), 620.0)


def rib_line(chest: Chest, number: int, sign: int, count: int = 64) -> Array:
    """Centre line (count, 3) of a rib, 0 the first, from the spine around the cavity to the front."""
    end = 2.5 if number < 8 else 2.5 - 0.55 * (number - 7)
    angle = np.linspace(0.26, end, count)
    start = chest.level + _PERIOD * (3 - number) + 14
    z = (start - (16 + 5.5 * min(number, 8)) * (angle / np.pi) ** 1.2).astype(np.float32)
    half_x, half_y, middle = cavity_outline(z)
    x = sign * (half_x + 5) * np.sin(angle)
    return np.stack([x, middle + (half_y + 5) * np.cos(angle), z], 1).astype(np.float32)


def _draw_ribs(canvas: Canvas, chest: Chest, density: float) -> None:
    lines = [rib_line(chest, n, sign) for n in range(_RIBS) for sign in SIDES.values()]
    points = np.concatenate(
        [line + np.array((0, 0, dz), np.float32) for line in lines for dz in (-4, -1.4, 1.4, 4)]
    )
    step = np.linalg.norm(np.diff(lines[8], axis=0), axis=1).mean()
    canvas.splat(points, np.full(len(points), step * 62 / 4), 480 * density)


def _draw_rib_finding(canvas: Canvas, chest: Chest, state: PhantomCTState, rng: np.random.Generator) -> None:
    finding = state.findings["ribs"]
    if finding.is_normal:
        return
    sign = SIDES[finding.name.split()[0]]
    first, place = int(rng.integers(3, 6)), int(rng.integers(22, 44))
    for number in range(first, first + (3 if finding.degree == "multiple" else 1)):
        at = rib_line(chest, number, sign)[place]
        x, y, z = (float(v) for v in at)
        if finding.name.endswith("fracture"):  # callus around a step in the rib
            canvas.ellipsoid((x + 2 * sign, y, z), (8, 8, 9), 620.0)
        else:
            canvas.ball((x, y, z), 13, 1100.0)


def sternum_line(count: int = 60) -> Array:
    """Points (count, 3) along the middle of the sternum, from the manubrium down."""
    z = np.linspace(56, -82, count).astype(np.float32)
    _, half_y, middle = cavity_outline(z)
    return np.stack([np.zeros_like(z), middle - half_y - 5, z], 1)


def _draw_sternum(canvas: Canvas, density: float) -> None:
    line = sternum_line()
    width = np.interp(line[:, 2], [-82, -60, 10, 24, 56], [7, 14, 12, 20, 22])
    across = np.linspace(-1, 1, 9)
    points = np.stack(
        [(width[:, None] * across).ravel(), np.repeat(line[:, 1], 9), np.repeat(line[:, 2], 9)], 1
    )
    volumes = np.repeat(2.34 * 2 * width * 9.5 / 9, 9)
    canvas.splat(points, volumes, 260 * density)


def _draw_shoulders(canvas: Canvas, density: float) -> None:
    """Clavicles, scapulae and the heads of the humeri, whose arms are raised."""
    u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 22), np.linspace(0, 1, 34)))
    for sign in SIDES.values():
        clavicle = np.array([(14, -60, 54), (44, -64, 62), (80, -52, 76), (112, -24, 92)], float)
        canvas.tube(clavicle * (sign, 1, 1), 5.5, 430 * density)
        blade = np.stack([sign * (90 + 46 * u), 78 - 48 * u, 74 - 88 * v * (1 - 0.45 * u)], 1)
        canvas.splat(blade, np.full(len(blade), 66 * 62 * 4.5 / len(blade)), 520 * density)
        canvas.ellipsoid((sign * 134.0, 6, 98), (19, 19, 19), 260 * density)
