"""What shows of the upper abdomen below the domes: liver, spleen, stomach, kidneys, adrenals, gallbladder."""

import numpy as np

from .canvas import Array, Box, Canvas, Point, curve
from .chest import SIDES, Chest, cavity_distance
from .state import PhantomCTState
from .tissues import AIR, CALCIUM, FAT, METAL, SOFT, WATER

Rngs = dict[str, np.random.Generator]
_SPLEEN_MM = 110.0


def draw_abdomen(
    canvas: Canvas, chest: Chest, state: PhantomCTState, tissue: dict[str, float], rngs: Rngs
) -> None:
    """All organs; to be drawn before the lungs, which cover what rises above a dome."""
    box, distance = _liver_distance(canvas, chest)
    _draw_peritoneum(canvas, chest, state, box, distance)
    _draw_liver(canvas, chest, state, tissue, rngs["liver"], box, distance)
    _draw_spleen(canvas, chest, state, tissue, rngs["spleen"])
    _draw_stomach(canvas, chest, state, tissue)
    for side in SIDES:
        _draw_kidney(canvas, chest, state, side, tissue, rngs[f"{side} kidney"])
        _draw_adrenal(canvas, state, side)
    _draw_gallbladder(canvas, state, tissue)
    if state.findings["peritoneum"].name == "free air":
        _draw_free_air(canvas, chest, box, distance)


def _liver_distance(canvas: Canvas, chest: Chest) -> tuple[Box, Array]:
    """A box around the liver and the signed distance to it, as far as it rests on the right dome."""
    box = canvas.box((-128, -86, -215), (62, 90, chest.dome["right"] + 4))
    x, y, z = canvas.axes(box)
    left = np.maximum(y + 8, x - (48 + (z + 100) * np.float32(0.4)))  # the left lobe lies in front
    shape = np.minimum(x + 14, left)
    shape = np.maximum(shape, z - (chest.dome_height(x, y, "right") - 4))
    back = np.hypot(x, (y - 58) * np.float32(0.9)) - 34  # room for the spine and the vessels beside it
    return box, np.maximum(np.maximum(shape, -back), cavity_distance(canvas, box, -5))


def _draw_peritoneum(canvas: Canvas, chest: Chest, state: PhantomCTState, box: Box, distance: Array) -> None:
    """Fluid around the liver and in the left upper quadrant."""
    finding = state.findings["peritoneum"]
    if finding.name != "ascites":
        return
    depth = 7.0 if finding.degree == "mild" else 15.0
    belly = canvas.cover(cavity_distance(canvas, box, -2))
    canvas.paint(box, canvas.cover(distance - np.float32(depth)) * belly, WATER)
    x, y, z = 88.0, 42.0, -136.0
    canvas.ellipsoid((x, y, z), (28 + depth, 32 + depth, 44 + depth), WATER)


def _draw_free_air(canvas: Canvas, chest: Chest, box: Box, distance: Array) -> None:
    """Gas in front of the liver, where it rises in a patient on the back."""
    _, y, _ = canvas.axes(box)
    room = canvas.cover(cavity_distance(canvas, box, -3))
    near = canvas.cover(distance - 12) * (1 - canvas.cover(distance + 6))
    canvas.paint(box, near * room * canvas.cover(y + 34), AIR)


def _draw_liver(
    canvas: Canvas,
    chest: Chest,
    state: PhantomCTState,
    tissue: dict[str, float],
    rng: np.random.Generator,
    box: Box,
    distance: Array,
) -> None:
    finding = state.findings["liver"]
    lower = {"mild": 28.0, "marked": 52.0}[finding.degree] if finding.name == "steatosis" else 0.0
    hu = tissue["liver"] - lower
    canvas.paint(box, canvas.cover(distance), hu)
    canvas.tube(curve([(-24, 10, -118), (-52, 0, -128), (-82, -8, -122)], 5), 4.0, tissue["vein"], 0.8)
    if finding.is_normal or lower:
        return
    count = {"few": 4, "many": 11}.get(finding.degree, 1) if finding.name == "metastases" else 1
    places = _inside(canvas, box, distance, 18.0 if count > 1 else 4 + finding.size_mm / 2, count, rng)
    for at in places:
        if finding.name == "metastases":
            canvas.ball(at, float(rng.uniform(14, 28)), hu - 38)
        elif finding.name == "cyst":
            canvas.ball(at, finding.size_mm, WATER - 4)
        else:
            canvas.ball(at, 9, CALCIUM)


def _inside(
    canvas: Canvas, box: Box, distance: Array, depth: float, count: int, rng: np.random.Generator
) -> list[Point]:
    """Voxel centres (x, y, z) that lie as deep as asked for within a shape, or as deep as it goes."""
    deep = distance[:, :, :].copy()
    _, _, z = canvas.axes(box)
    deep = np.maximum(deep, -165 - z)  # where every scan still reaches
    candidates = np.flatnonzero(deep < max(-depth, float(deep.min()) * 0.6))
    x, y, z = canvas.axes(box)
    places = []
    for k in rng.choice(candidates, count):
        d, h, w = np.unravel_index(int(k), deep.shape)
        places.append((float(x[w]), float(y[h, 0]), float(z[d, 0, 0])))
    return places


def _draw_spleen(
    canvas: Canvas, chest: Chest, state: PhantomCTState, tissue: dict[str, float], rng: np.random.Generator
) -> None:
    finding = state.findings["spleen"]
    if finding.name == "absent":
        for x, y, z in ((70, 38, -128), (76, 30, -136), (66, 44, -140)):
            canvas.ball((x, y, z), 4, METAL)
        return
    grow = finding.size_mm / _SPLEEN_MM if finding.name == "splenomegaly" else 1.0
    raise_ = 0.6 * (chest.dome["left"] + 99)
    centre = (86.0, 44.0 - 26 * (grow - 1), -134.0 + raise_ - 12 * (grow - 1))
    canvas.ellipsoid(centre, (25 * grow**0.5, 29 * grow, 40 * grow), tissue["spleen"])
    if finding.name == "cyst":
        canvas.ball((centre[0] - 3, centre[1] - 6, centre[2] - 4), finding.size_mm, WATER)
    elif finding.name == "calcification":
        for dx, dy, dz in rng.uniform((-14, -18, -22), (14, 18, 22), (7, 3)):
            canvas.ball((centre[0] + dx, centre[1] + dy, centre[2] + dz), 6, CALCIUM)


def _draw_stomach(canvas: Canvas, chest: Chest, state: PhantomCTState, tissue: dict[str, float]) -> None:
    """Wall, fluid and gas of the stomach under the left dome."""
    finding = state.findings["stomach"]
    grow = {"mild": 1.22, "marked": 1.45}[finding.degree] if finding.name == "distended" else 1.0
    centre = (58.0, -22.0, -140.0 + 0.6 * (chest.dome["left"] + 99))
    _draw_pouch(canvas, centre, (36 * grow, 34 * grow, 30 * grow), tissue["bowel"])


def _draw_pouch(canvas: Canvas, centre: Point, axes: Point, wall: float) -> None:
    """A hollow organ with fluid at the back and gas in front."""
    canvas.ellipsoid(centre, axes, wall)
    canvas.ellipsoid(centre, (axes[0] - 4, axes[1] - 4, axes[2] - 4), 15.0)
    box, distance = canvas.ellipsoid_distance(centre, (axes[0] - 4, axes[1] - 4, axes[2] - 4))
    _, y, _ = canvas.axes(box)
    canvas.paint(box, canvas.cover(distance) * canvas.cover(y - np.float32(centre[1] - 0.25 * axes[1])), AIR)


def draw_hiatal_hernia(canvas: Canvas, state: PhantomCTState, tissue: dict[str, float]) -> None:
    """Part of the stomach above the diaphragm, behind the heart; to be drawn after heart and lungs."""
    finding = state.findings["stomach"]
    if finding.name == "hiatal hernia":
        radius = 17.0 if finding.degree == "small" else 29.0
        _draw_pouch(
            canvas, (8, 26, -92 + 0.3 * radius), (radius * 1.1, radius * 0.8, radius), tissue["bowel"]
        )


def _draw_kidney(
    canvas: Canvas,
    chest: Chest,
    state: PhantomCTState,
    side: str,
    tissue: dict[str, float],
    rng: np.random.Generator,
) -> None:
    sign, finding = SIDES[side], state.findings[f"{side} kidney"]
    top = 4.0 if side == "left" else 0.0
    centre = (sign * 58.0, 50.0, -184.0 + top)
    canvas.ellipsoid(centre, (32, 28, 50), FAT)
    canvas.ellipsoid(centre, (25, 21, 43), tissue["kidney"])
    canvas.ellipsoid((sign * 50.0, 46.0, centre[2] - 4), (11, 9, 20), FAT, 0.7)
    at = (sign * 66.0, 46.0 + float(rng.uniform(-4, 4)), -160.0 + top)
    if finding.name == "cyst":
        canvas.ball(at, finding.size_mm, 2.0)
    elif finding.name == "stone":
        canvas.ball((sign * 54.0, 48.0, -166.0 + top), 8, CALCIUM)


def _draw_adrenal(canvas: Canvas, state: PhantomCTState, side: str) -> None:
    """A thin limb in front of the upper pole of the kidney; an adenoma holds fat and is dark."""
    sign, finding = SIDES[side], state.findings[f"{side} adrenal gland"]
    at = (sign * 34.0, 32.0, -142.0)
    canvas.ellipsoid(at, (16, 16, 16), FAT)
    thick = 2.8 if finding.name == "thickening" else 0.0
    canvas.tube(np.array([(sign * 30.0, 26, -140), (sign * 38.0, 38, -146)]), 2.6 + thick, SOFT)
    if finding.name == "adenoma":
        canvas.ball(at, finding.size_mm, 6.0)


def _draw_gallbladder(canvas: Canvas, state: PhantomCTState, tissue: dict[str, float]) -> None:
    finding = state.findings["gallbladder"]
    at = (-42.0, -40.0, -166.0)
    if finding.name == "absent":
        for dx in (-6, 0, 6):
            canvas.ball((at[0] + dx, at[1] + dx / 2, at[2] + 4), 4, METAL)
        return
    grow = 1.5 if finding.name == "distended" else 1.0
    canvas.ellipsoid(at, (13 * grow, 16 * grow, 18 * grow), WATER)
    if finding.name == "stones":
        for dx, dz in ((-4, -4), (4, 2), (0, 8)):
            canvas.ball((at[0] + dx, at[1] + 8, at[2] + dz), 8, 700.0)
