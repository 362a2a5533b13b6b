"""A folder of DICOM slices becomes a volume in Hounsfield units, or a sentence says what is wrong with it."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLosslessSV1, RLELossless

from modeling_radir.volumes import read_volume
from tests.made_up.ctrate import chest
from tests.made_up.dicom import AXIAL, change_dicom, write_enhanced, write_series

SPACING = (3.0, 0.5, 0.75)


def test_a_series_is_sorted_by_position_and_rescaled_slice_by_slice(tmp_path: Path) -> None:
    hu = chest() // 2 * 2
    write_series(tmp_path / "d", hu, SPACING, scales=((1, -1024), (2, -1000), (1, 0)))
    (tmp_path / "d" / "notes.txt").write_text("not an image")
    volume = read_volume(tmp_path / "d")
    assert volume.hu.dtype == np.int16
    assert volume.spacing_mm == pytest.approx(SPACING, abs=1e-4)
    assert volume.axis_codes == "SPL"
    np.testing.assert_array_equal(volume.hu, hu)


@pytest.mark.parametrize(
    ("orientation", "codes"),
    [
        (AXIAL, "SPL"),
        ((-1, 0, 0, 0, -1, 0), "SAR"),  # prone, or feet first and turned
        ((1, 0, 0, 0, 0, -1), "PIL"),  # coronal
        ((0, 1, 0, 0, 0, -1), "RIP"),  # sagittal
        ((-1, 0, 0, 0, 1, 0), "IPR"),
    ],
)
def test_axes_of_a_series_follow_its_orientation(tmp_path: Path, orientation: tuple, codes: str) -> None:
    write_series(tmp_path / "d", chest(), SPACING, orientation)
    volume = read_volume(tmp_path / "d")
    assert volume.axis_codes == codes
    np.testing.assert_array_equal(volume.hu, chest())


def test_a_scale_and_a_spacing_can_be_given_for_a_series(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "d", chest(), SPACING, scales=((1, 0),)):
        change_dicom(path, RescaleSlope=None, RescaleIntercept=None, PixelSpacing=None)
    with pytest.raises(ValueError, match="no RescaleSlope and RescaleIntercept"):
        read_volume(tmp_path / "d")
    with pytest.raises(ValueError, match="give spacing_mm"):
        read_volume(tmp_path / "d", rescale_slope=1, rescale_intercept=0)
    volume = read_volume(tmp_path / "d", SPACING, rescale_slope=1, rescale_intercept=-10)
    np.testing.assert_array_equal(volume.hu, chest() - 10)


def test_one_slice_takes_its_thickness_for_spacing(tmp_path: Path) -> None:
    write_series(tmp_path / "d", chest()[:1], SPACING)
    assert read_volume(tmp_path / "d").spacing_mm == SPACING


def test_a_tilted_stack_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    step = (0.0, 3.0 * math.tan(math.radians(12)), 3.0)
    write_series(tmp_path / "d", chest(), SPACING, step=step)
    with caplog.at_level(logging.WARNING, logger="modeling_radir.dicom_series"):
        volume = read_volume(tmp_path / "d")
    assert "tilted by 12.0 degrees" in caplog.text
    assert volume.spacing_mm == pytest.approx(SPACING, abs=1e-4)  # along the normal
    np.testing.assert_array_equal(volume.hu, chest())


def test_positions_that_are_rounded_are_even_enough(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "d", chest(), (0.625, 1.0, 1.0))
    for index, path in enumerate(paths):
        change_dicom(path, ImagePositionPatient=[0, 0, round(0.625 * index, 1)])
    volume = read_volume(tmp_path / "d")
    assert volume.spacing_mm[0] == pytest.approx(0.625, abs=0.01)
    np.testing.assert_array_equal(volume.hu, chest())


@pytest.mark.parametrize("missing", [1, 4, 8])
def test_missing_slices_are_refused(tmp_path: Path, missing: int) -> None:
    write_series(tmp_path / "d", chest(), SPACING)[missing].unlink()
    with pytest.raises(ValueError, match=r"slices are missing: between .* are 6\.00 mm, elsewhere 3\.00 mm"):
        read_volume(tmp_path / "d")


def test_slices_that_drift_from_even_spacing_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "d", chest(), SPACING)
    for index, path in enumerate(paths):
        change_dicom(path, ImagePositionPatient=[0, 0, 3 * index + max(0, index - 5) * 0.5])
    with pytest.raises(ValueError, match=r"not evenly spaced, from 3\.00 to 3\.50 mm"):
        read_volume(tmp_path / "d")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Modality": "MR"}, "of the modality MR: CT is needed"),
        ({"SeriesInstanceUID": "1.2.5"}, "slices of 2 series"),
        ({"ImagePositionPatient": [-100, -120, 33]}, "lie at the same place"),
        ({"ImagePositionPatient": None}, "no usable ImagePositionPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "another orientation than 003.dcm"),
        ({"PixelSpacing": [0.5, 0.76]}, "another pixel spacing than 003.dcm"),
        ({"Rows": 8, "PixelData": b"\0" * 320}, "another number of rows and columns than 003.dcm"),
        ({"NumberOfFrames": 2}, r"066\.dcm holds 2 frames without their positions"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
        ({"PhotometricInterpretation": "RGB"}, "no grey image"),
        ({"RescaleType": "US"}, "the values are in US, not HU"),
        ({"PixelData": None}, "no pixel data"),
    ],
)
def test_slices_that_make_no_ct_volume_are_refused_in_words(tmp_path: Path, fields: dict, words: str) -> None:
    paths = write_series(tmp_path / "d", chest(), SPACING)
    change_dicom(paths[-1], **fields)
    with pytest.raises(ValueError, match=words) as caught:
        read_volume(tmp_path / "d")
    assert str(caught.value).startswith(str(tmp_path / "d"))


def test_directions_that_are_not_perpendicular_are_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "d", chest(), SPACING):
        change_dicom(path, ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0])
    with pytest.raises(ValueError, match="no pair of perpendicular directions"):
        read_volume(tmp_path / "d")


def test_damaged_slices_are_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "d", chest(), SPACING)
    whole = paths[4].read_bytes()
    paths[4].write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=f"{paths[4].name}: .*cannot be decoded"):
        read_volume(tmp_path / "d")
    paths[4].write_bytes(b"")
    with pytest.raises(ValueError, match=f"{paths[4].name}: not a readable DICOM"):
        read_volume(tmp_path / "d")


def test_compressed_slices_are_decoded_or_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_series(tmp_path / "d", chest(), SPACING)
    for path in paths:
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path / "d").hu, chest())
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.ImagePositionPatient = [-100, -120, 27]  # now it is the first
    dataset.save_as(path)
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    with pytest.raises(
        ValueError, match=r"no decoder for JPEG Lossless.* is installed: pip install pylibjpeg"
    ):
        read_volume(tmp_path / "d")


def test_folders_without_slices_are_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    with pytest.raises(ValueError, match="no DICOM files: give the folder below it"):
        read_volume(tmp_path / "study")
    with pytest.raises(ValueError, match="no DICOM files: give the folder of one series"):
        read_volume(tmp_path / "study" / "series")


# ---- enhanced CT: one file, many frames


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_an_enhanced_file_equals_its_classic_series(tmp_path: Path, shared: bool, inside: bool) -> None:
    hu = chest() // 2 * 2
    scales = ((1, -1024), (2, -1000))
    order = np.random.default_rng(0).permutation(len(hu)).tolist()
    (tmp_path / "one").mkdir()
    path = write_enhanced(tmp_path / "one" / "ct", hu, SPACING, order, scales, shared)
    write_series(tmp_path / "many", hu, SPACING, scales=scales)
    one, many = read_volume(path.parent if inside else path), read_volume(tmp_path / "many")
    assert (one.axis_codes, one.hu.dtype) == (many.axis_codes, many.hu.dtype)
    assert one.spacing_mm == pytest.approx(many.spacing_mm, abs=1e-4)
    np.testing.assert_array_equal(one.hu, many.hu)
    np.testing.assert_array_equal(one.hu, hu)


def test_a_compressed_enhanced_file_is_read(tmp_path: Path) -> None:
    dataset = dcmread(write_enhanced(tmp_path / "ct", chest(), SPACING))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "ct")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").hu, chest())


def test_the_parts_of_a_concatenation_make_one_volume(tmp_path: Path) -> None:
    fields = {"ConcatenationUID": "1.2.9", "InConcatenationTotalNumber": 2}
    for part, order in enumerate((range(5), range(5, 10))):
        write_enhanced(
            tmp_path / f"part{part}", chest(), SPACING, order, InConcatenationNumber=part + 1, **fields
        )
    np.testing.assert_array_equal(read_volume(tmp_path).hu, chest())
    with pytest.raises(ValueError, match=r"part0: holds a part of the frames: give the folder"):
        read_volume(tmp_path / "part0")


def test_enhanced_files_with_missing_frames_are_refused(tmp_path: Path) -> None:
    order = [0, 1, 2, 3, 5, 6, 7, 8, 9]
    with pytest.raises(ValueError, match=r"slices are missing: between frame 4 and frame 5 are 6\.00 mm"):
        read_volume(write_enhanced(tmp_path / "ct", chest(), SPACING, order))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"PerFrameFunctionalGroupsSequence": None}, "holds 10 frames without their positions"),
        ({"SharedFunctionalGroupsSequence": None}, "frame 1 has no usable ImageOrientationPatient"),
        ({"NumberOfFrames": 9}, "holds 9 frames and describes 10"),
        ({"Modality": "MR"}, "frame 1 is of the modality MR"),
        ({"PixelData": b"\0" * 100}, "frame 1: the DICOM file's pixels cannot be decoded"),
    ],
)
def test_enhanced_files_that_make_no_volume_are_refused_in_words(
    tmp_path: Path, fields: dict, words: str
) -> None:
    path = write_enhanced(tmp_path / "ct", chest(), SPACING, **fields)
    with pytest.raises(ValueError, match=f"ct: {words}"):
        read_volume(path)


def test_frames_without_a_position_are_refused(tmp_path: Path) -> None:
    dataset = dcmread(write_enhanced(tmp_path / "ct", chest(), SPACING))
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    dataset.save_as(tmp_path / "ct")
    with pytest.raises(ValueError, match="frame 4 has no usable ImagePositionPatient"):
        read_volume(tmp_path / "ct")


# ---- padding, empty fields


@pytest.mark.parametrize("value", [-2000, 2**16 - 2000])
def test_padding_becomes_air(tmp_path: Path, value: int) -> None:
    hu = chest()
    for path in write_series(tmp_path / "d", hu, SPACING):
        dataset = dcmread(path)
        stored = dataset.pixel_array.copy()
        stored[0, :3] = -2000
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        dataset.save_as(path)
    seen = read_volume(tmp_path / "d").hu
    assert (seen[:, 0, :3] == -1024).all()
    np.testing.assert_array_equal(seen[:, 1:], hu[:, 1:])


def test_an_empty_scale_is_none(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "d", chest(), SPACING):
        change_dicom(path, RescaleSlope="", RescaleIntercept="", RescaleType="")
    with pytest.raises(ValueError, match="no RescaleSlope and RescaleIntercept"):
        read_volume(tmp_path / "d")


def test_folders_that_cannot_be_opened_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValueError, match=r"cannot be opened \(Permission denied\)"):
        read_volume(tmp_path)
