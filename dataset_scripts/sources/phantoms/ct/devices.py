"""Lines, tubes, wires and generators."""

import numpy as np

from .canvas import Canvas, curve
from .chest import SIDES, Chest, wall_front
from .lungs import trachea_line
from .skeleton import sternum_line
from .state import PhantomCTState
from .tissues import AIR, METAL


def draw_devices(canvas: Canvas, chest: Chest, state: PhantomCTState) -> None:
    """Draws the support device of a state, if any."""
    finding = state.findings["support devices"]
    side = finding.name.split()[0]
    if finding.name.endswith("port"):
        _draw_port(canvas, chest, SIDES[side])
    elif finding.name.endswith("chest tube"):
        sign = SIDES[side]
        canvas.tube(
            curve([(sign * 168, 0, -66), (sign * 116, 14, -52), (sign * 84, 40, 10), (sign * 52, 26, 62)]),
            4.2,
            1100.0,
        )
    elif finding.name == "pacemaker":
        _draw_pacemaker(canvas, chest)
    elif finding.name == "sternal wires":
        for x, y, z in sternum_line()[6:50:7].tolist():
            loop = [(x - 9, y + 5, z), (x - 9, y - 6, z), (x + 9, y - 6, z), (x + 9, y + 5, z)]
            canvas.tube(np.array(loop), 1.8, METAL)
    elif finding.name == "tracheostomy":
        line = trachea_line(state)
        canvas.tube(np.concatenate([[(0, -74 - chest.fat, 92)], line[3:6]]), 6.5, 900.0)
        canvas.tube(line[2:7], 4.0, AIR)
    elif finding.name == "endotracheal tube":
        line = trachea_line(state)
        canvas.tube(line[:7], 6.0, 900.0)
        canvas.tube(line[:7], 3.2, AIR)
    elif finding.name == "nasogastric tube":
        way = [
            (0, 20, 115),
            (2, 26, 60),
            (4, 30, 0),
            (6, 33, -50),
            (14, 28, -96),
            (40, -4, -136),
            (60, -10, -144),
        ]
        canvas.tube(curve(way, 18), 3.0, 1300.0)


def _draw_port(canvas: Canvas, chest: Chest, sign: int) -> None:
    """A chamber on the chest wall, and its line through the subclavian vein into the superior vena cava."""
    front = wall_front(34) - 0.5 * chest.fat
    at = (sign * 74.0, front + 8, 34.0)
    canvas.ellipsoid(at, (13, 7, 13), METAL)
    way = [
        at,
        (sign * 70.0, front + 22, 56),
        (sign * 44.0, -34, 64),
        (-14, -26, 48),
        (-26, -9, 18),
        (-26, -12, -24),
    ]
    canvas.tube(curve(way, 18), 2.2, 1600.0)


def _draw_pacemaker(canvas: Canvas, chest: Chest) -> None:
    """A generator on the left with leads to the right atrium and the right ventricle."""
    front = wall_front(40) - 0.5 * chest.fat
    at = (82.0, front + 8, 40.0)
    canvas.ellipsoid(at, (24, 7, 22), METAL)
    trunk = [at, (64, front + 24, 60), (40, -30, 64), (-14, -26, 48), (-26, -9, 18), (-26, -14, -26)]
    sx, _, sz = chest.sway
    canvas.tube(curve(trunk, 18), 2.0, METAL)
    canvas.tube(
        curve([(-26, -14, -26), (-24, -20, -64 + sz), (10, -40, -84 + sz), (44 + sx, -44, -88 + sz)], 12),
        2.0,
        METAL,
    )
