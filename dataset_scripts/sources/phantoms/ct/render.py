"""The volume of a state: draws anatomy and findings from outside to inside, then scans them.

Frame: the array is (D, H, W); D grows from foot to head, H from front to back, W from the patient's right to
the left, so that a slice shown with row 0 at the top looks as radiologists see it.
"""

import numpy as np

from dataset_scripts.sources.phantoms.state import keyed_streams

from . import abdomen, devices, lung_lesions, lungs, mediastinum, skeleton, trunk
from .canvas import Array, Canvas
from .catalog import ANATOMIES
from .chest import Chest, make_chest
from .scanner import acquire
from .state import PhantomCTState, Scan
from .tissues import AIR, tissues

MIN_SHAPE = (16, 32, 32)
_CENTRE = (-42.0, 2.0, 0.0)  # of the standard body in the field, z, y, x in body mm
_STREAMS = (*ANATOMIES, "chest", "lungs", "noise")


def spacing_of(scan: Scan, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """Voxel spacing (z, y, x) in mm of a scan in a volume of shape (D, H, W)."""
    z, y, x = (extent / count for extent, count in zip(scan.field_mm, shape, strict=True))
    return z, y, x


def check_shape(shape: tuple[int, int, int]) -> None:
    """Refuses a shape of volumes in which nothing could be seen.

    Raises:
        ValueError: if `shape` is not (D, H, W) of at least `MIN_SHAPE`.
    """
    if len(shape) != 3 or any(have < need for have, need in zip(shape, MIN_SHAPE, strict=True)):
        raise ValueError(
            f"shape is {shape}, expected (D, H, W) of at least {MIN_SHAPE}: coarser volumes show no findings."
        )


def render(state: PhantomCTState, nuisance_seed: int, shape: tuple[int, int, int] = (64, 96, 96)) -> Array:
    """The chest CT of a state.

    Each anatomy draws from a random stream of its own, so that two states which differ in one anatomy give,
    for the same `nuisance_seed`, volumes that differ only by that anatomy.

    Args:
        state: what to show, of whom, and how it was scanned.
        nuisance_seed: seed of positions, textures and noise; not negative.
        shape: (D, H, W), at least (16, 32, 32).

    Returns:
        (D, H, W) int16 in HU; D from foot to head, H from front to back, W from the patient's right to left.

    Raises:
        ValueError: if `shape` is too small or `nuisance_seed` negative.
    """
    check_shape(shape)
    if nuisance_seed < 0:
        raise ValueError(f"nuisance_seed is {nuisance_seed}, expected 0 or more: pass a non-negative seed.")
    rngs = keyed_streams(nuisance_seed, _STREAMS)
    spacing = spacing_of(state.scan, shape)
    canvas = _empty(state, shape, spacing)
    _draw(canvas, make_chest(state, rngs["chest"]), state, rngs)
    return acquire(canvas.hu, state.scan, spacing, rngs["noise"])


def _empty(state: PhantomCTState, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Canvas:
    """A canvas full of air, its voxels placed in the standard body's frame."""
    centres = []
    for count, size, middle, shift, scale in zip(
        shape, spacing, _CENTRE, state.scan.shift_mm, state.build.scale, strict=True
    ):
        real = (np.arange(count) - (count - 1) / 2) * size - shift
        centres.append((real / scale + middle).astype(np.float32))
    z, y, x = centres
    voxel = tuple(size / scale for size, scale in zip(spacing, state.build.scale, strict=True))
    hu = np.full(shape, AIR, np.float32)
    return Canvas(hu, z[:, None, None], y[:, None], x, (voxel[0], voxel[1], voxel[2]), state.build.scale)


def _draw(canvas: Canvas, chest: Chest, state: PhantomCTState, rngs: dict[str, np.random.Generator]) -> None:
    tissue, findings = tissues(state.scan.phase), state.findings
    trunk.draw_trunk(canvas, chest, state.build, tissue)
    trunk.draw_subcutis(canvas, chest, state, rngs["subcutaneous tissue"])
    trunk.draw_breast_findings(canvas, chest, state, rngs)
    trunk.draw_axillae(canvas, state, rngs, tissue)
    abdomen.draw_abdomen(canvas, chest, state, tissue, rngs)
    fields = lungs.draw_lungs(canvas, chest, tissue, rngs["lungs"])
    for lung in fields:
        pleura = findings[f"{lung.side} pleura"]
        lung_lesions.draw_pleura(canvas, lung, pleura, rngs[pleura.anatomy])
        for name in ANATOMIES:
            if name.startswith(lung.side) and name.endswith("lobe"):
                lung_lesions.draw_lobe(canvas, chest, lung, findings[name], rngs[name])
        lung_lesions.draw_fat_hernia(canvas, lung, findings[f"{lung.side} hemidiaphragm"])
    mediastinum.draw_heart(canvas, chest, state, tissue)
    mediastinum.draw_vessels(canvas, state, tissue, rngs)
    mediastinum.draw_esophagus(canvas, state)
    mediastinum.draw_thyroid(canvas, state, tissue)
    lungs.draw_airways(canvas, state)
    mediastinum.draw_nodes(canvas, state, tissue, rngs)
    mediastinum.draw_heart_calcium(canvas, chest, state, rngs)
    abdomen.draw_hiatal_hernia(canvas, state, tissue)
    skeleton.draw_skeleton(canvas, chest, state, rngs)
    devices.draw_devices(canvas, chest, state)
