"""Volumes come out of NIfTI files in Hounsfield units, with spacing and the directions of their axes."""

import gzip
import math
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_radir.volumes import Volume, read_volume
from modeling_radir.voxels import axis_codes
from tests.made_up.ctrate import BONE, chest, in_two_members, truncate
from tests.made_up.dicom import write_series
from tests.made_up.volumes import save_stored, save_turned

SPACING = (3.0, 0.5, 0.75)
CODES = [a + b + c for a in "SI" for b in "PA" for c in "LR"]


def chest_volume() -> Volume:
    return Volume(chest(), SPACING)


def turn(degrees: float, axis: int) -> np.ndarray:
    """The rotation about one axis."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (each for each in range(3) if each != axis)
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


# ---- NIfTI: scale


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -8192), (2, -1024)])
def test_stored_values_are_scaled_once_by_the_given_scale(
    tmp_path: Path, suffix: str, slope: int, intercept: int
) -> None:
    hu = chest() // slope * slope
    stored = ((hu.astype(np.int32) - intercept) // slope).astype(np.int16)
    path = save_stored(tmp_path / f"a{suffix}", stored)
    loaded = read_volume(path, rescale_slope=slope, rescale_intercept=intercept).hu
    assert loaded.dtype == np.int16
    np.testing.assert_array_equal(loaded, hu)


def test_the_headers_scale_counts_once_and_a_given_one_replaces_it(tmp_path: Path) -> None:
    stored = (chest().astype(np.int32) + 1024).astype(np.int16)
    path = save_stored(tmp_path / "a.nii", stored, 1.0, -1024.0)
    np.testing.assert_array_equal(read_volume(path).hu, chest())
    np.testing.assert_array_equal(read_volume(path, rescale_slope=1, rescale_intercept=0).hu, stored)
    with pytest.raises(ValueError, match="give both or neither"):
        read_volume(path, rescale_slope=1)


@pytest.mark.parametrize("dtype", [">i2", "<i4", "<u2", "<f4", "<f8"])
def test_every_storage_gives_the_same_hu(tmp_path: Path, dtype: str) -> None:
    stored = (chest().astype(np.int32) + 1024).astype(dtype)
    path = save_stored(tmp_path / "a.nii.gz", stored)
    loaded = read_volume(path, rescale_slope=1, rescale_intercept=-1024).hu
    assert loaded.dtype == (np.float32 if "f" in dtype else np.int16)
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, chest())


def test_hu_that_are_not_whole_or_too_large_for_int16_are_floats(tmp_path: Path) -> None:
    path = save_stored(tmp_path / "a.nii.gz", np.full((2, 3, 4), 30000, dtype=np.int32))
    assert read_volume(path, rescale_slope=2, rescale_intercept=0).hu.max() == 60000
    half = read_volume(path, rescale_slope=0.5, rescale_intercept=0.25).hu
    assert half.dtype == np.float32
    assert half.max() == 15000.25


def test_a_scale_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    path = save_stored(tmp_path / "a.nii.gz", chest())
    with pytest.raises(ValueError, match=r"a\.nii\.gz: a rescale slope of 0\.0"):
        read_volume(path, rescale_slope=0, rescale_intercept=0)


# ---- NIfTI: geometry


def test_axes_and_spacing_are_slice_row_column(tmp_path: Path) -> None:
    volume = read_volume(save_turned(tmp_path / "a.nii.gz", chest_volume()))
    assert (volume.spacing_mm, volume.axis_codes) == (SPACING, "SPL")
    np.testing.assert_array_equal(volume.hu, chest())


@pytest.mark.parametrize("unit", ["meter", "mm", "micron"])
def test_spacing_is_in_mm_whatever_the_headers_unit(tmp_path: Path, unit: str) -> None:
    factor = {"meter": 1e-3, "mm": 1.0, "micron": 1e3}[unit]
    image = nibabel.Nifti1Image(chest().T, np.diag([-0.5 * factor, -0.5 * factor, 2 * factor, 1]))
    image.header.set_xyzt_units(xyz=unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").spacing_mm == pytest.approx((2.0, 0.5, 0.5))


def test_a_header_without_orientation_is_taken_as_it_is(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(chest().T, None)
    image.header.set_zooms((0.75, 0.5, 3.0))
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert (volume.spacing_mm, volume.axis_codes) == (SPACING, "")
    np.testing.assert_array_equal(volume.in_frame("SPL").hu, chest())


def test_a_given_spacing_replaces_the_headers(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.nii.gz", chest_volume())
    assert read_volume(path, spacing_mm=(1.0, 2.0, 3.0)).spacing_mm == (1.0, 2.0, 3.0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.permutations("xyz"), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.integers(0, 2**31))
def test_oblique_axes_are_named_as_nibabel_names_them(
    order: list[str], signs: tuple[float, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    straight = np.eye(3)[["xyz".index(axis) for axis in order]] * np.array(signs)[:, None]
    turned = straight
    for axis in range(3):
        turned = turned @ turn(rng.uniform(-20, 20), axis)
    directions = turned * rng.uniform(0.3, 5, (3, 1))  # rows: D, H, W in DICOM's coordinates
    affine = np.eye(4)
    affine[:3, :3] = (directions * [-1, -1, 1]).T  # columns, in NIfTI's
    assert axis_codes(directions) == "".join(nibabel.aff2axcodes(affine))


def test_directions_that_span_no_space_are_refused() -> None:
    with pytest.raises(ValueError, match="lie in one plane"):
        axis_codes(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]))
    with pytest.raises(ValueError, match="no length"):
        axis_codes(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]))


@pytest.mark.parametrize("codes", ["SPL", "IAR", "LPS", "PSR", "ASL"])
def test_a_frame_is_reached_by_transposes_and_flips_alone(codes: str) -> None:
    turned = chest_volume().in_frame(codes)
    assert turned.axis_codes == codes
    assert np.shares_memory(turned.hu, turned.in_frame().hu)
    assert turned.spacing_mm == tuple(
        SPACING[{"S": 0, "I": 0, "P": 1, "A": 1}.get(letter, 2)] for letter in codes
    )
    np.testing.assert_array_equal(turned.in_frame("SPL").hu, chest())


def test_turning_an_axis_round_mirrors_it() -> None:
    np.testing.assert_array_equal(chest_volume().in_frame("IPL").hu, chest()[::-1])
    np.testing.assert_array_equal(chest_volume().in_frame("SPR").hu, chest()[:, :, ::-1])
    np.testing.assert_array_equal(chest_volume().in_frame("LPS").hu, chest().transpose(2, 1, 0))


# ---- NIfTI: what is refused


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused_and_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = save_turned(tmp_path / f"a{suffix}", chest_volume())
    truncate(path, share)
    with pytest.raises(ValueError, match=r"a\.nii.*(damaged|truncated)"):
        read_volume(path)


def header_says(path: Path, shape: tuple[int, ...]) -> Path:
    """A small file whose header promises another shape."""
    save_stored(path.with_suffix(".nii"), chest())
    content = bytearray(path.with_suffix(".nii").read_bytes())
    sides = [len(shape), *shape] + [1] * (7 - len(shape))
    content[40:56] = np.array(sides, dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.gz"])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((30000, 30000, 30000), "27,000,000,000,000 voxels: 2,147,483,648 at most are read"),
        ((20, 16, 11), "damaged or truncated: it does not hold the 7,392 bytes of its header"),
        ((1290, 1290, 1290), "damaged or truncated: it does not hold"),
        ((20, 16, -10), "one 3D volume"),
    ],
)
def test_a_header_that_promises_more_than_there_is_takes_no_memory(
    tmp_path: Path, name: str, shape: tuple[int, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        nibabel.arrayproxy.ArrayProxy, "get_unscaled", lambda *_: pytest.fail("the voxels were read")
    )
    path = header_says(tmp_path / name, shape)
    path = path.rename(tmp_path / "b.nii.gz") if path.suffix == ".gz" else path
    with pytest.raises(ValueError, match=rf"{path.name}: .*{words}"):
        read_volume(path)


def test_a_gzip_file_that_claims_its_size_alone_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        nibabel.arrayproxy.ArrayProxy, "get_unscaled", lambda *_: pytest.fail("the voxels were read")
    )
    path = header_says(tmp_path / "a.gz", (1000, 1000, 1000)).rename(tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[-4:] = (2_000_000_352).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: .*(damaged|truncated)"):
        read_volume(path)


def test_several_gzip_members_are_no_damage(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "a.nii.gz", chest_volume())
    in_two_members(path)
    np.testing.assert_array_equal(read_volume(path).hu, chest())


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 4, 2), np.int16), r"one 3D volume: its shape is \(4, 4, 4, 2\)"),
        (np.zeros((4, 4), np.int16), "one 3D volume"),
        (np.zeros((4, 4, 4), np.complex64), "real numbers"),
    ],
)
def test_what_is_no_volume_is_refused_in_words(tmp_path: Path, array: np.ndarray, words: str) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match=words):
        read_volume(tmp_path / "a.nii.gz")


def test_a_fourth_axis_of_one_is_no_matter(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(chest().T[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").hu, chest())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused_wherever_it_is(tmp_path: Path, value: float) -> None:
    for depth in (0, 9):
        hu = chest().astype(np.float32)
        hu[depth, 3, 3] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            Volume(hu, SPACING)
        nibabel.save(nibabel.Nifti1Image(hu.T, np.eye(4)), tmp_path / "a.nii.gz")
        with pytest.raises(ValueError, match=r"a\.nii\.gz: .*NaN or infinite"):
            read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hu": np.zeros((3, 4))}, r"shape \(3, 4\)"),
        ({"hu": np.zeros((3, 0, 4))}, "at least one"),
        ({"hu": np.zeros((3, 3, 3), bool)}, "type bool"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "lengths in mm above 0"),
        ({"spacing_mm": (1.0, math.nan, 1.0)}, "give spacing_mm"),
        ({"spacing_mm": (1.0, 1.0)}, "three lengths"),
        ({"axis_codes": "SPP"}, "one letter of each"),
        ({"axis_codes": "XYZ"}, "one letter of each"),
    ],
)
def test_what_describes_no_volume_is_refused_in_words(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Volume(**{"hu": chest(), "spacing_mm": SPACING, **arguments})


def test_paths_that_are_no_volume_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "b.nii.gz").write_bytes(b"no volume")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(b"no volume"))
    write_series(tmp_path / "d", chest()[:1], SPACING)
    for name, words in {
        "absent.nii.gz": "no such file or folder",
        "a.png": "this is no volume.*RadIRCXRImageProcessor",
        "b.nii.gz": "no readable NIfTI",
        "c.nii.gz": "no readable NIfTI",
        "d/003.dcm": "one DICOM file is one slice: give the folder",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: .*{words}"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(("library", "name"), [("nibabel", "a.nii"), ("pydicom", "d")])
def test_a_missing_library_is_named(
    tmp_path: Path, library: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_turned(tmp_path / "a.nii", chest_volume())
    write_series(tmp_path / "d", chest()[:1], SPACING)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {library}"):
        read_volume(tmp_path / name)


# ---- real volumes


def test_real_volumes_read_as_hu(shared_data: Path) -> None:
    paths = sorted((shared_data / "ct-volumes").glob("*.nii.gz"))
    assert paths
    for path in paths:
        volume = read_volume(path)
        assert (volume.spacing_mm, volume.axis_codes) == ((4.0, 2.0, 2.0), "SPL")
        assert -1100 < np.percentile(volume.hu, 1) < -900  # air
        assert BONE < volume.hu.max() < 4000
