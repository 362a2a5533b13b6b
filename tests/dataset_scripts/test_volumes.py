from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from dataset_scripts import volumes
from dataset_scripts.records import Geometry
from dataset_scripts.volumes import (
    UnusableVolumeError,
    geometry_from_header,
    has_nonfinite,
    inspect_volume,
    load_hu,
)
from tests.made_up_ctrate import (
    AIR,
    BONE,
    MadeUpVolume,
    chest,
    in_two_members,
    save_nan_volume,
    save_volume,
    truncate,
)

ONE = (1.0, 1.0, 1.0)


@pytest.fixture
def made_up() -> MadeUpVolume:
    return MadeUpVolume("train_1_a_1", spacing_mm=(3.0, 0.5, 0.75))


def saved(path: Path, stored: np.ndarray, slope: float | None = None, inter: float | None = None) -> Path:
    """A file with these stored (D, H, W) values and this scale in its header."""
    image = nibabel.Nifti1Image(stored.T, np.eye(4))
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, path)
    if slope is not None:  # nibabel would rescale on saving: write the two header fields themselves
        content = bytearray(path.read_bytes())
        content[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
        path.write_bytes(bytes(content))
    return path


def test_axes_and_spacing_are_slice_row_column(made_up: MadeUpVolume, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=True)
    header = inspect_volume(path)
    assert header.shape == made_up.hu.shape == (10, 16, 20)
    assert header.spacing_mm == (3.0, 0.5, 0.75)
    assert header.axis_codes == "SPL"
    hu = load_hu(path, geometry_from_header(header))
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, made_up.hu)


def test_a_blank_header_is_seen(made_up: MadeUpVolume, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=False)
    header = inspect_volume(path)
    assert not header.has_spacing
    assert header.axis_codes == ""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -8192), (2, -1024)])
def test_stored_values_are_scaled_once(tmp_path: Path, suffix: str, slope: int, intercept: int) -> None:
    hu = chest() // slope * slope
    path = saved(tmp_path / f"a{suffix}", ((hu.astype(np.int32) - intercept) // slope).astype(np.int16))
    loaded = load_hu(path, Geometry(ONE, slope, intercept))
    assert loaded.dtype == np.int16
    np.testing.assert_array_equal(loaded, hu)


def test_the_headers_own_scale_is_never_applied_on_top(tmp_path: Path) -> None:
    stored = (chest().astype(np.int32) + 1024).astype(np.int16)
    path = saved(tmp_path / "a.nii", stored, 1.0, -1024.0)
    assert nibabel.Nifti1Image.from_filename(path).get_fdata().min() < AIR + 1  # the header does scale
    geometry = geometry_from_header(inspect_volume(path))
    assert (geometry.rescale_slope, geometry.rescale_intercept) == (1.0, -1024.0)
    np.testing.assert_array_equal(load_hu(path, geometry), chest())
    np.testing.assert_array_equal(load_hu(path, Geometry(ONE, 1.0, 0.0)), stored)


@pytest.mark.parametrize("dtype", [">i2", "<i4", "<u2", "<f4", "<f8"])
def test_every_storage_gives_the_same_hu(tmp_path: Path, dtype: str) -> None:
    stored = (chest().astype(np.int32) + 1024).astype(dtype)
    loaded = load_hu(saved(tmp_path / "a.nii.gz", stored), Geometry(ONE, 1.0, -1024.0))
    assert loaded.dtype == (np.float32 if "f" in dtype else np.int16)
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, chest())


def test_hu_that_are_not_whole_or_too_large_for_int16_are_floats(tmp_path: Path) -> None:
    stored = np.full((2, 3, 4), 30000, dtype=np.int32)
    path = saved(tmp_path / "a.nii.gz", stored)
    assert load_hu(path, Geometry(ONE, 2.0, 0.0)).max() == 60000
    half = load_hu(path, Geometry(ONE, 0.5, 0.25))
    assert half.dtype == np.float32
    assert half.max() == 15000.25


@pytest.mark.parametrize("unit", ["meter", "mm", "micron"])
def test_spacing_is_in_mm_whatever_the_headers_unit(tmp_path: Path, unit: str) -> None:
    factor = {"meter": 1e-3, "mm": 1.0, "micron": 1e3}[unit]
    image = nibabel.Nifti1Image(chest().T, np.diag([-0.5 * factor, -0.5 * factor, 2 * factor, 1]))
    image.header.set_xyzt_units(xyz=unit)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert inspect_volume(tmp_path / "a.nii.gz").spacing_mm == pytest.approx((2.0, 0.5, 0.5))


def test_nan_is_found_wherever_it_is(
    made_up: MadeUpVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_SLAB_BYTES", 2 * 16 * 20 * 4)  # slabs of two sections
    path = tmp_path / "a.nii.gz"
    for depth in range(10):
        save_nan_volume(made_up, path, depth)
        assert has_nonfinite(path)
    with pytest.raises(UnusableVolumeError, match="NaN"):
        load_hu(path, Geometry(ONE))
    save_volume(made_up, path, fixed=True)
    assert not has_nonfinite(path)
    assert not has_nonfinite(saved(path, made_up.hu.astype(np.float32)))


def test_the_search_decompresses_a_file_once(
    made_up: MadeUpVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_SLAB_BYTES", 16 * 20 * 4)
    path = saved(tmp_path / "a.nii.gz", made_up.hu.astype(np.float32))
    opened = []

    class Counting(nibabel.openers.ImageOpener):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            opened.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(nibabel.arrayproxy.openers, "ImageOpener", Counting)
    assert not has_nonfinite(path)
    assert 1 <= len(opened) <= 2  # the header and ten slabs


def test_whole_numbers_are_not_searched_for_nan(
    made_up: MadeUpVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=True)
    truncate(path)  # reading it would fail
    assert not has_nonfinite(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(
    made_up: MadeUpVolume, tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / f"a{suffix}"
    save_volume(made_up, path, fixed=True)
    truncate(path, share)
    with pytest.raises(UnusableVolumeError, match="truncated or damaged") as caught:
        inspect_volume(path)
    assert str(path) in str(caught.value)
    assert str(path) not in caught.value.reason
    if share < 0.99:
        with pytest.raises(UnusableVolumeError):
            load_hu(path, Geometry(ONE))


def test_a_whole_file_is_told_from_a_truncated_one_by_its_end_alone(
    made_up: MadeUpVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=True)

    def refuse(_: Path) -> None:
        raise AssertionError("decompressed a file whose end is right")

    monkeypatch.setattr(volumes, "_decompressed", refuse)
    inspect_volume(path)


def test_several_gzip_members_are_no_damage(made_up: MadeUpVolume, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=True)
    in_two_members(path)
    np.testing.assert_array_equal(load_hu(path, geometry_from_header(inspect_volume(path))), made_up.hu)
    truncate(path, 0.9)
    with pytest.raises(UnusableVolumeError, match="truncated"):
        inspect_volume(path)


def test_what_is_no_volume_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with pytest.raises(UnusableVolumeError, match="missing"):
        inspect_volume(path)
    for content in (b"", b"no volume", b"\x1f\x8b"):
        path.write_bytes(content)
        with pytest.raises(UnusableVolumeError, match="no readable NIfTI"):
            inspect_volume(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), path)
    with pytest.raises(UnusableVolumeError, match="not one 3D volume"):
        inspect_volume(path)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)), path)
    with pytest.raises(UnusableVolumeError, match="real numbers"):
        inspect_volume(path)


def test_a_fourth_axis_of_one_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(chest().T[..., None], np.eye(4)), path)
    assert inspect_volume(path).shape == (10, 16, 20)
    np.testing.assert_array_equal(load_hu(path, Geometry(ONE)), chest())
    assert not has_nonfinite(path)


def test_real_volumes_read_as_hu(shared_data: Path) -> None:
    paths = sorted((shared_data / "ct-volumes").glob("*.nii.gz"))
    assert paths
    for path in paths:
        header = inspect_volume(path)
        assert header.spacing_mm == (4.0, 2.0, 2.0)
        hu = load_hu(path, geometry_from_header(header))
        assert hu.shape == header.shape
        assert -1100 < np.percentile(hu, 1) < -900  # air
        assert BONE < hu.max() < 4000
