"""CT volumes: Hounsfield units with their spacing and orientation, from NIfTI files and DICOM series."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dicom import is_dicom
from .dicom_series import read_series
from .nifti import read_nifti
from .voxels import axis_order, check_codes

CANONICAL = "SPL"
NIFTI_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume in Hounsfield units.

    Attributes:
        hu: (D, H, W) whole numbers or floats, finite.
        spacing_mm: between voxels along D, H and W.
        axis_codes: the directions in which D, H and W grow: "SPL", what is assumed of an array, for sections
            from the feet to the head, rows from front to back, columns from the patient's right to the left,
            as a radiologist sees an axial scan. "" for unknown, which is taken for "SPL" as well.

    Raises:
        ValueError: if these do not describe a volume.

    Example:
        >>> Volume(np.zeros((2, 3, 4), np.int16), spacing_mm=(5, 1, 1)).in_frame("LPS").hu.shape
        (4, 3, 2)
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    axis_codes: str = CANONICAL

    def __post_init__(self) -> None:
        hu = np.asarray(self.hu)
        if hu.ndim != 3 or hu.size == 0 or hu.dtype.kind not in "iuf":
            raise ValueError(
                f"a volume has the shape {hu.shape} and type {hu.dtype}; numbers of the shape (D, H, W), at "
                "least one, are needed"
            )
        if (
            hu.dtype.kind == "f" and not np.isfinite([hu.min(), hu.max()]).all()
        ):  # both are NaN if one value is
            raise ValueError("a volume holds NaN or infinite values: replace them first")
        spacing = tuple(float(mm) for mm in self.spacing_mm)
        if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
            raise ValueError(
                f"a volume's spacing is {spacing}; three lengths in mm above 0, along depth, height and "
                "width, are needed: give spacing_mm"
            )
        if self.axis_codes:
            check_codes(self.axis_codes, "a volume's axis_codes")
        object.__setattr__(self, "hu", hu)
        object.__setattr__(self, "spacing_mm", spacing)

    def in_frame(self, codes: str = CANONICAL) -> "Volume":
        """The same volume with its axes in another order and direction; no voxel is copied or resampled.

        Args:
            codes: the directions in which D, H and W shall grow.
        """
        order, flipped = axis_order(self.axis_codes or CANONICAL, codes)
        turned = tuple(slice(None, None, -1 if flip else None) for flip in flipped)
        depth, height, width = (self.spacing_mm[axis] for axis in order)
        return Volume(self.hu.transpose(order)[turned], (depth, height, width), codes)


def read_volume(
    path: str | os.PathLike[str],
    spacing_mm: tuple[float, float, float] | None = None,
    rescale_slope: float | None = None,
    rescale_intercept: float | None = None,
) -> Volume:
    """Read a CT volume in Hounsfield units, from a NIfTI file, a DICOM series or an enhanced CT file.

    Values are scaled exactly once: by the header's scale, or by the one that is given, which then replaces
    the header's. Axes keep the file's order; the image processor brings them to one frame. An oblique volume
    is named after the nearest axes of the patient. A NIfTI file without any orientation gives axis_codes "".

    Args:
        path: a `.nii` or `.nii.gz` file, a folder with the files of one DICOM series, or a DICOM file with
            all of its slices as frames (enhanced CT).
        spacing_mm: along D, H and W, for a file whose header is wrong or blank.
        rescale_slope: HU = rescale_slope * stored + rescale_intercept, with the values as they are stored on
            the disk, for a file whose header is wrong or blank; both or neither.
        rescale_intercept: see there.

    Raises:
        ValueError: the path holds no volume, or one that cannot be read; the message names it.
        ImportError: nibabel or pydicom is needed and not installed.
    """
    path = Path(path)
    if (rescale_slope is None) != (rescale_intercept is None):
        raise ValueError("rescale_slope and rescale_intercept belong together: give both or neither")
    scale = None
    if rescale_slope is not None and rescale_intercept is not None:
        scale = (float(rescale_slope), float(rescale_intercept))
    try:
        hu, spacing, codes = read_series(path, scale) if path.is_dir() else _read_file(path, scale)
        return Volume(hu, spacing_mm or spacing, codes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened ({error.strerror}): check its permissions") from error


def _read_file(
    path: Path, scale: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float, float], str]:
    if not path.is_file():
        raise ValueError("there is no such file or folder: check the path")
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return read_nifti(path, scale)
    if is_dicom(path):
        return read_series(path, scale)
    raise ValueError(
        "this is no volume: a .nii or .nii.gz file, or a folder of one DICOM series, is needed; radiographs "
        "go through RadIRCXRImageProcessor"
    )
