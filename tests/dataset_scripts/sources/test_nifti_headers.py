from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from dataset_scripts.sources import nifti_headers as volumes
from dataset_scripts.sources.base import Geometry
from dataset_scripts.sources.nifti_headers import (
    UnusableVolumeError,
    geometry_from_header,
    has_nonfinite,
    inspect_volume,
)
from tests.made_up.ctrate import (
    MadeUpVolume,
    chest,
    in_two_members,
    save_nan_volume,
    save_volume,
    truncate,
)
from tests.made_up.volumes import save_stored


@pytest.fixture
def made_up() -> MadeUpVolume:
    return MadeUpVolume("train_1_a_1", spacing_mm=(3.0, 0.5, 0.75))


def test_axes_and_spacing_are_slice_row_column(made_up: MadeUpVolume, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=True)
    header = inspect_volume(path)
    assert header.shape == made_up.hu.shape == (10, 16, 20)
    assert header.spacing_mm == (3.0, 0.5, 0.75)
    assert header.axis_codes == "SPL"


def test_the_headers_spacing_and_scale_become_the_geometry(tmp_path: Path) -> None:
    path = save_stored(tmp_path / "a.nii", chest(), 2.0, -1024.0)
    assert geometry_from_header(inspect_volume(path)) == Geometry((1.0, 1.0, 1.0), 2.0, -1024.0)
    assert geometry_from_header(inspect_volume(save_stored(path, chest()))) == Geometry((1.0, 1.0, 1.0))


def test_a_blank_header_is_seen(made_up: MadeUpVolume, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    save_volume(made_up, path, fixed=False)
    header = inspect_volume(path)
    assert not header.has_spacing
    assert header.axis_codes == ""


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
    save_volume(made_up, path, fixed=True)
    assert not has_nonfinite(path)
    assert not has_nonfinite(save_stored(path, made_up.hu.astype(np.float32)))


def test_the_search_decompresses_a_file_once(
    made_up: MadeUpVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_SLAB_BYTES", 16 * 20 * 4)
    path = save_stored(tmp_path / "a.nii.gz", made_up.hu.astype(np.float32))
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
    assert inspect_volume(path).shape == made_up.hu.shape
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
    assert not has_nonfinite(path)


def test_headers_of_real_volumes_are_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "ct-volumes").glob("*.nii.gz"))
    assert paths
    for path in paths:
        header = inspect_volume(path)
        assert header.spacing_mm == (4.0, 2.0, 2.0)
        assert header.dtype == np.int16
