"""What surrounds the chest: table, fat, muscles, breasts, and what lies under the skin or in the armpit."""

import numpy as np

from .canvas import Canvas
from .chest import SIDES, Chest, cavity_distance, wall_distance, wall_front
from .state import Build, PhantomCTState
from .tissues import AIR, CALCIUM, FAT, METAL

EVERYWHERE = (slice(None), slice(None), slice(None))
_BREAST_Z = -42.0
_NODES = {"mild": 2, "marked": 4}


def draw_trunk(canvas: Canvas, chest: Chest, build: Build, tissue: dict[str, float]) -> None:
    """The table, the trunk's fat and muscles, and fat in the cavity, which the organs then fill."""
    _draw_table(canvas, chest)
    wall = wall_distance(canvas, EVERYWHERE)
    canvas.paint(EVERYWHERE, canvas.cover(wall - np.float32(chest.fat)), FAT)
    if build.female:
        _draw_breasts(canvas, chest, build)
    canvas.paint(EVERYWHERE, canvas.cover(wall), tissue["muscle"])
    canvas.paint(EVERYWHERE, canvas.cover(cavity_distance(canvas, EVERYWHERE)), FAT)
    for sign in SIDES.values():  # the armpit, and the layer below the pectoral muscle
        canvas.ellipsoid((sign * 128, 8, 52), (20, 26, 30), FAT, 0.9)
        canvas.ellipsoid((sign * 98, 6, 84), (24, 30, 20), FAT, 0.8)
        canvas.ellipsoid((sign * 62, 62, 90), (30, 9, 24), FAT, 0.7, tilt=-0.6 * sign)
        canvas.ellipsoid((sign * 78, wall_front(30) + 14, 30), (34, 6, 26), FAT, 0.7, tilt=0.3 * sign)


def _draw_table(canvas: Canvas, chest: Chest) -> None:
    back = 105 + chest.fat + 5
    box = canvas.box((-175, back, -400), (175, back + 40, 400))
    x, y, _ = canvas.axes(box)
    surface = y - np.float32(back + 4) + x * x / np.float32(2600)  # a trough under the patient
    shell = canvas.cover(np.abs(surface) - 2) * canvas.cover(np.abs(x) - 170)
    canvas.paint(box, shell[None], -350.0)


def _breast_place(chest: Chest, sign: int, depth: float) -> tuple[float, float, float]:
    """A point of a breast at a depth in body mm in front of the muscle."""
    return sign * 72.0, wall_front(_BREAST_Z) + 16.0 - depth, _BREAST_Z


def _draw_breasts(canvas: Canvas, chest: Chest, build: Build) -> None:
    depth = 26 + 26 * build.breast_size + 0.5 * chest.fat
    for sign in SIDES.values():
        centre = _breast_place(chest, sign, 8.0)
        canvas.ellipsoid(centre, (58, depth, 54), FAT)
        inner = (centre[0], centre[1] - 0.45 * depth, centre[2])
        canvas.ellipsoid(inner, (30, 0.4 * depth, 28), 25.0, 0.5 * (1 - 0.4 * build.bulk))


def draw_breast_findings(
    canvas: Canvas, chest: Chest, state: PhantomCTState, rngs: dict[str, np.random.Generator]
) -> None:
    """A mass, or a cluster of coarse calcifications, in front of the pectoral muscle."""
    for side, sign in SIDES.items():
        finding = state.findings[f"{side} breast"]
        if finding.is_normal:
            continue
        rng = rngs[finding.anatomy]
        depth = chest.fat + (18 + 14 * state.build.breast_size if state.build.female else 0)
        x, y, z = _breast_place(chest, sign, 6 + 0.5 * depth)
        x, z = x + float(rng.uniform(-14, 14)), z + float(rng.uniform(-14, 14))
        if finding.name == "mass":
            canvas.ball((x, y, z), finding.size_mm, 55.0)
            canvas.ball((x, y - 4, z), finding.size_mm * 0.6, 55.0, 0.6)
        else:
            for dx, dy, dz in rng.normal(0, (9, 3, 9), (5, 3)):
                canvas.ball((x + dx, y + dy, z + dz), 6, CALCIUM)


def draw_axillae(
    canvas: Canvas, state: PhantomCTState, rngs: dict[str, np.random.Generator], tissue: dict[str, float]
) -> None:
    """Enlarged nodes in the fat of an armpit, or surgical clips there."""
    for side, sign in SIDES.items():
        finding = state.findings[f"{side} axilla"]
        if finding.is_normal:
            continue
        rng = rngs[finding.anatomy]
        clips = finding.name == "clips"
        for k in range(4 if clips else _NODES[finding.degree]):
            dx, dy, dz = rng.uniform((-8, -14, -12), (8, 14, 12))
            at = (sign * (128 + dx), 8 + dy, 52 + dz)
            if clips:
                canvas.ball(at, 4, METAL)
            else:
                canvas.ball(at, finding.size_mm * (1 if k == 0 else 0.7), tissue["node"])


def draw_subcutis(canvas: Canvas, chest: Chest, state: PhantomCTState, rng: np.random.Generator) -> None:
    """Gas between the muscles and in the fat of one side, or edema of the whole subcutaneous fat."""
    finding = state.findings["subcutaneous tissue"]
    if finding.is_normal:
        return
    outside = wall_distance(canvas, EVERYWHERE)
    layer = canvas.cover(np.abs(outside - np.float32(chest.fat * 0.45)) - np.float32(0.45 * chest.fat + 1))
    if finding.name == "edema":
        canvas.hu += layer * np.float32(62)
        return
    sign = SIDES[finding.name.split()[0]]
    count = 46
    angle, z = rng.uniform(-1.1, 1.1, count), rng.uniform(-70, 60, count)
    for a, height in zip(angle, z, strict=True):
        half = 150 + 0.4 * chest.fat
        at = (sign * half * float(np.cos(a)), 6 + 95 * float(np.sin(a)), float(height))
        canvas.ellipsoid(at, (6, 10, 9), AIR, 0.75, tilt=0.8 * float(a) * sign)
