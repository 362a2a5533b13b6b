"""Phantom CT as a source: NIfTI volumes whose header tells the truth, and reproducible records."""

import pickle
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from dataset_scripts.sources.base import ImageRecord, Sharing
from dataset_scripts.sources.phantoms.ct import (
    PhantomCTStudy,
    make_study,
    normal_state,
    render,
    spacing_of,
)
from dataset_scripts.sources.phantoms.ct_source import PhantomCTSource, nifti_bytes
from tests.made_up.open_i import read_all

SOURCE = PhantomCTSource(count=16, slices=20, size=36, seed=3)


def loaded(data: bytes, folder: Path) -> Any:
    """A volume's bytes as nibabel reads them from a file."""
    path = folder / "volume.nii.gz"
    path.write_bytes(data)
    return nibabel.load(path)


def records() -> list[ImageRecord]:
    """The records of the small source."""
    return [record for record in read_all(SOURCE) if isinstance(record, ImageRecord)]


def test_a_record_holds_volume_geometry_text_and_split(tmp_path: Path) -> None:
    made = records()
    assert len(made) == 16 and (SOURCE.volumes, SOURCE.sharing) == (True, Sharing.OPEN)
    assert [r.study_id for r in made[:2]] == ["phantom-ct-000000", "phantom-ct-000001"]
    for record in made:
        assert record.geometry is not None and record.view == "ct"
        assert record.findings in record.report and record.impression in record.report
    split = {}
    for record in made:
        assert split.setdefault(record.subject_id, record.split) == record.split
    assert len(split) < 16  # some subjects have two studies


def test_the_file_gives_back_the_volume_in_hu_with_its_spacing(tmp_path: Path) -> None:
    record, study = records()[0], make_study(0, 3, (20, 36, 36))
    image = loaded(record.image, tmp_path)
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asanyarray(image.dataobj).T, study.volume)
    assert image.header.get_zooms()[::-1] == pytest.approx(record.geometry.spacing_mm, rel=1e-5)
    assert record.geometry.spacing_mm == study.spacing_mm
    assert (record.geometry.rescale_slope, record.geometry.rescale_intercept) == (1, 0)
    assert "".join(nibabel.aff2axcodes(image.affine)) == "LPS"
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(("anatomy", "sign"), [("left pleura", -1), ("right pleura", 1)])
def test_an_effusion_lies_on_its_side_at_the_back_below_by_world_coordinates(
    anatomy: str, sign: int, tmp_path: Path
) -> None:
    state, shape = normal_state(), (32, 48, 48)
    filled = state.with_finding(anatomy, "effusion", "moderate")
    volumes = [render(s, 1, shape) for s in (state, filled)]
    study = PhantomCTStudy("a", "b", volumes[1], spacing_of(state.scan, shape), "", "", filled)
    image = loaded(nifti_bytes(study), tmp_path)
    change = np.asanyarray(image.dataobj).astype(int) - volumes[0].T
    world = nibabel.affines.apply_affine(image.affine, np.argwhere(change > 300))
    assert len(world) > 100
    assert (np.sign(world[:, 0]) == sign).mean() > 0.98  # in RAS+ the left is where x is negative
    assert world[:, 1].mean() < -30  # y grows to the front
    below = nibabel.affines.apply_affine(image.affine, np.argwhere(volumes[0].T > -2000)).mean(0)
    assert world[:, 2].mean() < below[2]


def test_bytes_are_the_same_every_time_and_in_every_copy_of_the_source() -> None:
    copy = pickle.loads(pickle.dumps(SOURCE))
    for job in (0, 5):
        first, second = SOURCE.read(job)[0], copy.read(job)[0]
        assert first == second and isinstance(first.image, bytes)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"count": 0}, "count"), ({"seed": -1}, "seed"), ({"slices": 4}, "shape"), ({"size": 8}, "shape")],
)
def test_options_that_are_too_small_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomCTSource(**options)
