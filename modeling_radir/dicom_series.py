"""DICOM: a folder with the slices of a CT series, or an enhanced CT file -> a volume in Hounsfield units.

The values are HU where RescaleType says so or says nothing. US (unspecified) and other units are refused,
since nothing tells how far they are from HU, unless a scale is given. Padding becomes air.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dicom import check_size, is_dicom, open_dicom, stored_pixels
from .dicom_frames import FrameHeader, frame_headers, is_part
from .dicom_levels import padding
from .voxels import axis_codes, hounsfield

logger = logging.getLogger(__name__)

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR, the table of contents of a disc
_SAME_DIRECTION = 1e-3  # difference of direction cosines that writers round to
_UNEVEN = 0.2  # of the spacing: how far a slice may lie from its place, which covers rounded positions
_AIR = -1024  # HU of padding
_TILTED = 1.0  # degrees between the stack and the normal of its slices


@dataclass(frozen=True)
class _Slice:
    """What a slice's header says: where it lies, and all that must be the same for a whole series."""

    path: Path
    frame: int  # of the file, from 0
    name: str  # what messages call it
    header: FrameHeader
    position: np.ndarray  # (3,) mm, of the first pixel's centre
    directions: np.ndarray  # (2, 3), in which rows and columns follow one another
    pixel_mm: tuple[float, float]  # between rows, between columns; NaN where the header does not say
    thickness_mm: float
    shape: tuple[int, int]
    series: str


def read_series(
    folder: Path, scale: tuple[float, float] | None = None
) -> tuple[np.ndarray, tuple[float, float, float], str]:
    """Read the slices that lie directly in a folder; files that are no DICOM are left alone.

    The slices are sorted by their positions along their normal; their numbers and file names do not matter.
    Each is rescaled by its own header. A stack that is tilted against its slices (gantry tilt) is read as if
    it were upright, with a warning in the log. The frames of enhanced files are slices like others.

    Args:
        folder: with the files of one series; or one enhanced CT file.
        scale: slope and intercept for all stored values, instead of those of the headers.

    Returns:
        hu: (D, H, W), int16 where all HU are whole and fit, else float32; D grows along the slices' normal.
        spacing_mm: (D, H, W), NaN where the headers do not say.
        codes: where D, H and W grow.

    Raises:
        ValueError: the folder holds no series, several, no CT, or one with missing, doubled or uneven
            slices, or a file is damaged.
        ImportError: pydicom is not installed.
    """
    files = [folder] if folder.is_file() else _files(folder)
    slices = [each for path in files for each in _slices(path, alone=folder.is_file())]
    _check_one_series(slices)
    rows, columns = slices[0].directions
    normal = _normal(rows, columns)
    slices.sort(key=lambda each: float(each.position @ normal))
    spacing = _slice_spacing(slices, normal)
    _warn_of_tilt(slices, normal, folder)
    pixels: dict[Path, np.ndarray] = {}  # of files of several frames, which are decoded once
    hu = np.stack([_rescaled(each, scale, pixels) for each in slices])
    return hu, (spacing, *slices[0].pixel_mm), axis_codes(np.stack([normal, rows, columns]))


def _files(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    found = [path for path in files if path.name.upper() != "DICOMDIR" and is_dicom(path)]
    if not found:
        deeper = any(path.is_dir() for path in folder.iterdir())
        advice = (
            "give the folder below it that holds the slices" if deeper else "give the folder of one series"
        )
        raise ValueError(f"the folder holds no DICOM files: {advice}, or a NIfTI file")
    return found


def _slices(path: Path, alone: bool) -> list[_Slice]:
    """The slice that a file holds, or the slices of its frames."""
    try:
        dataset = open_dicom(path, stop_before_pixels=True)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    try:
        headers = frame_headers(dataset)
        if alone and len(headers) == 1:
            raise ValueError("one DICOM file is one slice: give the folder that holds the whole series")
        if alone and is_part(dataset):
            raise ValueError("holds a part of the frames: give the folder that holds all parts")
    except ValueError as error:
        raise error if alone else ValueError(f"{path.name} {error}") from error
    names = [path.name] if len(headers) == 1 else [f"frame {i}" for i in range(1, len(headers) + 1)]
    if not alone and len(headers) > 1:
        names = [f"{path.name}, {name}" for name in names]
    return [_slice(path, frame, *each) for frame, each in enumerate(zip(names, headers, strict=True))]


def _slice(path: Path, frame: int, name: str, header: FrameHeader) -> _Slice:
    _check_slice(header, name)
    orientation = _numbers(header, "ImageOrientationPatient", 6, name)
    try:
        spacing = header.get("PixelSpacing") or (math.nan, math.nan)
        rows_mm, columns_mm = (float(mm) for mm in spacing)
        thickness = float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or math.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} has a spacing or thickness that is no number: its header is damaged"
        ) from error
    return _Slice(
        path=path,
        frame=frame,
        name=name,
        header=header,
        position=_numbers(header, "ImagePositionPatient", 3, name),
        directions=np.stack([orientation[3:], orientation[:3]]),
        pixel_mm=(rows_mm, columns_mm),
        thickness_mm=abs(thickness),
        shape=(int(header.get("Rows")), int(header.get("Columns"))),
        series=str(header.get("SeriesInstanceUID", "")),
    )


def _check_slice(header: FrameHeader, name: str) -> None:
    """What one slice must be, whatever the others are."""
    if header.get("SOPClassUID") == _DIRECTORY:
        raise ValueError(f"{name} is a table of contents: remove it from the folder")
    if (modality := header.get("Modality")) != "CT":
        raise ValueError(f"{name} is of the modality {modality}: CT is needed")
    if any("LOCALIZER" in (header.get(kind) or ()) for kind in ("ImageType", "FrameType")):
        raise ValueError(f"{name} is a localizer, no slice of the volume: remove it from the folder")
    if header.get("PhotometricInterpretation") != "MONOCHROME2" or not header.get("Rows"):
        raise ValueError(f"{name} holds no grey image (MONOCHROME2): a CT slice is needed")
    try:
        check_size(header)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _numbers(header: FrameHeader, field: str, count: int, name: str) -> np.ndarray:
    values = header.get(field)
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{name} has no usable {field}: without it the slices cannot be put in order")
    return numbers


def _check_one_series(slices: Sequence[_Slice]) -> None:
    """Make sure that all slices are of one series, one size and one orientation."""
    count = len({each.series for each in slices})
    if count > 1:
        raise ValueError(f"the folder holds slices of {count} series: give each series a folder of its own")
    first = slices[0]
    checks: dict[str, Callable[[_Slice], bool]] = {
        "number of rows and columns": lambda each: each.shape == first.shape,
        "pixel spacing": lambda each: np.allclose(
            each.pixel_mm, first.pixel_mm, rtol=1e-4, atol=0, equal_nan=True
        ),
        "orientation": lambda each: np.allclose(
            each.directions, first.directions, rtol=0, atol=_SAME_DIRECTION
        ),
    }
    for what, same in checks.items():
        for each in slices:
            if not same(each):
                raise ValueError(
                    f"{each.name} has another {what} than {first.name}: the slices make no volume"
                )


def _normal(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The unit vector that completes the directions of columns and rows to a right-handed three."""
    normal = np.cross(columns, rows)
    lengths = [float(np.linalg.norm(each)) for each in (rows, columns, normal)]
    if not np.allclose(lengths, 1, rtol=0, atol=0.05):
        raise ValueError(
            "ImageOrientationPatient is no pair of perpendicular directions: the header is wrong"
        )
    return normal / lengths[2]


def _slice_spacing(slices: Sequence[_Slice], normal: np.ndarray) -> float:
    """The distance between slices in mm, of slices in order; even, without gaps and doublets."""
    if len(slices) == 1:
        return slices[0].thickness_mm
    places = np.array([each.position @ normal for each in slices])
    gaps = np.diff(places)
    spacing = float(gaps.mean())
    usual = float(np.median(gaps))
    same, wide = int(gaps.argmin()), int(gaps.argmax())
    if gaps[same] < 1e-3 * max(spacing, 1e-3):
        raise ValueError(
            f"{slices[same].name} and {slices[same + 1].name} lie at the same place: the folder "
            "holds slices twice, or several scans"
        )
    if np.abs(places - places[0] - spacing * np.arange(len(places))).max() <= _UNEVEN * spacing:
        return spacing
    between = f"between {slices[wide].name} and {slices[wide + 1].name} are {gaps[wide]:.2f} mm"
    if gaps[wide] > 1.5 * usual:
        raise ValueError(f"slices are missing: {between}, elsewhere {usual:.2f} mm; get the whole series")
    raise ValueError(
        f"the slices are not evenly spaced, from {gaps[same]:.2f} to {gaps[wide]:.2f} mm apart: resample the "
        "series to an even spacing first"
    )


def _warn_of_tilt(slices: Sequence[_Slice], normal: np.ndarray, folder: Path) -> None:
    if len(slices) < 2:
        return
    along = slices[-1].position - slices[0].position
    cosine = float(along @ normal / np.linalg.norm(along))
    tilt = math.degrees(math.acos(min(1.0, cosine)))
    if tilt > _TILTED:
        logger.warning("%s: tilted by %.1f degrees against its slices; read as if upright", folder, tilt)


def _rescaled(each: _Slice, scale: tuple[float, float] | None, pixels: dict[Path, np.ndarray]) -> np.ndarray:
    """One slice in HU, by its own header unless a scale is given; `pixels` grows with what is decoded."""
    try:
        stored = _stored(each, pixels)
        hu = hounsfield(stored[None], *(_scale(each.header) if scale is None else scale))[0]
        padded = padding(stored, each.header)
        return np.where(padded, hu.dtype.type(_AIR), hu) if padded.any() else hu
    except ValueError as error:
        raise ValueError(f"{each.name}: {error}") from error


def _stored(each: _Slice, pixels: dict[Path, np.ndarray]) -> np.ndarray:
    if each.path not in pixels:
        found = stored_pixels(open_dicom(each.path))
        if found.ndim == 2:
            return found
        pixels[each.path] = found
    frames = pixels[each.path]
    if frames.shape[1:] != each.shape or each.frame >= len(frames):
        raise ValueError("the DICOM file's pixels are not of the shape that its header says")
    return frames[each.frame]


def _scale(header: FrameHeader) -> tuple[float, float]:
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None or intercept is None:
        raise ValueError(
            "the header has no RescaleSlope and RescaleIntercept: give rescale_slope and _intercept"
        )
    if (unit := str(header.get("RescaleType") or "HU").strip().upper()) != "HU":
        raise ValueError(f"the values are in {unit}, not HU: give rescale_slope and rescale_intercept")
    try:
        return float(slope), float(intercept)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a rescale slope of {slope} and an intercept of {intercept} are no scale"
        ) from error
