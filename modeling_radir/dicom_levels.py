"""DICOM: what stored grey values mean (modality LUT or rescale), and how they are shown (VOI LUT, window).

Fields that are present but empty count as absent. Of several windows the first valid one counts: LINEAR ones
are 1 wide at least, others wider than 0 (PS3.3 C.11.2.1); where none is, the values' own range is shown.
"""

import math
from typing import Any

import numpy as np

from .checks import library

_EMPTY: tuple[Any, ...] = (None, "", [])


def padding(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Which stored values only fill the frame: PixelPaddingValue, up to PixelPaddingRangeLimit.

    Args:
        values: whole numbers, as they are stored.
        dataset: with the image's header.

    Returns:
        bool of the shape of values.
    """
    ends = [dataset.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    numbers = [_wrapped(int(end), dataset) for end in ends if end not in _EMPTY]
    if ends[0] in _EMPTY:
        return np.zeros(values.shape, dtype=bool)
    return (values >= min(numbers)) & (values <= max(numbers))


def _wrapped(value: int, dataset: Any) -> int:
    """A value of 16 bits as the pixels have it; writers mix up signed and unsigned ones."""
    if dataset.get("PixelRepresentation"):
        return (value + 2**15) % 2**16 - 2**15 if -(2**16) < value < 2**16 else value
    return value % 2**16 if value < 0 else value


def shown_levels(values: np.ndarray, counted: np.ndarray, dataset: Any) -> np.ndarray:
    """What stored values are shown as, before MONOCHROME1 is inverted.

    Args:
        values: (N,) int32, rising.
        counted: (N,) bool, those whose range is shown where no LUT and no window is given.
        dataset: with the image's header.

    Returns:
        (N,) float64 in 0..1.

    Raises:
        Exception: of any kind, if a LUT contradicts itself.
    """
    rescaled = _modality(values, dataset)
    if sequence := dataset.get("VOILUTSequence"):
        shown, white = _looked_up(rescaled, sequence[0], dataset)
        return np.clip(shown / white, 0.0, 1.0)
    if window := _window(dataset):
        return _windowed(rescaled, window, dataset)
    shown = rescaled[counted]
    if not shown.size or shown.min() == shown.max():
        return np.zeros(values.shape)
    return np.clip((rescaled - shown.min()) / (shown.max() - shown.min()), 0.0, 1.0)


def _modality(values: np.ndarray, dataset: Any) -> np.ndarray:
    """Values through the modality LUT or the rescale, float64."""
    if sequence := dataset.get("ModalityLUTSequence"):
        return _looked_up(values, sequence[0], dataset)[0]
    slope, intercept = (
        default if dataset.get(name) in _EMPTY else float(dataset.get(name))
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if not math.isfinite(slope * intercept) or slope == 0:
        raise ValueError(f"a rescale slope of {slope} and an intercept of {intercept} are no scale")
    return values * slope + intercept


def _window(dataset: Any) -> tuple[float, float] | None:
    """Centre and width of the first valid window."""
    least = 1.0 if _function(dataset) == "LINEAR" else math.nextafter(0.0, 1.0)
    pairs = zip(_list(dataset, "WindowCenter"), _list(dataset, "WindowWidth"), strict=False)
    for centre, width in pairs:
        if math.isfinite(centre) and math.isfinite(width) and width >= least:
            return centre, width
    return None


def _list(dataset: Any, name: str) -> list[float]:
    """The numbers of a field of one or several; NaN for what is none."""
    value = dataset.get(name)
    several = [] if value in _EMPTY else [value] if isinstance(value, str | float | int) else list(value)
    return [_number(each) for each in several]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _function(dataset: Any) -> str:
    return str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()


def _windowed(values: np.ndarray, window: tuple[float, float], dataset: Any) -> np.ndarray:
    """Values through a window, by pydicom's arithmetic, to 0..1."""
    bare = library("pydicom", "reading DICOM files").Dataset()  # without the fields that may be empty
    bare.PhotometricInterpretation, bare.VOILUTFunction = "MONOCHROME2", _function(dataset)
    bare.PixelRepresentation, bare.BitsStored = 0, 1  # so that 0..1 comes out
    bare.WindowCenter, bare.WindowWidth = window
    return np.asarray(library("pydicom.pixels", "reading DICOM files").apply_windowing(values, bare))


def _looked_up(values: np.ndarray, item: Any, dataset: Any) -> tuple[np.ndarray, float]:
    """Values through a LUT, and what it calls white; 0 is black.

    Not pydicom's functions: those of 3.0 index with the LUT's own type, so that 12-bit values wrap around in
    a LUT of 8-bit entries, and know no entries of 8 bits that are packed two a word, nor of 12 bits.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    if not 1 <= bits <= 16:
        raise ValueError(f"a LUT's entries have {bits} bits: expected 1 to 16")
    entries = entries % 2**16 or 2**16
    if dataset.get("PixelRepresentation") and first >= 2**15 and values.min() < 0:
        first -= 2**16
    table = _table(item.LUTData, entries, bits, dataset)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[index].astype(np.float64), 2.0**bits - 1.0


def _table(data: Any, entries: int, bits: int, dataset: Any) -> np.ndarray:
    """A LUT's entries, (entries,); those of 8 bits may be packed two a word, the first in the lower half."""
    if isinstance(data, bytes):
        little = getattr(dataset, "original_encoding", (None, True))[1] is not False
        words = np.frombuffer(data + b"\0" * (len(data) % 2), dtype="<u2" if little else ">u2")
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.int64).astype(np.uint16)
    if len(words) >= entries:
        return words[:entries]
    if bits <= 8 and 2 * len(words) >= entries:
        return words.astype("<u2").view(np.uint8)[:entries]
    raise ValueError(f"the LUT has {len(words)} entries, its descriptor says {entries}")
