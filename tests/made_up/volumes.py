"""Made-up CT volumes in NIfTI files, with the stored values, scale and orientation that a test asks for."""

from pathlib import Path

import nibabel
import numpy as np

from modeling_radir.volumes import CANONICAL, Volume

# Along NIfTI's x, y, z (right, front, head): the step of an axis with this code.
_STEPS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def save_stored(
    path: Path, stored: np.ndarray, slope: float | None = None, inter: float | None = None
) -> Path:
    """A file with these stored (D, H, W) values and this scale in its header."""
    image = nibabel.Nifti1Image(stored.T, np.eye(4))
    image.header.set_slope_inter(1, 0)
    nibabel.save(image, path)
    if slope is not None:  # nibabel would rescale on saving: write the two header fields themselves
        content = bytearray(path.read_bytes())
        content[112:120] = np.array([slope, inter], dtype="<f4").tobytes()
        path.write_bytes(bytes(content))
    return path


def save_turned(path: Path, volume: Volume, codes: str = CANONICAL, turn: np.ndarray | None = None) -> Path:
    """The volume stored with its axes in another order and direction, under the affine that says so.

    Args:
        path: a `.nii` or `.nii.gz` file.
        volume: what is stored.
        codes: the directions in which D, H and W of the stored array grow.
        turn: (3, 3), turns the patient in the world of the scanner; None leaves it straight.
    """
    stored = volume.in_frame(codes)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (code, mm) in enumerate(zip(codes[::-1], stored.spacing_mm[::-1], strict=True)):  # X, Y, Z
        axis, sign = _STEPS[code]
        affine[axis, column] = sign * mm
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ affine[:3, :3]
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored.hu).T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path
