"""DICOM: one grey radiograph -> pixels from black to white, as a viewer would show it first.

The steps are those of the standard (DICOM PS3.3 C.11, PS3.4 N.2): modality LUT or rescale, then VOI LUT or
window, then MONOCHROME1 inverted; pydicom does the arithmetic. Unlike the JPG files of MIMIC-CXR-JPG nothing
is histogram-equalised.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from .optional import library

_DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
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
    """Whether a DICOM file holds several frames; no for one that cannot be read."""
    try:
        return frame_count(open_dicom(path, specific_tags=["NumberOfFrames"], stop_before_pixels=True)) > 1
    except (ValueError, OSError):
        return False


def frame_count(dataset: Any) -> int:
    """The number of frames that a dataset says it holds.

    Raises:
        ValueError: if it says no number.
    """
    try:
        return int(dataset.get("NumberOfFrames") or 1)
    except (TypeError, ValueError) as error:
        raise ValueError("the DICOM file's NumberOfFrames is no number") from error


def read_radiograph(source: Path | bytes) -> np.ndarray:
    """Read a single-frame grey DICOM image at its full depth.

    The first VOI LUT counts, else the first window, else the image's own minimum and maximum. The output
    range of a LUT or a window (by its own bits, or by BitsStored) becomes 0..1.

    Args:
        source: the file, whose name does not matter, or what is in it.

    Returns:
        pixels: (H, W) float32, 0 black, 1 white.

    Raises:
        ValueError: if a decoder for the file's compression is missing (the message says what to
            install), or the file is damaged, holds no pixels, several frames, or colour. Files with one fault
            get one message, so that they can be counted; pydicom's own is its cause.
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
        return pydicom.dcmread(io.BytesIO(source) if isinstance(source, bytes) else source, **arguments)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise ValueError("not a readable DICOM file: no DICOM, damaged or broken off") from error


def stored_pixels(dataset: Any) -> np.ndarray:
    """The values of a dataset's pixels as they are stored, (H, W), decompressed but not rescaled.

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
    try:
        return np.asarray(dataset.pixel_array)
    except Exception as error:  # the decoders raise what they like
        raise ValueError("the DICOM file's pixels cannot be decoded: damaged or broken off") from error


def _levels(source: Path | bytes) -> tuple[np.ndarray, np.ndarray, bool]:
    """Every step maps values one by one, so each of 2**16 values at most is mapped, not 8 million pixels.

    Returns:
        shown: (N,) float64 in 0..1, what each stored value is shown as, before MONOCHROME1 is inverted.
        index: (H, W), where in `shown` each pixel stands.
        inverted: whether 0 is white.
    """
    dataset = open_dicom(source)
    _check_grey_image(dataset)
    stored = stored_pixels(dataset).astype(np.int32, copy=False)
    lowest = int(stored.min())
    values = np.arange(lowest, int(stored.max()) + 1, dtype=np.int32)
    try:
        shown = _shown(values, dataset)
    except Exception as error:  # a LUT or window that contradicts itself
        raise ValueError("the DICOM file's LUT or window is invalid") from error
    return shown, stored - lowest, dataset.PhotometricInterpretation == "MONOCHROME1"


def _check_grey_image(dataset: Any) -> None:
    if "PixelData" not in dataset:
        raise ValueError("the DICOM file holds no pixel data: expected one grey image")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) != 1:
        raise ValueError(f"the DICOM file holds {frames} frames: expected one grey image")
    kind = dataset.get("PhotometricInterpretation")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"the DICOM file's pixels are {kind}: expected MONOCHROME1 or MONOCHROME2 (grey)")
    if (bits := int(dataset.get("BitsStored") or 0)) > 16 or bits < 1:
        raise ValueError(f"the DICOM file stores {bits} bits a pixel: expected 1 to 16")
    if dataset.get("RescaleSlope") == 0:
        raise ValueError("the DICOM file's rescale slope is 0, which leaves no image")


def _shown(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Stored values, (N,) int32 -> (N,) float64 in 0..1, before MONOCHROME1 is inverted."""
    pixels = library("pydicom.pixels", "reading DICOM files")
    rescaled = np.asarray(pixels.apply_modality_lut(values, dataset))
    if dataset.get("VOILUTSequence"):
        shown, black, white = _looked_up(rescaled, dataset.VOILUTSequence[0])
    elif all(dataset.get(name) not in (None, "", []) for name in ("WindowCenter", "WindowWidth")):
        shown, (black, white) = pixels.apply_windowing(rescaled, dataset), _window_range(dataset)
    else:
        shown, black, white = rescaled, float(rescaled.min()), float(rescaled.max())
    if black == white:
        return np.zeros(values.shape)
    return np.clip((shown.astype(np.float64) - black) / (white - black), 0.0, 1.0)


def _looked_up(values: np.ndarray, item: Any) -> tuple[np.ndarray, float, float]:
    """Values through the first VOI LUT, and what it calls black and white.

    Not pydicom's `apply_voi`: that of 3.0 indexes with the LUT's own type, so that 12-bit values wrap around
    in a LUT of 8-bit entries.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    table = np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else np.asarray(data, dtype=np.uint16)
    entries = entries or 2**16
    if len(table) < entries:
        raise ValueError(f"the VOI LUT has {len(table)} entries, its descriptor says {entries}")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[index], 0.0, 2.0**bits - 1.0


def _window_range(dataset: Any) -> tuple[float, float]:
    """What pydicom's window makes of black and white: all that the bits can hold, rescaled."""
    if sequence := dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(sequence[0].LUTDescriptor[2]) - 1.0
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept
