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
from tests.made_up.dicom import write_dicom


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


def packed_lut(table: np.ndarray, first: int, vr: str) -> Sequence:
    """A LUT of 8-bit entries, two a word, the first of two in its lower half."""
    item = Dataset()
    item.LUTDescriptor = [len(table), first, 8]
    item["LUTDescriptor"].VR = "US"
    data = np.append(table, [0] * (len(table) % 2)).astype(np.uint8).tobytes()
    item.LUTData = data if vr == "OW" else np.frombuffer(data, dtype="<u2").tolist()
    item["LUTData"].VR = vr
    return Sequence([item])


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("count", [256, 255])
def test_8_bit_luts_that_are_packed_two_a_word_are_applied(tmp_path: Path, vr: str, count: int) -> None:
    table = np.arange(count)[::-1] % 256
    sequence = packed_lut(table, 100, vr)
    seen = shown(tmp_path, row(0, 100, 101, 110, 4000), "MONOCHROME2", 12, VOILUTSequence=sequence)
    assert seen == [table[0], table[0], table[1], table[10], table[-1]]


def test_a_modality_lut_of_any_depth_is_applied(tmp_path: Path) -> None:
    item = voi_lut(np.array([4095, 2048, 0]), 10, 12)[0]
    item.ModalityLUTType = "US"
    fields = {"ModalityLUTSequence": Sequence([item]), "WindowCenter": 2048, "WindowWidth": 4096}
    assert shown(tmp_path, row(10, 11, 12, 4000), "MONOCHROME2", 12, **fields) == [255, 128, 0, 0]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("fields", "padded"),
    [
        ({"PixelPaddingValue": 0}, [0]),
        ({"PixelPaddingValue": 4095}, [4095]),
        ({"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095}, [4095, 4000, 4050]),
        ({"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}, [4095, 4000, 4050]),
    ],
)
def test_padding_is_black_and_does_not_squeeze_the_rest(
    tmp_path: Path, photometric: str, fields: dict[str, Any], padded: list[int]
) -> None:
    seen = shown(tmp_path, row(*padded, 1000, 1050, 1100), photometric, 12, **fields)
    upright = [0, 128, 255] if photometric == "MONOCHROME2" else [255, 127, 0]
    assert seen == [0] * len(padded) + upright


def test_padding_below_zero_is_found_though_it_is_written_unsigned(tmp_path: Path) -> None:
    stored = row(-2000, 0, 50, 100, kind=np.int16)
    write_dicom(tmp_path / "image.dcm", stored, "MONOCHROME2", 16, PixelPaddingValue=-2000)
    dataset = dcmread(tmp_path / "image.dcm")
    dataset["PixelPaddingValue"].VR, dataset["PixelPaddingValue"].value = "US", 2**16 - 2000
    dataset.save_as(tmp_path / "image.dcm")
    assert read_radiograph_8_bit(tmp_path / "image.dcm").tolist() == [[0, 0, 128, 255]]


def test_an_image_of_padding_alone_is_black(tmp_path: Path) -> None:
    assert shown(tmp_path, row(7, 7), "MONOCHROME1", 12, PixelPaddingValue=7) == [0, 0]


@pytest.mark.parametrize(
    ("centre", "width", "function"),
    [
        ([0, 50], [0, 100], "LINEAR"),
        ([50, 50], [0.5, 100], "LINEAR"),
        ([0, 50], [-7, 100], None),
        ([0, 50], [0, 99], "LINEAR_EXACT"),
    ],
)
def test_a_window_that_is_none_is_skipped_for_the_next(
    tmp_path: Path, centre: list[float], width: list[float], function: str | None
) -> None:
    fields = {"VOILUTFunction": function} if function else {}
    seen = shown(
        tmp_path, row(0, 50, 99, 4000), "MONOCHROME2", 12, WindowCenter=centre, WindowWidth=width, **fields
    )
    assert seen == ([0, 128, 254, 255] if function == "LINEAR_EXACT" else [0, 129, 255, 255])


@pytest.mark.parametrize(
    "fields",
    [
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": [0, 5], "WindowWidth": [0, -1]},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": "", "WindowWidth": 100},
        {"WindowCenter": "", "WindowWidth": "", "VOILUTFunction": ""},
        {"RescaleSlope": "", "RescaleIntercept": "", "RescaleType": ""},
        {"RescaleSlope": "", "RescaleIntercept": -1024},
        {"VOILUTSequence": Sequence([])},
        {"ModalityLUTSequence": Sequence([])},
        {"PixelPaddingRangeLimit": 200},
        {"PresentationLUTShape": ""},
    ],
)
def test_what_is_empty_or_no_window_counts_as_absent(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert shown(tmp_path, row(100, 150, 200), "MONOCHROME2", 12, **fields) == [0, 128, 255]


def test_an_empty_voi_lut_function_leaves_the_window(tmp_path: Path) -> None:
    fields = {"WindowCenter": 50, "WindowWidth": 100, "VOILUTFunction": ""}
    assert shown(tmp_path, row(0, 99, 4000), "MONOCHROME2", 12, **fields) == [0, 255, 255]


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_values_that_lie_in_the_upper_bits_are_read(tmp_path: Path, kind: type) -> None:
    values = row(-100, 0, 100, kind=kind) if kind is np.int16 else row(0, 2048, 4095)
    assert shown(tmp_path, values << 4, "MONOCHROME2", 12, HighBit=15) == [0, 128, 255]


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "INVERSE", True),  # the same inversion, said twice
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
    ],
)
def test_an_inverse_presentation_is_one_inversion(
    tmp_path: Path, photometric: str, shape: str, inverted: bool
) -> None:
    seen = shown(tmp_path, row(0, 4095), photometric, 12, PresentationLUTShape=shape)
    assert seen == ([255, 0] if inverted else [0, 255])


def test_a_number_that_is_none_is_named_and_a_window_of_none_skipped(tmp_path: Path) -> None:
    fields = {"RescaleSlope": 1.5, "RescaleIntercept": 0, "WindowCenter": 2.25, "WindowWidth": 9}
    write_dicom(tmp_path / "image", row(100, 150, 200), "MONOCHROME2", 12, **fields)
    whole = (tmp_path / "image").read_bytes()
    assert read_radiograph_8_bit(whole.replace(b"2.25", b"many")).tolist() == [[0, 128, 255]]
    with pytest.raises(ValueError, match="RescaleSlope is no number"):
        read_radiograph(whole.replace(b"1.5 ", b"many"))


def test_what_is_in_a_file_reads_as_the_file(tmp_path: Path) -> None:
    write_dicom(tmp_path / "image", row(0, 2048, 4095), "MONOCHROME2", 12)
    from_bytes = read_radiograph((tmp_path / "image").read_bytes())
    np.testing.assert_array_equal(from_bytes, read_radiograph(tmp_path / "image"))


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
        ({"WindowCenter": 5, "WindowWidth": 10, "VOILUTFunction": "WAVY"}, "LUT or window is invalid"),
        ({"VOILUTSequence": Sequence([Dataset()])}, "LUT or window is invalid"),
        ({"HighBit": 10}, "12 are stored, the highest is 10 of 16"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels: expected 1 to"),
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
