"""Volumes on another grid: equal to torch's trilinear interpolation, however little of it is computed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_radir.resampling import fit

WIDE = (-30000, 30000)
SIDE = st.integers(1, 9)
THREE = st.tuples(SIDE, SIDE, SIDE)


def volume(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1100, 1500, shape).astype(np.int16)


def plain(hu: np.ndarray, grid: tuple[int, ...], size: tuple[int, ...], air: float) -> np.ndarray:
    """Resample all of it with torch in float64, then crop, then pad: one step after the other."""
    whole = F.interpolate(torch.from_numpy(hu.astype(np.float64))[None, None], grid, mode="trilinear")[0, 0]
    for axis, (have, want) in enumerate(zip(grid, size, strict=True)):
        whole = whole.narrow(axis, max(0, have - want) // 2, min(have, want))
    pads = [
        (max(0, want - have) // 2, -(-max(0, want - have) // 2))
        for have, want in zip(grid, size, strict=True)
    ]
    return F.pad(whole, [n for pair in reversed(pads) for n in pair], value=air).numpy()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(THREE, THREE, THREE)
def test_it_equals_resampling_all_of_it_and_cropping_afterwards(shape, grid, size):
    hu = volume(shape)
    expected = plain(hu, grid, size, WIDE[0])
    fractions = fit(hu, grid, size, WIDE, whole=False)
    assert fractions.dtype == np.float32
    np.testing.assert_allclose(fractions, expected, atol=2e-3)  # of HU: float32
    whole = fit(hu, grid, size, WIDE)
    assert whole.dtype == np.int16
    np.testing.assert_array_equal(whole, np.rint(fractions))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(THREE, THREE, THREE)
def test_what_a_crop_keeps_is_bit_for_bit_what_it_was(shape, grid, size):
    cut = fit(volume(shape), grid, size, (-1000, 1000), whole=False)
    everything = fit(volume(shape), grid, grid, (-1000, 1000), whole=False)
    for axis, (have, want) in enumerate(zip(grid, size, strict=True)):
        kept, start = min(have, want), max(0, want - have) // 2
        everything = np.take(everything, np.arange(kept) + max(0, have - want) // 2, axis)
        cut = np.take(cut, np.arange(kept) + start, axis)
    np.testing.assert_array_equal(cut, everything)


def test_a_volume_on_its_own_grid_stays_as_it_is():
    hu = volume((3, 4, 5))
    np.testing.assert_array_equal(fit(hu, hu.shape, hu.shape, WIDE), hu)


def test_values_between_two_sections_are_shared_by_hand():
    hu = np.array([0, 100], np.int16).reshape(2, 1, 1)
    finer = fit(hu, (4, 1, 1), (4, 1, 1), WIDE).ravel()  # at -0.25, 0.25, 0.75 and 1.25 sections
    assert finer.tolist() == [0, 25, 75, 100]
    coarser = fit(hu, (1, 1, 1), (1, 1, 1), WIDE).ravel()  # at 0.5
    assert coarser.tolist() == [50]


def test_clipping_comes_after_resampling():
    hu = np.array([-3000, 1000], np.int16).reshape(1, 1, 2)
    assert fit(hu, (1, 1, 1), (1, 1, 1), (-1000, 1000)).item() == -1000  # 0 if it came before


def test_an_odd_voxel_of_a_crop_or_a_pad_lies_behind():
    hu = np.arange(1, 6, dtype=np.int16).reshape(1, 1, 5)
    assert fit(hu, (1, 1, 5), (1, 1, 2), WIDE).ravel().tolist() == [2, 3]
    assert fit(hu, (1, 1, 5), (1, 1, 8), (0, 9)).ravel().tolist() == [0, 1, 2, 3, 4, 5, 0, 0]


@pytest.mark.parametrize("dtype", ["<i4", ">i2", "<u2", "<f4", "<f8"])
def test_every_type_of_values_gives_the_same(dtype):
    hu = np.abs(volume((4, 5, 6)))
    np.testing.assert_array_equal(
        fit(hu.astype(dtype), (5, 4, 7), (5, 5, 5), WIDE), fit(hu, (5, 4, 7), (5, 5, 5), WIDE)
    )
