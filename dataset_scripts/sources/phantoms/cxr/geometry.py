"""Where things lie: the view (nuisance) and the chest's measures in cm, from habitus, view and state."""

from dataclasses import dataclass

import numpy as np

from .primitives import Array
from .state import Habitus, PhantomState

SIDES = (-1, 1)  # the patient's right (image left), the patient's left
_CARDIOTHORACIC = {"borderline": 0.515, "mild": 0.555, "moderate": 0.615, "severe": 0.69}
_NORMAL_CARDIOTHORACIC = 0.445


@dataclass(frozen=True)
class View:
    """How the picture was taken; the report says nothing of it.

    Attributes:
        turn: tangent of the patient's rotation about the long axis (anterior parts move to the image right).
        tilt_deg: rotation of the whole picture.
        zoom, shift_x_cm, shift_y_cm: how the chest sits in the field of view.
        inspiration: -1 (shallow) to 1 (deep).
        exposure, contrast: offset and gain of the detector curve.
        noise: standard deviation factor of the quantum noise.
        blur_cm: standard deviation of the focal spot's and detector's blur.
        arms_out_cm: how far the arms hang from the chest.
    """

    turn: float
    tilt_deg: float
    zoom: float
    shift_x_cm: float
    shift_y_cm: float
    inspiration: float
    exposure: float
    contrast: float
    noise: float
    blur_cm: float
    arms_out_cm: float


def draw_view(rng: np.random.Generator) -> View:
    """A view drawn at random."""
    return View(
        turn=float(np.clip(rng.normal(0, 0.022), -0.05, 0.05)),
        tilt_deg=float(np.clip(rng.normal(0, 1.2), -3, 3)),
        zoom=float(rng.uniform(0.93, 1.05)),
        shift_x_cm=float(np.clip(rng.normal(0, 0.5), -1.2, 1.2)),
        shift_y_cm=float(np.clip(rng.normal(0, 0.5), -1.2, 1.2)),
        inspiration=float(np.clip(rng.normal(0.1, 0.5), -1, 1)),
        exposure=float(np.clip(rng.normal(0, 0.1), -0.22, 0.22)),
        contrast=float(rng.uniform(0.88, 1.15)),
        noise=float(rng.uniform(0.5, 1.5)),
        blur_cm=float(rng.uniform(0.03, 0.08)),
        arms_out_cm=float(rng.uniform(0, 3)),
    )


@dataclass(frozen=True)
class Thorax:
    """The chest's measures in cm; pairs are (right, left).

    Attributes:
        half_width: of the inner rib cage at its widest.
        apex_y, base_y: top of the lungs and the height at which the cage is widest.
        dome_y: tops of the two hemidiaphragms.
        dome_rise: how far each hemidiaphragm falls towards the side.
        turn: as in `View`.
        heart_scale: width of the heart over that of a normal one.
        torso: half width of the trunk.
        depth: thickness of the trunk, front to back.
    """

    half_width: float
    apex_y: float
    base_y: float
    dome_y: tuple[float, float]
    dome_rise: tuple[float, float]
    turn: float
    heart_scale: float
    torso: float
    depth: float

    def shift(self, z: float) -> float:
        """Sideways movement of what lies `z` cm behind the middle (negative: in front) by the rotation."""
        return -self.turn * z

    def pick(self, pair: tuple[float, float], side: int) -> float:
        """The member of a (right, left) pair for side -1 or 1."""
        return pair[0] if side < 0 else pair[1]

    def outer(self, y: Array | float) -> Array:
        """Distance of the lungs' lateral border from the midline at height y."""
        t = np.clip((np.asarray(y, np.float32) - self.apex_y) / (self.base_y - self.apex_y), 0, 1)
        return np.float32(5.0) + np.float32(self.half_width - 5.0) * (1 - (1 - t) ** 2.3) ** np.float32(0.66)

    def inner(self, y: Array | float) -> Array:
        """Distance of the lungs' medial border, which the heart covers, from the midline at height y."""
        t = np.clip((np.asarray(y, np.float32) - self.apex_y) / (self.base_y - self.apex_y), 0, 1)
        return np.float32(5.0) - np.float32(4.9) * (1 - (1 - t) ** 6) ** np.float32(0.6)

    def dome(self, x: Array | float, side: int) -> Array:
        """Height y of one smooth hemidiaphragm over x; falls to the costophrenic angle laterally."""
        lateral = np.asarray(x, np.float32) * side
        peak = 0.47 * self.half_width
        out = np.clip((lateral - peak) / (self.half_width - peak), 0, 1.3)
        medial = np.clip((peak - lateral) / peak, 0, 1.3)
        rise = self.pick(self.dome_rise, side)
        return (
            self.pick(self.dome_y, side) + np.float32(rise) * out**2.4 + np.float32(0.28 * rise) * medial**2
        )


def make_thorax(state: PhantomState, view: View, rng: np.random.Generator) -> Thorax:
    """The chest in one study: from habitus and view, with heart size and diaphragm from the findings."""
    habitus = state.habitus
    half_width = 13.2 * habitus.chest_width
    base_y = 5.4 + 19.2 * habitus.chest_height
    right = base_y + 1.1 + 1.1 * view.inspiration - 0.8 * habitus.bulk + float(rng.normal(0, 0.25))
    left = right + float(np.clip(rng.normal(1.2, 0.3), 0.6, 1.9))
    right_dome, right_rise = _hemidiaphragm(state, "right hemidiaphragm", right)
    left_dome, left_rise = _hemidiaphragm(state, "left hemidiaphragm", left)
    return Thorax(
        half_width=half_width,
        apex_y=5.4 - 0.3 * view.inspiration,
        base_y=base_y,
        dome_y=(right_dome, left_dome),
        dome_rise=(right_rise, left_rise),
        turn=view.turn,
        heart_scale=_heart_scale(state, view, rng),
        torso=half_width + 2.6 + 3.6 * habitus.bulk,
        depth=_depth_cm(habitus),
    )


def _depth_cm(habitus: Habitus) -> float:
    return 20.0 + 5.0 * habitus.bulk


def _hemidiaphragm(state: PhantomState, anatomy: str, height: float) -> tuple[float, float]:
    finding = state.findings[anatomy]
    if finding.name == "elevated":
        lift = 2.6 if finding.degree == "mild" else 4.8
        return height - lift, 4.4 + lift * 0.8
    if finding.name == "flattened":
        return height + 1.3, 1.5
    return height, 4.6


def _heart_scale(state: PhantomState, view: View, rng: np.random.Generator) -> float:
    finding = state.findings["heart"]
    ratio = (
        _NORMAL_CARDIOTHORACIC + float(np.clip(rng.normal(0, 0.015), -0.035, 0.03)) - 0.008 * view.inspiration
    )
    if finding.name == "cardiomegaly":
        ratio = _CARDIOTHORACIC[finding.degree] + float(np.clip(rng.normal(0, 0.007), -0.012, 0.012))
    if finding.name == "pericardial effusion":
        ratio = 0.60 + float(np.clip(rng.normal(0, 0.015), -0.03, 0.03))
    return ratio / _NORMAL_CARDIOTHORACIC
