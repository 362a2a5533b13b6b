"""The standard chest in numbers: trunk, lungs, domes and lobes, with what varies from study to study.

Body coordinates as in `canvas`: the carina is near (0, 16, 0), lung apices at z = 96, the recesses near
z = -160, the front of the sternum at y = -95 and the tips of the spinous processes at y = 105.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .canvas import Array, Box, Canvas, Point, table
from .state import PhantomCTState

SIDES = {"right": -1, "left": 1}  # the sign of x
TOP, BOTTOM = 96.0, -170.0  # of the lungs
_POWER = np.float32(2.5)  # of the superellipses: 2 is an ellipse, more is boxier

_TRUNK_Z = (-200, -140, -80, 0, 40, 65, 85, 105, 130)
_CAVITY = {
    "half_x": (118, 128, 128, 120, 105, 88, 66, 50, 45),
    "half_y": (84, 86, 86, 80, 68, 58, 50, 45, 45),
    "y": (4, 4, 4, 6, 10, 14, 18, 18, 15),
}
_WALL = {  # the outside of the muscles
    "half_x": (132, 142, 145, 150, 153, 152, 140, 118, 85),
    "half_y": (99, 101, 101, 97, 90, 84, 78, 70, 62),
    "y": (4, 4, 4, 6, 10, 12, 14, 14, 12),
}
_LUNG_Z = (-170, -80, 0, 40, 60, 75, 88, 96)
_LUNG = {
    "outer": (121, 125, 117, 101, 84, 69, 49, 32),
    "inner": (20, 13, 12, 16, 18, 20, 22, 26),
    "half_y": (82, 82, 76, 63, 51, 39, 24, 8),
    "y": (4, 4, 5, 9, 13, 17, 19, 20),
}
_DOME_DROP = 66.0  # of a hemidiaphragm from its top to the recess
_RAISED = {"mild": 24.0, "marked": 44.0}
_ENLARGED = {"mild": 1.12, "moderate": 1.24, "severe": 1.36}


@dataclass(frozen=True)
class Chest:
    """What varies between the chests of two studies.

    Attributes:
        fat: thickness of the subcutaneous fat in body mm.
        dome: side -> height z of the top of the hemidiaphragm.
        heart: factor on the size of the heart.
        sway: small offset (x, y, z) of the heart and the vessels.
        level: height z of the middle of one vertebral body; the others follow every 24 mm.
    """

    fat: float
    dome: dict[str, float]
    heart: float
    sway: Point
    level: float

    def dome_height(self, x: Array, y: Array, side: str) -> Array:
        """Height z of a hemidiaphragm over x and y: steep at the wall, flat towards the heart."""
        outward = (x * np.float32(SIDES[side]) - np.float32(64)) / np.float32(60)
        backward = (y - np.float32(-5)) / np.float32(88)
        drop = np.where(outward > 0, np.float32(1), np.float32(0.22)) * outward * outward
        drop = drop + np.where(backward > 0, np.float32(0.95), np.float32(0.5)) * backward * backward
        return np.float32(self.dome[side]) - np.float32(_DOME_DROP) * drop

    def lung_distance(self, x: Array, y: Array, z: Array, side: str) -> Array:
        """Signed distance to a lung in body mm (negative inside), true near its surface only.

        Args:
            x, y, z: arrays that broadcast; z has as many axes as the result.
            side: "right" or "left".
        """
        outer, inner, half_y, middle = (table(z, _LUNG_Z, _LUNG[key]) for key in _LUNG)
        half_x, centre = (outer - inner) / 2, (outer + inner) / 2
        across = np.abs((x * np.float32(SIDES[side]) - centre) / half_x) ** _POWER
        along = np.abs((y - middle) / half_y) ** _POWER
        shell = (across + along - 1) * (np.minimum(half_x, half_y) / _POWER)
        floor = (self.dome_height(x, y, side) - z) * np.float32(0.75)
        return np.maximum(np.maximum(shell, floor), z - np.float32(TOP))

    def heart_distance(self, x: Array, y: Array, z: Array) -> Array:
        """Rough distance to the heart in body mm; negative inside."""
        centre, axes = (20 + self.sway[0], -22 + self.sway[1], -64 + self.sway[2]), (62, 48, 46)
        unit = sum(((v - c) / (a * self.heart)) ** 2 for v, c, a in zip((x, y, z), centre, axes, strict=True))
        return (np.sqrt(unit) - 1) * np.float32(45 * self.heart)


def make_chest(state: PhantomCTState, rng: np.random.Generator) -> Chest:
    """The chest of a state; the offsets are drawn, heart and diaphragm follow the findings."""
    offset = rng.normal(0, 1, 6)
    dome = {"right": -88.0 + 5 * float(offset[0]), "left": -99.0 + 5 * float(offset[1])}
    for side in SIDES:
        finding = state.findings[f"{side} hemidiaphragm"]
        dome[side] += _RAISED.get(finding.degree, 0.0)
    heart = state.findings["heart"]
    grown = _ENLARGED[heart.degree] if heart.name == "cardiomegaly" else 1.0
    return Chest(
        fat=5.0 + 22.0 * state.build.bulk,
        dome=dome,
        heart=grown * float(1 + 0.03 * np.clip(offset[2], -2, 2)),
        sway=(3 * float(offset[3]), 0.0, 3 * float(offset[4])),
        level=4 * float(offset[5]),
    )


def cavity_distance(canvas: Canvas, box: Box, grow: float = 0.0) -> Array:
    """Signed distance to the inside of the rib cage and of the belly below it, in body mm."""
    return _hull(canvas, box, _CAVITY, grow)


def wall_distance(canvas: Canvas, box: Box, grow: float = 0.0) -> Array:
    """Signed distance to the outside of the trunk's muscles, in body mm."""
    return _hull(canvas, box, _WALL, grow)


def wall_front(z: float) -> float:
    """y of the front of the muscles at a height."""
    return float(np.interp(z, _TRUNK_Z, _WALL["y"]) - np.interp(z, _TRUNK_Z, _WALL["half_y"]))


def cavity_outline(z: Array) -> tuple[Array, Array, Array]:
    """Half width, half depth and middle y of the cavity at heights z."""
    half_x, half_y, middle = (table(z, _TRUNK_Z, _CAVITY[key]) for key in ("half_x", "half_y", "y"))
    return half_x, half_y, middle


def _hull(canvas: Canvas, box: Box, shape: Mapping[str, tuple[int, ...]], grow: float) -> Array:
    x, y, z = canvas.axes(box)
    half_x, half_y, middle = (table(z, _TRUNK_Z, shape[key]) for key in ("half_x", "half_y", "y"))
    half_x, half_y = half_x + np.float32(grow), half_y + np.float32(grow)
    total = np.abs(x / half_x) ** _POWER + np.abs((y - middle) / half_y) ** _POWER
    total -= 1
    total *= np.minimum(half_x, half_y) / _POWER
    return total


def lobe_distance(y: Array, z: Array, lobe: str) -> Array:
    """Signed distance in body mm to a lobe's part of its lung ("right upper lobe"), negative inside."""
    oblique = (z + np.float32(32) - np.float32(1.1) * y) / np.float32(1.49)  # positive above the fissure
    if lobe.endswith("lower lobe"):
        return oblique
    if lobe == "left upper lobe":
        return -oblique
    horizontal = z + np.float32(22)
    return np.maximum(-oblique, horizontal if lobe == "right middle lobe" else -horizontal)


def place_in_lobe(
    chest: Chest, lobe: str, radius: float, rng: np.random.Generator, count: int = 1
) -> list[Point]:
    """Centres (x, y, z) of balls that lie within a lobe, beside the heart, as far as the lobe has room."""
    side = lobe.split()[0]
    points = rng.uniform((28, -75, -140), (115, 85, 90), (400, 3)).astype(np.float32)
    x, y, z = points[:, 0] * SIDES[side], points[:, 1], points[:, 2]
    room = -np.maximum(chest.lung_distance(x, y, z, side), lobe_distance(y, z, lobe))
    room = np.minimum(room, chest.heart_distance(x, y, z) - 4)
    room = np.minimum(room, np.abs(x) - 44) - np.float32(radius + 3)  # away from the hilum
    best = np.argsort(np.maximum(-room, 0), kind="stable")[:count]  # drawn order where there is room enough
    return [(float(x[k]), float(y[k]), float(z[k])) for k in best]
