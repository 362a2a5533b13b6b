"""Both lungs with their vessels, and the airways from the trachea to the lobes."""

from dataclasses import dataclass

import numpy as np

from .canvas import Array, Box, Canvas, clouds, curve
from .chest import BOTTOM, SIDES, TOP, Chest, lobe_distance
from .state import PhantomCTState
from .tissues import AIR, LUNG, SOFT

_LEVELS = 5  # of vessel branches


@dataclass
class LungField:
    """One lung on its part of the volume.

    Attributes:
        side: "right" or "left".
        box: where it lies.
        distance: signed distance to its surface in body mm, (d, h, w).
        air: the share of each voxel that is still aerated lung, 0..1; what fills the lung takes from it.
    """

    side: str
    box: Box
    distance: Array
    air: Array

    def lobe(self, canvas: Canvas, name: str) -> Array:
        """The aerated share of each voxel that belongs to a lobe."""
        _, y, z = canvas.axes(self.box)
        return self.air * canvas.cover(lobe_distance(y, z, name))

    def fill(self, canvas: Canvas, cover: Array, hu: float | Array) -> None:
        """Replaces a share of the voxels by something that is no lung any more."""
        canvas.paint(self.box, cover, hu)
        self.air *= 1 - cover


def draw_lungs(
    canvas: Canvas, chest: Chest, tissue: dict[str, float], rng: np.random.Generator
) -> list[LungField]:
    """Aerated lungs, denser towards the back where the patient lies on it, with branching vessels."""
    fields = []
    for side, sign in SIDES.items():
        edges = sorted((sign * 2.0, sign * 132.0))
        box = canvas.box((edges[0], -85, BOTTOM), (edges[1], 95, TOP))
        x, y, z = canvas.axes(box)
        distance = chest.lung_distance(x, y, z, side)
        air = canvas.cover(distance)
        texture = clouds(air.shape, 1.5, rng) * np.float32(14)
        gravity = (y - np.float32(5)) * np.float32(0.45)
        canvas.paint(box, air, texture + (gravity + np.float32(LUNG + rng.uniform(-20, 20))))
        fields.append(LungField(side, box, distance, air))
        _draw_vessels(canvas, chest, side, tissue["pulmonary"], rng)
    return fields


def _draw_vessels(canvas: Canvas, chest: Chest, side: str, hu: float, rng: np.random.Generator) -> None:
    """Arteries and veins that fork from the hilum outwards; what leaves the lung is left out."""
    points, volumes = _grow(SIDES[side], rng)
    x, y, z = points.T
    inside = (chest.lung_distance(x, y, z, side) < -4) & (chest.heart_distance(x, y, z) > 0)
    canvas.splat(points[inside], volumes[inside], hu)


def _grow(sign: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Points (P, 3) along the branches of one lung and the volume that each stands for in body mm^3."""
    count = 12
    start = np.tile(np.array((sign * 42, 12, -20), np.float32), (count, 1)) + rng.normal(
        0, (2, 6, 8), (count, 3)
    )
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.2, count)
    heading = np.stack([np.full(count, 0.75 * sign), 0.8 * np.cos(turn), np.sin(turn)], 1)
    length, radius = np.full(count, 34.0), rng.uniform(3.2, 4.4, count)
    points, volumes = [], []
    steps = np.linspace(0, 1, 12)
    for _ in range(_LEVELS):
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        length = length * rng.uniform(0.85, 1.15, len(length))
        way = start[:, None] + heading[:, None] * (length[:, None] * steps)[..., None]
        points.append(way.reshape(-1, 3))
        volumes.append(np.repeat(np.pi * radius**2 * length / len(steps), len(steps)))
        start, heading = np.repeat(way[:, -1], 2, axis=0), np.repeat(heading, 2, axis=0)
        heading = heading + rng.normal(0, 0.42, heading.shape)
        length, radius = np.repeat(length * 0.78, 2), np.repeat(radius * 0.72, 2)
    return np.concatenate(points).astype(np.float32), np.concatenate(volumes)


def trachea_line(state: PhantomCTState) -> Array:
    """Centre line (P, 3) of the trachea, from the neck to the carina."""
    finding = state.findings["trachea"]
    bend = {"deviated right": -1, "deviated left": 1}.get(finding.name, 0)
    bend *= {"mild": 8, "marked": 15}.get(finding.degree, 0)
    return curve([(0.3 * bend, 0, 112), (bend, 4, 70), (0.8 * bend, 9, 35), (0, 16, 0)], 10)


def bronchus_lines(side: str) -> list[tuple[Array, float]]:
    """Centre lines and inner radii of a main bronchus and the bronchi that leave it."""
    if side == "right":
        ways = [
            ([(0, 16, 0), (-20, 17, -15), (-38, 17, -26)], 6.5),
            ([(-22, 17, -15), (-46, 10, -6), (-60, 0, 14)], 3.6),
            ([(-38, 17, -26), (-44, 0, -42), (-62, -22, -58)], 3.2),
            ([(-38, 17, -26), (-44, 26, -48), (-58, 42, -76)], 4.2),
        ]
    else:
        ways = [
            ([(0, 16, 0), (22, 19, -17), (42, 21, -27)], 6.0),
            ([(40, 20, -26), (54, 6, -18), (66, -8, 10)], 3.6),
            ([(42, 21, -27), (48, 30, -50), (60, 44, -78)], 4.2),
        ]
    return [(curve(way, 5), radius) for way, radius in ways]


def draw_airways(canvas: Canvas, state: PhantomCTState) -> None:
    """Trachea and bronchi: walls first, then the air in them, then what should not be there."""
    findings, line = state.findings, trachea_line(state)
    caliber = np.full(len(line), 8.5, np.float32)
    if findings["trachea"].name == "narrowed":
        caliber[3:8] = 4.2
    bronchi = [*bronchus_lines("right"), *bronchus_lines("left")]
    thick = {"mild": 3.2, "marked": 6.0}.get(findings["bronchi"].degree, 0.0)
    canvas.tube(line, 10.8, SOFT)
    for way, radius in bronchi:
        canvas.tube(way, radius + 1.8 + thick, SOFT, 0.9 if thick else 0.7)
    canvas.tube(line, caliber, AIR)
    for way, radius in bronchi:
        canvas.tube(way, radius, AIR, 0.9)
    if findings["trachea"].name == "secretion":
        for height in (22.0, 34.0):
            canvas.ellipsoid(
                (float(np.interp(height, line[::-1, 2], line[::-1, 0])), 15, height), (7, 5, 8), 18.0
            )
    if findings["bronchi"].name in ("right plug", "left plug"):
        way, radius = bronchus_lines(findings["bronchi"].name.split()[0])[-1]
        canvas.tube(way, radius + 2.5, 22.0)
