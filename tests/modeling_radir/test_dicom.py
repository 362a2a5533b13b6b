"""DICOM pixels come out as a viewer shows them: values worked out by hand."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless, RLELossless

from modeling_radir.dicom import read_radiograph, read_radiograph_8_bit
from tests.made_up_dicom import write_dicom


def shown(folder: Path, stored: np.ndarray, photometric: str, bits: int, **fields: Any) -> list[int]:
    write_dicom(folder / "image.dcm", stored, photometric, bits, **fields)
    pixels, deep = read_radiograph_8_bit(folder / "image.dcm"), read_radiograph(folder / "image.dcm")
    assert (pixels.dtype, deep.dtype) == (np.uint8, np.float32)
    assert pixels.shape == deep.shape == stored.shape
    np.testing.assert_allclose(deep, pixels / 255, atol=0.51 / 255)
    return pixels.ravel().tolist()


def row(*values: int, kind: type = np.uint16) -> np.ndarray:
    return np.array([values], dtype=kind)


def voi_lut(table: np.ndarray, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(table), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = table.astype(int).tolist()
    item["LUTData"].VR = "US"
    return Sequence([item])


def test_12_bit_monochrome1_with_a_window_is_windowed_and_inverted(tmp_path: Path) -> None:
    # Centre 1000, width 401: black up to 799.5, white above 1199.5; 1000 is (0.5 / 400 + 0.5) * 255
    stored = row(0, 799, 1000, 1099, 1200, 4095)
    seen = shown(tmp_path, stored, "MONOCHROME1", 12, WindowCenter=1000, WindowWidth=401)
    upright = [round(255 * share) for share in (0, 0, 0.50125, 0.74875, 1, 1)]
    assert seen == [255 - value for value in upright]


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    stored = row(0, 50, 99, 4000)
    seen = shown(tmp_path, stored, "MONOCHROME2", 12, WindowCenter=[50, 2000], WindowWidth=[100, 4000])
    assert seen == [0, round(255 * (0.5 / 99 + 0.5)), 255, 255]


def test_a_window_counts_in_rescaled_values(tmp_path: Path) -> None:
    fields = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 0.5, "WindowWidth": 1001}
    assert shown(tmp_path, row(250, 500, 750, 1000), "MONOCHROME2", 12, **fields) == [0, 128, 255, 255]


def test_a_negative_slope_turns_the_image_and_a_window_does_not_turn_it_back(tmp_path: Path) -> None:
    fields = {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 2048, "WindowWidth": 4096}
    assert shown(tmp_path, row(0, 4095), "MONOCHROME2", 12, **fields) == [255, 0]


def test_16_bit_monochrome2_goes_through_the_voi_lut_before_any_window(tmp_path: Path) -> None:
    table = np.array([0, 0, 100, 400, 1023])  # stored 1000..1004 -> 10 bit
    fields = {"VOILUTSequence": voi_lut(table, 1000, 10), "WindowCenter": 5, "WindowWidth": 2}
    seen = shown(tmp_path, row(0, 1001, 1002, 1003, 1004, 65535), "MONOCHROME2", 16, **fields)
    assert seen == [0, 0, round(100 / 1023 * 255), round(400 / 1023 * 255), 255, 255]


def test_a_voi_lut_of_8_bit_entries_takes_12_bit_values(tmp_path: Path) -> None:
    table = np.arange(4096) // 16
    seen = shown(tmp_path, row(0, 256, 300, 4095), "MONOCHROME2", 12, VOILUTSequence=voi_lut(table, 0, 8))
    assert seen == [0, 16, 18, 255]


def test_8_bit_without_window_and_lut_is_stretched_from_its_least_to_its_most(tmp_path: Path) -> None:
    assert shown(tmp_path, row(10, 60, 110, kind=np.uint8), "MONOCHROME2", 8) == [0, 128, 255]
    assert shown(tmp_path, row(-100, 0, 100, kind=np.int16), "MONOCHROME2", 16) == [0, 128, 255]
    assert shown(tmp_path, row(7, 7), "MONOCHROME2", 12) == [0, 0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"PixelData": None}, "holds no pixel data"),
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"PhotometricInterpretation": "RGB"}, "pixels are RGB: expected MONOCHROME1 or MONOCHROME2"),
        ({"BitsStored": 32}, "stores 32 bits a pixel"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "rescale slope is 0"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "LUT or window is invalid"),
        ({"PixelData": b"\0\0"}, "pixels cannot be decoded"),
        ({"syntax": JPEGLosslessSV1}, "no decoder for JPEG Lossless.*pip install pylibjpeg"),
        ({"syntax": JPEGLSLossless}, "no decoder for JPEG-LS.*pip install pylibjpeg"),
    ],
)
def test_what_is_no_grey_image_is_refused_in_words(
    tmp_path: Path, fields: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "syntax" in fields:  # wherever these tests run, as if no decoder were installed
        monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.is_available", False)
    with pytest.raises(ValueError, match=words):
        shown(tmp_path, row(1, 2), "MONOCHROME2", 12, **fields)


def test_compressed_pixels_are_decoded_where_a_decoder_is_there(tmp_path: Path) -> None:
    write_dicom(tmp_path / "image.dcm", row(0, 2048, 4095), "MONOCHROME2", 12)
    dataset = dcmread(tmp_path / "image.dcm")
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    assert read_radiograph_8_bit(tmp_path / "rle.dcm").tolist() == [[0, 128, 255]]


def test_a_file_that_is_no_dicom_or_broke_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(b"no image at all")
    with pytest.raises(ValueError, match="not a readable DICOM"):
        read_radiograph_8_bit(path)
    write_dicom(path, np.zeros((50, 50), np.uint16), "MONOCHROME2", 12)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_radiograph_8_bit(path)


def test_pixels_keep_their_full_depth(tmp_path: Path) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for photometric, expected in (("MONOCHROME2", stored / 4095), ("MONOCHROME1", 1 - stored / 4095)):
        write_dicom(tmp_path / "image.dcm", stored, photometric, 12, WindowCenter=2048, WindowWidth=4096)
        deep = read_radiograph(tmp_path / "image.dcm")
        np.testing.assert_allclose(deep, expected, atol=1e-6)
        assert len(np.unique(deep)) == 4096  # 8 bits would leave 256


def test_without_pydicom_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(tmp_path / "image.dcm", row(1, 2), "MONOCHROME2", 12)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match="reading DICOM files needs pydicom: pip install pydicom"):
        read_radiograph(tmp_path / "image.dcm")
