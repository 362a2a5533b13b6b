"""DICOM: one grey radiograph -> pixels from black to white, as a viewer would show it first.

The steps are those of the standard (DICOM PS3.3 C.11, PS3.4 N.2): modality LUT or rescale, then VOI LUT or
window (see dicom_levels), then one inversion for MONOCHROME1, or for a PresentationLUTShape of INVERSE, which
asks for the same one. RescaleType does not matter here: only order and distances do. Padding
(PixelPaddingValue up to PixelPaddingRangeLimit) is black. Unlike the JPG files of MIMIC-CXR-JPG nothing is
histogram-equalised.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from .checks import library
from .dicom_levels import padding, shown_levels
from .pictures import MAX_PIXELS

_DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
_NUMBERS = (
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
)
_TEXTS = (
    *("PhotometricInterpretation", "PresentationLUTShape", "VOILUTFunction", "WindowCenter", "WindowWidth"),
    *("Modality", "SOPClassUID", "SeriesInstanceUID", "ImageType", "RescaleType", "ConcatenationUID"),
    *("VOILUTSequence", "ModalityLUTSequence", "PerFrameFunctionalGroupsSequence"),
    *("SharedFunctionalGroupsSequence", "InConcatenationTotalNumber"),
)
_MAGIC_AT, _MAGIC = 128, b"DICM"


def is_dicom(source: Path | bytes) -> bool:
    """Whether a file, or what is in one, is DICOM by its content, or calls itself so."""
    end = _MAGIC_AT + len(_MAGIC)
    if isinstance(source, bytes):
        return source[_MAGIC_AT:end] == _MAGIC
    with source.open("rb") as file:
        start = file.read(end)
    return start[_MAGIC_AT:] == _MAGIC or source.suffix.lower() in (".dcm", ".dicom")


def is_multi_frame(path: Path) -> bool:
    """Whether a DICOM file holds several frames and no other file has the rest; no for a damaged one."""
    fields = ["NumberOfFrames", "ConcatenationUID"]
    try:
        dataset = open_dicom(path, specific_tags=fields, stop_before_pixels=True)
    except (ValueError, OSError):
        return False
    return frame_count(dataset) > 1 and not dataset.get("ConcatenationUID")


def frame_count(dataset: Any) -> int:
    """The number of frames that a dataset says it holds."""
    return int(dataset.get("NumberOfFrames") or 1)


def read_radiograph(source: Path | bytes) -> np.ndarray:
    """Read a single-frame grey DICOM image at its full depth.

    The first VOI LUT counts, else the first valid window, else the minimum and maximum of what is no
    padding. The output range of a LUT or a window (by its own bits, or by BitsStored) becomes 0..1.

    Args:
        source: the file, whose name does not matter, or what is in it.

    Returns:
        pixels: (H, W) float32, 0 black, 1 white.

    Raises:
        ValueError: if a decoder for the file's compression is missing (the message says what to
            install), or the file is damaged, holds no pixels, several frames, colour, more than 89,478,485
            pixels, or a rescale slope of 0. Files with one fault get one message, so that they can be
            counted; pydicom's own is its cause.
        ImportError: if pydicom is not installed.
    """
    shown, index, inverted = _levels(source)
    return (1.0 - shown if inverted else shown).astype(np.float32)[index]


def read_radiograph_8_bit(source: Path | bytes) -> np.ndarray:
    """Read a single-frame grey DICOM image as `read_radiograph` does, in 256 levels.

    Returns:
        pixels: (H, W) uint8, 0 black, 255 white.

    Raises:
        ValueError, ImportError: as `read_radiograph` does.
    """
    shown, index, inverted = _levels(source)
    grey = np.floor(shown * 255.0 + 0.5).astype(np.uint8)
    return (255 - grey if inverted else grey)[index]


def open_dicom(source: Path | bytes, **arguments: Any) -> Any:
    """A DICOM file as a pydicom Dataset; further arguments are dcmread's.

    Raises:
        ValueError: if it is none, or damaged.
        ImportError: if pydicom is not installed.
    """
    pydicom = library("pydicom", "reading DICOM files")
    try:
        dataset = pydicom.dcmread(io.BytesIO(source) if isinstance(source, bytes) else source, **arguments)
    except PermissionError as error:
        raise ValueError(f"cannot be opened ({error.strerror}): check its permissions") from error
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise ValueError("not a readable DICOM file: no DICOM, damaged or broken off") from error
    _check_fields(dataset)
    return dataset


def _check_fields(dataset: Any) -> None:
    """Have pydicom understand every field that is used, which it does when one is first asked for."""
    for name in (*_NUMBERS, *_TEXTS):
        try:
            value = dataset.get(name)
        except Exception as error:  # it raises what it likes
            raise ValueError(
                f"the DICOM file's {name} cannot be understood: its header is damaged"
            ) from error
        if name in _NUMBERS:
            _check_number(name, value)


def _check_number(name: str, value: Any) -> None:
    try:
        for each in [value] if isinstance(value, str | int | float) else value or ():
            float(each or 0)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the DICOM file's {name} is no number: its header is damaged") from error


def stored_pixels(dataset: Any) -> np.ndarray:
    """The values of a dataset's pixels as they are stored, (H, W) or (frames, H, W), decompressed.

    Raises:
        ValueError: if there are none, or no decoder for them, or they are damaged.
    """
    if "PixelData" not in dataset:
        raise ValueError("the DICOM file holds no pixel data: expected one grey image")
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise ValueError("the DICOM file does not name its transfer syntax: expected a file with its header")
    try:
        decodable = library("pydicom.pixels", "reading DICOM files").get_decoder(syntax).is_available
    except NotImplementedError:
        decodable = False
    if not decodable:
        raise ValueError(f"no decoder for {syntax.name} is installed: {_DECODERS}")
    spare = _spare_bits(dataset, syntax)
    try:
        if spare:
            dataset.BitsStored += spare
        return np.asarray(dataset.pixel_array) >> spare if spare else np.asarray(dataset.pixel_array)
    except Exception as error:  # the decoders raise what they like
        raise ValueError("the DICOM file's pixels cannot be decoded: damaged or broken off") from error
    finally:
        if spare:
            dataset.BitsStored -= spare


def _spare_bits(dataset: Any, syntax: Any) -> int:
    """How many bits lie below the values, 0 where HighBit is BitsStored - 1, as the standard has it.

    Old files keep 12 bits in the upper part of 16; pydicom does not look at HighBit.
    """
    bits, allocated = int(dataset.get("BitsStored") or 0), int(dataset.get("BitsAllocated") or 0)
    if not 1 <= bits <= allocated:
        raise ValueError(f"the DICOM file stores {bits} bits a pixel of {allocated}: its header is damaged")
    high = dataset.get("HighBit")
    spare = 0 if high in (None, "") else int(high) + 1 - bits
    if spare and (spare < 0 or bits + spare > allocated or syntax.is_compressed):
        raise ValueError(
            f"the DICOM file's bits contradict one another: {bits} are stored, the highest is {high} of "
            f"{allocated}"
        )
    return spare


def _levels(source: Path | bytes) -> tuple[np.ndarray, np.ndarray, bool]:
    """Every step maps values one by one, so each of 2**16 values at most is mapped, not 8 million pixels.

    Returns:
        shown: (N,) float64 in 0..1, what each stored value is shown as, before it is inverted.
        index: (H, W), where in `shown` each pixel stands.
        inverted: whether 0 is white.
    """
    dataset = open_dicom(source)
    _check_grey_image(dataset)
    stored = stored_pixels(dataset).astype(np.int32, copy=False)
    lowest = int(stored.min())
    index = stored - lowest
    values = np.arange(lowest, int(stored.max()) + 1, dtype=np.int32)
    inverted = (
        dataset.PhotometricInterpretation == "MONOCHROME1"
        or str(dataset.get("PresentationLUTShape") or "").strip().upper() == "INVERSE"
    )
    try:
        padded = padding(values, dataset)
        counted = np.zeros(values.shape, dtype=bool)
        counted[index] = True
        shown = shown_levels(values, counted & ~padded, dataset)
    except Exception as error:  # a LUT or window that contradicts itself
        raise ValueError("the DICOM file's LUT or window is invalid") from error
    shown[padded] = 1.0 if inverted else 0.0  # black in the end
    return shown, index, inverted


def check_size(dataset: Any) -> None:
    """Refuse an image of more pixels than are read, before any memory is taken for it.

    Raises:
        ValueError: if it is one, or has no pixels.
    """
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not 0 < rows * columns <= MAX_PIXELS:
        raise ValueError(
            f"the DICOM file says that it holds {rows} x {columns} pixels: expected 1 to {MAX_PIXELS:,}"
        )


def _check_grey_image(dataset: Any) -> None:
    if "PixelData" not in dataset:
        raise ValueError("the DICOM file holds no pixel data: expected one grey image")
    if (frames := frame_count(dataset)) != 1:
        raise ValueError(
            f"the DICOM file holds {frames} frames: expected one grey image; save the frame that matters as "
            "a file of its own"
        )
    kind = dataset.get("PhotometricInterpretation")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"the DICOM file's pixels are {kind}: expected MONOCHROME1 or MONOCHROME2 (grey)")
    if (bits := int(dataset.get("BitsStored") or 0)) > 16 or bits < 1:
        raise ValueError(f"the DICOM file stores {bits} bits a pixel: expected 1 to 16")
    check_size(dataset)
    if dataset.get("RescaleSlope") == 0:
        raise ValueError("the DICOM file's rescale slope is 0, which leaves no image")
