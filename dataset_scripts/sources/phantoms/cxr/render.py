"""The picture of a state: draws anatomy and findings in order, then exposes the detector."""

import numpy as np

from dataset_scripts.sources.phantoms.state import keyed_streams

from . import body, detector, lesions, skeleton
from .catalog import ANATOMIES
from .devices import draw_devices
from .geometry import SIDES, Thorax, View, draw_view, make_thorax
from .primitives import Array, Grid, make_grid
from .state import PhantomState

_SIDE_NAMES = {-1: "right", 1: "left"}
_STREAMS = (*ANATOMIES, "view", "thorax", "markings", "bone", "noise", "borders")
MIN_SIZE = 64


def render(state: PhantomState, nuisance_seed: int, size: int = 256) -> Array:
    """The frontal radiograph of a state.

    Each anatomy draws from a random stream of its own, so that two states which differ in one anatomy give,
    for the same `nuisance_seed`, pictures that differ only by that anatomy.

    Args:
        state: what to show.
        nuisance_seed: seed of positions, textures, view, exposure and noise; not negative.
        size: side of the picture in pixels, at least 64.

    Returns:
        (size, size) uint8; the patient's left is at the right, bones are bright.

    Raises:
        ValueError: if `size` is below 64 or `nuisance_seed` negative.
    """
    if size < MIN_SIZE:
        raise ValueError(
            f"size is {size}, expected at least {MIN_SIZE}: smaller pictures cannot show the findings."
        )
    if nuisance_seed < 0:
        raise ValueError(f"nuisance_seed is {nuisance_seed}, expected 0 or more: pass a non-negative seed.")
    rngs = keyed_streams(nuisance_seed, _STREAMS)
    grid = make_grid(size)
    view = draw_view(rngs["view"])
    thorax = make_thorax(state, view, rngs["thorax"])
    canvas = _draw(state, grid, thorax, view, rngs)
    image = detector.expose(detector.attenuation(canvas), grid, view, rngs["noise"])
    return detector.finish(image, grid, rngs["borders"])


def _draw(
    state: PhantomState, grid: Grid, thorax: Thorax, view: View, rngs: dict[str, np.random.Generator]
) -> body.Canvas:
    canvas, habitus = body.Canvas.empty(grid), state.habitus
    body.draw_trunk(canvas, grid, thorax, habitus, view)
    body.draw_lungs(canvas, grid, thorax, state)
    _draw_sides(canvas, grid, thorax, state, rngs)
    body.draw_mediastinum(canvas, grid, thorax, state)
    body.draw_heart(canvas, grid, thorax, state, habitus)
    lesions.draw_mediastinal_finding(canvas, grid, thorax, state.findings["mediastinum"], rngs["mediastinum"])
    body.draw_hila(canvas, grid, thorax, state)
    body.draw_markings(canvas, grid, thorax, rngs["markings"])
    _draw_lobes(canvas, grid, thorax, state, rngs)
    body.draw_trachea(canvas, grid, thorax, state)
    body.draw_stomach(canvas, grid, thorax, state, rngs["stomach"])
    _draw_bones(canvas, grid, thorax, state, rngs)
    draw_devices(canvas, grid, thorax, state, rngs["lines and tubes"])
    return canvas


def _draw_sides(
    canvas: body.Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rngs: dict[str, np.random.Generator]
) -> None:
    """Pleura and free air; before the vessels, which a pneumothorax pushes aside."""
    for side in SIDES:
        pleura = f"{_SIDE_NAMES[side]} pleura"
        lesions.draw_pleura(canvas, grid, thorax, state.findings[pleura], side, rngs[pleura])
        if state.findings[f"{_SIDE_NAMES[side]} hemidiaphragm"].name == "free air":
            lesions.draw_free_air(canvas, grid, thorax, state, side)


def _draw_lobes(
    canvas: body.Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rngs: dict[str, np.random.Generator]
) -> None:
    for side in SIDES:
        upper, lower, hilum = (
            f"{_SIDE_NAMES[side]} {part}" for part in ("upper lobe", "lower lobe", "hilum")
        )
        lesions.draw_upper_lobe(canvas, grid, thorax, state.findings[upper], side, rngs[upper])
        lesions.draw_lower_lobe(canvas, grid, thorax, state, state.findings[lower], side, rngs[lower])
        lesions.draw_hilar_finding(canvas, grid, thorax, state.findings[hilum], side, rngs[hilum])


def _draw_bones(
    canvas: body.Canvas, grid: Grid, thorax: Thorax, state: PhantomState, rngs: dict[str, np.random.Generator]
) -> None:
    skeleton.draw_ribs(canvas, grid, thorax, state, rngs["ribs"])
    skeleton.draw_clavicles(canvas, grid, thorax, state, rngs["clavicles"])
    skeleton.draw_shoulders(canvas, grid, thorax)
    skeleton.draw_spine(canvas, grid, thorax, state, rngs["spine"])
    if state.findings["aorta"].name == "calcified":
        lesions.draw_aortic_calcification(canvas, grid, thorax, state)
    skeleton.add_bone_texture(canvas, grid, rngs["bone"], state.habitus.bone_density)
