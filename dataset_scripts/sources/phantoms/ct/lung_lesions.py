"""Findings of the lobes, the pleura and the hemidiaphragms, on the fields of the lungs."""

from collections.abc import Callable

import numpy as np

from dataset_scripts.sources.phantoms.state import Finding

from .canvas import Array, Canvas, Point, clouds
from .chest import SIDES, Chest, place_in_lobe
from .lungs import LungField
from .tissues import AIR, CALCIUM, FAT, SOFT, WATER

Rng = np.random.Generator


def draw_lobe(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """Draws the finding of a lobe, if any."""
    if not finding.is_normal:
        _DRAW_LOBE[finding.name](canvas, chest, lung, finding, rng)


def _centre(canvas: Canvas, chest: Chest, finding: Finding, radius_mm: float, rng: Rng) -> Point:
    return place_in_lobe(chest, finding.anatomy, radius_mm / min(canvas.scale), rng)[0]


def _reach(canvas: Canvas, lung: LungField, centre: Point, radius_mm: float) -> Array:
    """Distance in real mm from a ball's surface on a lung's box."""
    x, y, z = canvas.axes(lung.box)
    sz, sy, sx = (np.float32(s) for s in canvas.scale)
    square = ((x - centre[0]) * sx) ** 2 + ((y - centre[1]) * sy) ** 2
    return np.sqrt(square + ((z - centre[2]) * sz) ** 2) - np.float32(radius_mm)


def _nodule(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    canvas.ball(_centre(canvas, chest, finding, finding.size_mm / 2, rng), finding.size_mm, SOFT)


def _granuloma(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    canvas.ball(_centre(canvas, chest, finding, finding.size_mm / 2, rng), finding.size_mm, CALCIUM)


def _mass(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """Solid with a lobulated, spiculated border."""
    radius = finding.size_mm / 2
    centre = _centre(canvas, chest, finding, radius, rng)
    rough = clouds(lung.air.shape, 1.5, rng) * np.float32(0.12 * radius)
    cover = canvas.cover(_reach(canvas, lung, centre, radius) + rough)
    lung.fill(canvas, cover * canvas.cover(lung.distance), SOFT)


def _cavity(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """A thick-walled cavity."""
    centre = _centre(canvas, chest, finding, finding.size_mm / 2, rng)
    canvas.ball(centre, finding.size_mm, SOFT)
    canvas.ball(centre, finding.size_mm - 13, AIR)


def _consolidation(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    dense = finding.degree == "dense"
    radius = 44.0 if dense else 30.0
    centre = _centre(canvas, chest, finding, 24.0, rng)
    rough = clouds(lung.air.shape, 3.0 if dense else 1.5, rng) * np.float32(8 if dense else 14)
    cover = np.clip(-(_reach(canvas, lung, centre, radius) + rough) / np.float32(10), 0, 1)
    lung.fill(canvas, cover * lung.lobe(canvas, finding.anatomy) * np.float32(0.96 if dense else 0.8), SOFT)


def _ground_glass(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    marked = finding.degree == "marked"
    centre = _centre(canvas, chest, finding, 24.0, rng)
    rough = clouds(lung.air.shape, 3.0, rng) * np.float32(12)
    reach = _reach(canvas, lung, centre, 62.0 if marked else 36.0) + rough
    cover = np.clip(-reach / np.float32(16), 0, 1) * lung.lobe(canvas, finding.anatomy)
    canvas.paint(lung.box, cover * np.float32(0.42 if marked else 0.3), SOFT)


def _emphysema(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    share = {"mild": 0.45, "moderate": 0.7, "severe": 0.95}[finding.degree]
    blots = np.clip(clouds(lung.air.shape, 1.5, rng) * np.float32(0.8) + np.float32(2 * share - 0.5), 0, 1)
    inside = lung.lobe(canvas, finding.anatomy)
    canvas.paint(lung.box, blots * inside * np.float32(share), -995.0)
    for centre in place_in_lobe(chest, finding.anatomy, 9.0, rng, int(14 * share)):
        canvas.ball(centre, 8 + 12 * share, AIR)


def _scarring(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """Bands that fan out from the hilum to the pleura of the apex."""
    count = 3 if finding.degree == "mild" else 7
    for x, y, z in place_in_lobe(chest, finding.anatomy, 4.0, rng, count):
        start = np.array((x, y, z))
        to_apex = np.array((SIDES[lung.side] * 52.0, 14.0, 88.0)) - start
        way = np.stack([start, start + to_apex * min(1.0, 46 / float(np.linalg.norm(to_apex)))])
        canvas.tube(way, 2.6 if finding.degree == "mild" else 3.8, SOFT)


def _atelectasis(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """One or more flat bands across the lower part of the lobe."""
    marked = finding.degree == "marked"
    x, y, z = canvas.axes(lung.box)
    middle = _centre(canvas, chest, finding, 10.0, rng)
    tilt = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    cover = np.zeros_like(lung.air)
    for k in range(2 if marked else 1):
        height = z - np.float32(middle[2] - 20 * k) - tilt[0] * (x - middle[0]) - tilt[1] * (y - middle[1])
        band = np.abs(height) - np.float32(5.0 if marked else 2.6)
        near = np.hypot(x - np.float32(middle[0]), y - np.float32(middle[1])) - np.float32(
            38 if marked else 27
        )
        np.maximum(cover, canvas.cover(band) * canvas.cover(near), out=cover)
    lung.fill(canvas, cover * lung.lobe(canvas, finding.anatomy), SOFT)


def _fibrosis(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """A net below the pleura, with small cysts where marked."""
    marked = finding.degree == "marked"
    _, _, z = canvas.axes(lung.box)
    rim = np.clip((lung.distance + np.float32(18 if marked else 10)) / np.float32(7), 0, 1)
    net = np.clip(1 - np.abs(clouds(lung.air.shape, 0.8, rng)) / np.float32(0.8), 0, 1)
    low = np.clip((np.float32(0) - z) / np.float32(30), 0, 1)
    cover = rim * net * low * lung.lobe(canvas, finding.anatomy)
    canvas.paint(lung.box, cover * np.float32(0.8 if marked else 0.5), SOFT)


def _bronchiectasis(canvas: Canvas, chest: Chest, lung: LungField, finding: Finding, rng: Rng) -> None:
    """Wide bronchi with thick walls that run outwards."""
    marked = finding.degree == "marked"
    hilum = np.array((SIDES[lung.side] * 36.0, 16.0, -24.0))
    for centre in place_in_lobe(chest, finding.anatomy, 8.0, rng, 8 if marked else 4):
        start = np.array(centre)
        away = (start - hilum) / np.linalg.norm(start - hilum)
        way = np.stack([start - 14 * away, start + 10 * away])
        canvas.tube(way, 8.5 if marked else 6.5, SOFT, 0.9)
        canvas.tube(way, 5.0 if marked else 3.5, AIR)


_DRAW_LOBE: dict[str, Callable[[Canvas, Chest, LungField, Finding, Rng], None]] = {
    "nodule": _nodule,
    "granuloma": _granuloma,
    "mass": _mass,
    "cavity": _cavity,
    "consolidation": _consolidation,
    "ground-glass": _ground_glass,
    "emphysema": _emphysema,
    "scarring": _scarring,
    "atelectasis": _atelectasis,
    "fibrosis": _fibrosis,
    "bronchiectasis": _bronchiectasis,
}


def draw_pleura(canvas: Canvas, lung: LungField, finding: Finding, rng: Rng) -> None:
    """Fluid behind the lung, gas in front of it, or a thick or calcified pleura."""
    if finding.is_normal:
        return
    x, y, z = canvas.axes(lung.box)
    if finding.name == "effusion":
        depth = np.float32(finding.size_mm / canvas.scale[1])
        fall = np.clip((np.float32(70) - z) / np.float32(120), 0.1, 1)  # deepest at the base
        rise = np.maximum(np.abs(x) - np.float32(70), 0) * np.float32(0.35)  # the meniscus at the wall
        level = np.float32(84) - depth * fall - rise * np.minimum(depth / 40, 1)
        lung.fill(canvas, canvas.cover(level - y) * canvas.cover(lung.distance), WATER)
    elif finding.name == "pneumothorax":
        depth = np.float32(15 if finding.degree == "small" else 42)
        front = y + np.float32(72) - depth * np.clip((z + np.float32(110)) / np.float32(60), 0.2, 1)
        gas = canvas.cover(front) * canvas.cover(lung.distance)
        canvas.paint(lung.box, (1 - gas) * lung.air * np.float32(0.08 if depth > 20 else 0.03), SOFT)
        lung.fill(canvas, gas, AIR)
    elif finding.name == "thickening":
        thick = np.float32(3 if finding.degree == "mild" else 7)
        outside = canvas.cover(lung.distance) * canvas.cover(-lung.distance - thick)
        fade = (
            np.clip((np.abs(x) - 38) / 14, 0, 1) * np.clip((y + 22) / 20, 0, 1) * np.clip((40 - z) / 20, 0, 1)
        )
        lung.fill(canvas, outside * fade, SOFT)  # along the back and the side
    else:
        _draw_plaques(canvas, lung, rng)


def _draw_plaques(canvas: Canvas, lung: LungField, rng: Rng) -> None:
    """Flat calcified patches on the pleura, off the mediastinum."""
    x, _, z = canvas.axes(lung.box)
    rim = canvas.cover(np.abs(lung.distance + 1.5) - 1.5) * canvas.cover(np.float32(55) - np.abs(x))
    patches = np.clip((clouds(lung.air.shape, 3.0, rng) - np.float32(0.5)) * 2.5, 0, 1)
    span = canvas.cover(np.abs(z + 25) - 70)
    canvas.paint(lung.box, rim * patches * span * np.float32(0.8), CALCIUM)


def draw_fat_hernia(canvas: Canvas, lung: LungField, finding: Finding) -> None:
    """Fat that bulges through the back of a hemidiaphragm into the lung's base."""
    if finding.name != "fat hernia":
        return
    at = (SIDES[lung.side] * 62.0, 62.0, -112.0)
    canvas.ellipsoid(at, (24, 20, 22), SOFT)
    canvas.ellipsoid(at, (21, 17, 19), FAT)
