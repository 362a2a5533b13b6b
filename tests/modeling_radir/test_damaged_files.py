"""Whatever bytes of a file are wrong, it is read, or a ValueError names it; nothing else comes out."""

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modeling_radir.image_processing_radir import to_grey
from modeling_radir.volumes import read_volume
from tests.made_up.ctrate import chest
from tests.made_up.dicom import write_dicom, write_enhanced
from tests.made_up.pictures import write_tiff
from tests.made_up.volumes import save_stored

COPIES = 60
NOISE = np.random.default_rng(1).integers(0, 4096, (40, 50), dtype=np.uint16)
FORMS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP", "JPEG2000", "PPM")


def whole(folder: Path, kind: str) -> Path:
    """A file without fault."""
    path = folder / {"enhanced": "a.dcm", "nifti": "a.nii", "nifti, gzip": "a.nii.gz"}.get(kind, "a")
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in FORMS:
        settings: dict[str, Any] = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
        Image.fromarray((NOISE // 16).astype(np.uint8)).save(path, kind, **settings)
    elif kind == "deep TIFF":
        write_tiff(path, NOISE, white_is_zero=True, order=">")
    elif kind == "radiograph":
        fields = {"WindowCenter": [5, 9], "WindowWidth": [100, 200], "PixelPaddingValue": 0}
        write_dicom(path, NOISE, "MONOCHROME1", 12, RescaleSlope=1, RescaleIntercept=0, **fields)
    elif kind == "enhanced":
        write_enhanced(path, chest(), (3.0, 0.5, 0.75))
    else:
        save_stored(path, chest())
    return path


def damaged(content: bytes) -> Iterator[bytes]:
    """Copies with wrong bytes, many of them in the header, or cut off."""
    rng = np.random.default_rng(2)
    for _ in range(COPIES):
        copy = bytearray(content)
        for _ in range(rng.choice([1, 2, 5, 20])):
            place = rng.integers(len(copy) if rng.random() < 0.5 else min(len(copy), 600))
            copy[place] = rng.choice([0, 255, rng.integers(256)])
        yield bytes(copy[: rng.integers(len(copy))] if rng.random() < 0.1 else copy)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*FORMS, "deep TIFF", "radiograph", "enhanced", "nifti", "nifti, gzip"])
def test_a_damaged_file_is_read_or_refused_by_name(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    path = whole(tmp_path, kind)
    read: Callable[[Path], object] = read_volume if kind in ("enhanced", "nifti", "nifti, gzip") else to_grey
    assert read(path) is not None
    refused: list[str] = []
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except ValueError as error:
            refused.append(str(error))
    assert refused
    assert [sentence for sentence in refused if str(path) not in sentence or "\n" in sentence] == []


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (
            b"\x28\x00\x04\x00CS",
            b"\x28\x00\x04\x00C\xff",
            "PhotometricInterpretation cannot be understood",
        ),
        (b"\x28\x00\x01\x01US\x02\x00\x0c", b"\x28\x00\x01\x01US\x02\x00\x00", "stores 0 bits a pixel"),
        (b"\x28\x00\x01\x01US\x02\x00\x0c", b"\x28\x00\x01\x01US\x02\x00\x63", "stores 99 bits a pixel"),
    ],
)
def test_a_damaged_dicom_header_is_refused_in_words(
    tmp_path: Path, place: bytes, value: bytes, words: str
) -> None:
    path = whole(tmp_path, "radiograph")
    assert path.read_bytes().count(place) == 1
    path.write_bytes(path.read_bytes().replace(place, value))
    with pytest.raises(ValueError, match=f"{path}: .*{words}"):
        to_grey(path)
