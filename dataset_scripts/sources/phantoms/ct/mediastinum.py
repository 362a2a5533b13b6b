"""Heart, great vessels, esophagus, thyroid and lymph nodes, with their findings."""

import numpy as np

from dataset_scripts.sources.phantoms.state import Finding

from .canvas import Array, Canvas, Point, curve
from .chest import SIDES, Chest
from .state import PhantomCTState
from .tissues import AIR, CALCIUM, FAT, SOFT, WATER

Rngs = dict[str, np.random.Generator]
_CHAMBERS: dict[str, tuple[Point, Point, float]] = {  # centre, semi-axes, tilt about z
    "left ventricle": ((44, -16, -68), (38, 28, 34), 0.55),
    "right ventricle": ((14, -44, -68), (40, 22, 34), 0.25),
    "right atrium": ((-26, -20, -58), (22, 27, 32), 0.0),
    "left atrium": ((4, 12, -40), (31, 17, 22), 0.0),
}
_NODE_PLACES: dict[str, list[Point]] = {
    "paratracheal nodes": [(-19, 4, 28), (-16, -2, 44), (-20, 8, 14), (17, 10, 50)],
    "subcarinal nodes": [(0, 24, -24), (-10, 22, -30), (8, 26, -34), (0, 18, -18)],
    "prevascular nodes": [(14, -38, 26), (24, -26, 34), (6, -44, 36), (24, -34, 14)],
    "calcified nodes": [(-17, 6, 24), (0, 24, -26), (-17, 2, 40), (10, 24, -30)],
}


def draw_heart(canvas: Canvas, chest: Chest, state: PhantomCTState, tissue: dict[str, float]) -> None:
    """The heart's chambers in its fat, with fluid or calcium in the pericardium."""
    effusion = state.findings["pericardium"]
    fluid = effusion.size_mm / float(np.mean(canvas.scale))
    chambers = _chambers(chest, state)
    for grow, hu in ((fluid + 4.5, FAT), (fluid + 2, WATER if fluid else FAT)):
        for centre, axes, tilt in chambers:
            canvas.ellipsoid(centre, (axes[0] + grow, axes[1] + grow, axes[2] + grow), hu, tilt=tilt)
    if effusion.name == "calcification":  # the chambers then cover what lies between them
        _draw_pericardial_calcium(canvas, chambers)
    for centre, axes, tilt in chambers:
        canvas.ellipsoid(centre, axes, tissue["myocardium"], tilt=tilt)
    walls = (9, 4, 3, 3)
    bloods = ("aorta", "pulmonary", "vein", "pulmonary")
    for (centre, axes, tilt), wall, blood in zip(chambers, walls, bloods, strict=True):
        inner = (axes[0] - wall, axes[1] - wall, axes[2] - wall)
        canvas.ellipsoid(centre, inner, tissue[blood], tilt=tilt)


def _chambers(chest: Chest, state: PhantomCTState) -> list[tuple[Point, Point, float]]:
    """Centres, semi-axes and tilts of this heart, which grows around its base and to the left."""
    grow = chest.heart
    atrium = 1.35 if state.findings["heart"].name == "left atrium" else 1.0
    result = []
    for name, (centre, axes, tilt) in _CHAMBERS.items():
        factor = grow * (atrium if name == "left atrium" else 1.0)
        moved = (
            4 + (centre[0] - 4) * grow + chest.sway[0],
            centre[1] * grow**0.5 + chest.sway[1],
            -58 + (centre[2] + 58) * grow + chest.sway[2],
        )
        result.append((moved, (axes[0] * factor, axes[1] * factor, axes[2] * factor), tilt))
    return result


def _draw_pericardial_calcium(canvas: Canvas, chambers: list[tuple[Point, Point, float]]) -> None:
    for centre, axes, tilt in chambers[:2]:
        box, distance = canvas.ellipsoid_distance(centre, (axes[0] + 3, axes[1] + 3, axes[2] + 3), tilt)
        _, y, z = canvas.axes(box)
        shell = canvas.cover(np.abs(distance) - 2) * canvas.cover(z + 62)  # the lower half
        canvas.paint(box, shell * canvas.cover(y + 12) * np.float32(0.75), CALCIUM)


def draw_heart_calcium(canvas: Canvas, chest: Chest, state: PhantomCTState, rngs: Rngs) -> None:
    """Calcium of valves and coronary arteries, or a coronary stent."""
    sx, _, sz = chest.sway
    grow = chest.heart
    heart = state.findings["heart"].name
    if heart == "aortic valve":
        for dx, dy in ((-5, 0), (4, -4), (3, 5)):
            canvas.ball((sx - 1 + dx, -16 + dy, sz - 36), 8, CALCIUM)
    elif heart == "mitral annulus":
        for angle in np.linspace(0.2, 2.9, 7):
            at = (sx + 24 + 14 * np.cos(angle), 2 + 5 * np.sin(angle), sz - 56 - 12 * np.sin(angle))
            canvas.ball((float(at[0]), float(at[1]), float(at[2])), 7, CALCIUM)
    coronary = state.findings["coronary artery"]
    if coronary.is_normal:
        return
    lines = _coronaries(sx, sz, grow)
    if coronary.name == "stent":
        canvas.tube(lines[0][4:9], 3.0, 1400.0)
        return
    count = {"mild": 3, "moderate": 7, "severe": 14}[coronary.degree]
    ways = lines[0] if coronary.degree == "mild" else np.concatenate(lines)
    for k in rngs[coronary.anatomy].choice(len(ways), count, replace=False):
        x, y, z = ways[k].tolist()
        canvas.ball((x, y, z), 6 if coronary.degree == "mild" else 7, CALCIUM)


def _coronaries(sx: float, sz: float, grow: float) -> list[Array]:
    """Centre lines (P, 3): left anterior descending, circumflex and right coronary artery."""
    left = curve([(14, -26, -30), (30, -40, -42), (46, -50 * grow**0.5, -62)], 12)
    circumflex = curve([(16, -22, -32), (38, -8, -40), (46 * grow, 8, -58)], 10)
    right = curve([(-8, -32, -36), (-24, -46, -54), (-22, -44, -78)], 10)
    return [line + np.array((sx, 0, sz), np.float32) for line in (left, circumflex, right)]


def aorta_line() -> Array:
    """Centre line (P, 3) of the aorta, from the valve over the arch to the belly."""
    return curve(
        [
            (0, -16, -34),
            (-17, -22, -12),
            (-18, -22, 8),
            (-8, -14, 28),
            (7, 6, 36),
            (20, 28, 28),
            (26, 40, 4),
            (26, 42, -40),
            (22, 40, -90),
            (12, 36, -130),
            (4, 34, -215),
        ],
        36,
    )


def _aortic_radii(line: Array, state: PhantomCTState, scale: float) -> Array:
    """Radius at each point of the aorta's line, wider where the findings say so."""
    place = np.linspace(0, 1, len(line))
    radii = np.interp(place, [0, 0.1, 0.3, 0.45, 0.6, 0.9, 1], [15.5, 16, 15, 13, 12, 11, 10])
    finding = state.findings["aorta"]
    if finding.name == "ascending dilation":
        radii += (finding.size_mm / 2 / scale - 16) * np.exp(-(((place - 0.14) / 0.11) ** 4))
    elif finding.name == "descending aneurysm":
        radii += (finding.size_mm / 2 / scale - 12) * np.exp(-(((place - 0.68) / 0.07) ** 2))
    return radii.astype(np.float32)


def draw_vessels(canvas: Canvas, state: PhantomCTState, tissue: dict[str, float], rngs: Rngs) -> None:
    """Veins, pulmonary arteries and aorta with their calcium."""
    scale = float(np.mean(canvas.scale))
    vein = tissue["vein"]
    canvas.tube(curve([(-26, -12, 58), (-26, -8, 20), (-26, -12, -35)], 6), 8.5, vein)
    canvas.tube(curve([(44, -24, 66), (8, -32, 50), (-24, -16, 38)], 6), 5.5, vein)
    canvas.tube(curve([(-22, 2, -88), (-25, 12, -130), (-22, 18, -210)], 6), 10.5, vein)
    for top, bottom, radius in (((-17, -2, 86), (-10, -12, 32), 6.0), ((20, 12, 86), (13, 14, 36), 5.0)):
        canvas.tube(np.array([bottom, top]), radius, tissue["aorta"])
    _draw_pulmonary_artery(canvas, state, tissue["pulmonary"], scale)
    line = aorta_line()
    radii = _aortic_radii(line, state, scale)
    canvas.tube(line, radii, tissue["aorta"])
    if state.findings["aorta"].name == "calcification":
        _draw_aortic_calcium(canvas, line, radii, state.findings["aorta"].degree == "marked", rngs["aorta"])


def _draw_pulmonary_artery(canvas: Canvas, state: PhantomCTState, hu: float, scale: float) -> None:
    finding = state.findings["pulmonary artery"]
    trunk = finding.size_mm / 2 / scale if finding.name == "dilation" else 13.0
    branch = 9.5 * (trunk / 13) ** 0.7
    right = curve([(14, -10, -14), (-8, -1, -16), (-32, 2, -22), (-47, 8, -30)], 8)
    left = curve([(16, -14, -10), (32, 8, -8), (46, 20, -16), (50, 26, -30)], 8)
    for line in (right, left):
        canvas.tube(line, np.linspace(branch, 0.7 * branch, len(line)), hu)
    trunk_line = curve([(20, -36, -38), (19, -28, -22), (15, -14, -10)], 5)
    canvas.tube(trunk_line, trunk, hu)
    if finding.name == "wall calcification":
        for x, y, z in ((30, -26, -22), (6, -30, -20), (28, -14, -12), (20, -40, -24), (-8, -8, -8)):
            canvas.ball((x, y, z), 7, CALCIUM)


def _draw_aortic_calcium(
    canvas: Canvas, line: Array, radii: Array, marked: bool, rng: np.random.Generator
) -> None:
    """Plaques on the wall of arch and descending aorta."""
    for _ in range(26 if marked else 9):
        k = int(rng.integers(9, 30))
        turn = rng.uniform(0, 2 * np.pi)
        along = line[k + 1] - line[k - 1]
        first = np.cross(along, (0.3, 1.0, 0.2))
        second = np.cross(along, first)
        out = np.cos(turn) * first / np.linalg.norm(first) + np.sin(turn) * second / np.linalg.norm(second)
        at = line[k] + radii[k] * out
        canvas.ball((float(at[0]), float(at[1]), float(at[2])), 7.0 if marked else 6.0, CALCIUM)


def draw_esophagus(canvas: Canvas, state: PhantomCTState) -> None:
    """The esophagus behind trachea and heart, with a thick wall or a wide, gas-filled lumen."""
    finding = state.findings["esophagus"]
    line = curve([(0, 20, 112), (2, 26, 60), (4, 30, 0), (6, 33, -50), (12, 30, -92), (24, 14, -118)], 14)
    radii = np.full(len(line), 6.0, np.float32)
    if finding.name == "wall thickening":
        radii[6:12] += 4 if finding.degree == "mild" else 9
    elif finding.name == "dilated":
        radii[2:] += 3 if finding.degree == "mild" else 7
    canvas.tube(line, radii, SOFT)
    if finding.name == "dilated":
        canvas.tube(line[1:], radii[1:] - 2.5, AIR)


def draw_thyroid(canvas: Canvas, state: PhantomCTState, tissue: dict[str, float]) -> None:
    """Both lobes beside the trachea, larger in a goitre, with a dark nodule on one side."""
    finding = state.findings["thyroid"]
    grow = {"mild": 1.45, "marked": 1.9}[finding.degree] if finding.name == "goitre" else 1.0
    for side, sign in SIDES.items():
        centre = (sign * (16.0 + 4 * (grow - 1)), -6.0, 84.0 - 9 * (grow - 1))
        canvas.ellipsoid(centre, (8 * grow, 9 * grow, 15 * grow**0.6), tissue["thyroid"])
        if finding.name == f"{side} nodule":
            canvas.ball((sign * 20.0, -9.0, 80.0), finding.size_mm, 30.0)


def draw_nodes(canvas: Canvas, state: PhantomCTState, tissue: dict[str, float], rngs: Rngs) -> None:
    """Nodes of the mediastinum and the hila; a mass or gas in the mediastinal fat."""
    finding = state.findings["mediastinum"]
    rng = rngs[finding.anatomy]
    if finding.name == "anterior mass":
        half = canvas.real(finding.size_mm)
        canvas.ellipsoid((6, -50, 8), (half[0], half[1] * 0.75, half[2]), tissue["node"])
    elif finding.name == "pneumomediastinum":
        for x, y, z in rng.uniform((-24, -56, -20), (24, -30, 62), (16, 3)):
            canvas.ellipsoid((float(x), float(y), float(z)), (5, 4, 9), AIR, 0.8)
    elif not finding.is_normal:
        _draw_group(canvas, _NODE_PLACES[finding.name], finding, tissue, rng)
    for side, sign in SIDES.items():
        finding = state.findings[f"{side} hilum"]
        places = [
            (sign * (44.0 + dx), 12.0 + dy, -18.0 + dz)
            for dx, dy, dz in ((0, 0, 0), (6, 12, -16), (8, -8, -22))
        ]
        if not finding.is_normal:
            _draw_group(canvas, places, finding, tissue, rngs[finding.anatomy])


def _draw_group(
    canvas: Canvas, places: list[Point], finding: Finding, tissue: dict[str, float], rng: np.random.Generator
) -> None:
    """Nodes of one station: the first of the stated size, the others smaller; calcified ones are small."""
    calcified = finding.name == "calcified nodes"
    count = 3 if calcified or finding.degree == "mild" else 4
    for k, (x, y, z) in enumerate(places[:count]):
        dx, dy, dz = rng.normal(0, 1.5, 3)
        size = 8.0 if calcified else finding.size_mm * (1.0 if k == 0 else 0.75)
        canvas.ball((x + dx, y + dy, z + dz), size, CALCIUM if calcified else tissue["node"])
