"""DICOM: a folder with the slices of one CT series -> one volume in Hounsfield units."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dicom import is_dicom, open_dicom, stored_pixels
from .voxels import axis_codes, hounsfield

logger = logging.getLogger(__name__)

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR, the table of contents of a disc
_SAME_DIRECTION = 1e-3  # difference of direction cosines that writers round to
_UNEVEN = 0.2  # of the spacing: how far a slice may lie from its place, which covers rounded positions
_TILTED = 1.0  # degrees between the stack and the normal of its slices


@dataclass(frozen=True)
class _Slice:
    """What a slice's header says: where it lies, and all that must be the same for a whole series."""

    path: Path
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
    it were upright, with a warning in the log.

    Args:
        folder: with the files of one series.
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
    slices = [_header(path) for path in _files(folder)]
    _check_one_series(slices)
    rows, columns = slices[0].directions
    normal = _normal(rows, columns)
    slices.sort(key=lambda each: float(each.position @ normal))
    spacing = _slice_spacing(slices, normal)
    _warn_of_tilt(slices, normal, folder)
    hu = np.stack([_rescaled(each.path, scale) for each in slices])
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


def _header(path: Path) -> _Slice:
    try:
        dataset = open_dicom(path, stop_before_pixels=True)
    except ValueError as error:
        raise ValueError(f"{path.name} is {error}") from error
    _check_slice(dataset, path.name)
    orientation = _numbers(dataset, "ImageOrientationPatient", 6, path.name)
    pixel_mm = [float(mm) for mm in dataset.get("PixelSpacing") or (math.nan, math.nan)]
    return _Slice(
        path=path,
        position=_numbers(dataset, "ImagePositionPatient", 3, path.name),
        directions=np.stack([orientation[3:], orientation[:3]]),
        pixel_mm=(pixel_mm[0], pixel_mm[1]),
        thickness_mm=float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or math.nan),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        series=str(dataset.get("SeriesInstanceUID", "")),
    )


def _check_slice(dataset: Any, name: str) -> None:
    """What one slice must be, whatever the others are."""
    if dataset.get("SOPClassUID") == _DIRECTORY:
        raise ValueError(f"{name} is a table of contents: remove it from the folder")
    if (modality := dataset.get("Modality")) != "CT":
        raise ValueError(f"{name} is of the modality {modality}: CT is needed")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise ValueError(f"{name} holds several frames (enhanced CT): export single slices, or NIfTI")
    if "LOCALIZER" in (dataset.get("ImageType") or ()):
        raise ValueError(f"{name} is a localizer, no slice of the volume: remove it from the folder")
    if dataset.get("PhotometricInterpretation") != "MONOCHROME2" or not dataset.get("Rows"):
        raise ValueError(f"{name} holds no grey image (MONOCHROME2): a CT slice is needed")


def _numbers(dataset: Any, field: str, count: int, name: str) -> np.ndarray:
    values = dataset.get(field)
    if values is None or len(values) != count or not np.isfinite(np.array(values, dtype=float)).all():
        raise ValueError(f"{name} has no usable {field}: without it the slices cannot be put in order")
    return np.array(values, dtype=float)


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
                    f"{each.path.name} has another {what} than {first.path.name}: the slices make no volume"
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
            f"{slices[same].path.name} and {slices[same + 1].path.name} lie at the same place: the folder "
            "holds slices twice, or several scans"
        )
    if np.abs(places - places[0] - spacing * np.arange(len(places))).max() <= _UNEVEN * spacing:
        return spacing
    between = f"between {slices[wide].path.name} and {slices[wide + 1].path.name} are {gaps[wide]:.2f} mm"
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


def _rescaled(path: Path, scale: tuple[float, float] | None) -> np.ndarray:
    """One slice in HU, by its own header unless a scale is given."""
    try:
        dataset = open_dicom(path)
        if scale is None:
            scale = _scale(dataset)
        return hounsfield(stored_pixels(dataset)[None], *scale)[0]
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _scale(dataset: Any) -> tuple[float, float]:
    if dataset.get("RescaleSlope") is None or dataset.get("RescaleIntercept") is None:
        raise ValueError(
            "the header has no RescaleSlope and RescaleIntercept: give rescale_slope and _intercept"
        )
    if (unit := dataset.get("RescaleType") or "HU") != "HU":
        raise ValueError(f"the values are in {unit}, not HU: give rescale_slope and rescale_intercept")
    return float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
