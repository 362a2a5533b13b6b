"""NIfTI: one CT volume as arrays. Its (X, Y, Z) array, X fastest, is seen as (D, H, W) = (z, y, x)."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .checks import library
from .voxels import axis_codes, hounsfield

_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # of NIfTI's units of length: metre, mm, micron
# What a damaged file raises, by where it is hit.
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, OverflowError)
MAX_VOXELS = 2**31  # 4 GB of 16 bits; 2,000 slices of 1,024 x 1,024
_DEFLATED = 1032  # bytes at most that one byte of a gzip file becomes
_TO_DICOM = np.array([-1.0, -1.0, 1.0])  # NIfTI's x runs to the right and y to the front


def read_nifti(
    path: Path, scale: tuple[float, float] | None = None
) -> tuple[np.ndarray, tuple[float, float, float], str]:
    """Read a `.nii` or `.nii.gz` file.

    Args:
        path: the file.
        scale: slope and intercept for the values as they are stored on the disk, instead of the header's.

    Returns:
        hu: (D, H, W), int16 where all HU are whole and fit, else float32, in the file's own axis order.
        spacing_mm: (D, H, W), the lengths of the affine's columns; without an orientation the header's zooms.
        codes: where D, H and W grow; "" where the header gives no orientation.

    Raises:
        ValueError: the file is damaged, holds less than its header promises, which is found before memory is
            taken for it, more than 2**31 voxels, or no single volume of real numbers.
        ImportError: nibabel is not installed.
    """
    image = _load(path)
    spacing_mm, codes = _geometry(image)
    proxy = image.dataobj
    _check_size(path, proxy)
    try:
        stored = np.asarray(proxy.get_unscaled())
    except _DAMAGE as error:
        raise ValueError("the file is damaged or truncated: its voxels cannot be read") from error
    slope, intercept = scale or (float(proxy.slope), float(proxy.inter))
    return hounsfield(stored.reshape(image.shape[:3], order="F").T, slope, intercept), spacing_mm, codes


def _load(path: Path) -> Any:
    nibabel = library("nibabel", "reading NIfTI files")
    unreadable = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError)
    try:
        image = nibabel.load(path)
    except (*_DAMAGE, *unreadable) as error:
        raise ValueError("the file is no readable NIfTI volume: damaged, or no NIfTI") from error
    if not isinstance(image, nibabel.Nifti1Image):  # Nifti2Image is one, too
        raise ValueError("the file is no readable NIfTI volume: it is of another format")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        raise ValueError(
            f"the file does not hold one 3D volume: its shape is {shape}; give one volume a file"
        )
    if dtype.kind not in "iuf":
        raise ValueError(f"the file does not hold real numbers: its type is {dtype}; CT is needed")
    return image


def _check_size(path: Path, proxy: Any) -> None:
    """Refuse a file of which the header promises more than there is, or more than is read."""
    voxels = math.prod(proxy.shape)
    size = proxy.offset + voxels * proxy.dtype.itemsize
    if voxels > MAX_VOXELS:
        raise ValueError(f"the header says {proxy.shape}, {voxels:,} voxels: {MAX_VOXELS:,} at most are read")
    if not _holds(path, size):
        raise ValueError(
            f"the file is damaged or truncated: it does not hold the {size:,} bytes of its header"
        )


def _holds(path: Path, size: int) -> bool:
    """Whether a file holds `size` bytes, once decompressed; a gzip file says so at its end."""
    on_disk = path.stat().st_size
    if not path.name.lower().endswith(".gz"):
        return on_disk >= size
    if on_disk * _DEFLATED < size:
        return False
    with path.open("rb") as handle:
        handle.seek(-4, 2)
        stated = int.from_bytes(handle.read(4), "little")
    return stated == size % 2**32 or _decompressed(path, size) >= size  # several members, or bytes behind


def _decompressed(path: Path, enough: int) -> int:
    """The number of bytes up to the end, the damage, or what is enough."""
    total = 0
    try:
        with gzip.open(path) as handle:
            while total < enough and (chunk := handle.read(2**24)):
                total += len(chunk)
    except _DAMAGE:
        pass
    return total


def _geometry(image: Any) -> tuple[tuple[float, float, float], str]:
    """Spacing and codes, both in the order of (D, H, W)."""
    header = image.header
    unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)  # others are taken for mm
    x, y, z = (float(zoom) for zoom in header.get_zooms()[:3])
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        return (z * unit, y * unit, x * unit), ""
    columns = image.affine[:3, :3].T[::-1]  # row i: the step along D, H, W in NIfTI's world
    z, y, x = (float(length) for length in np.linalg.norm(columns, axis=1))
    return (z * unit, y * unit, x * unit), axis_codes(columns * _TO_DICOM)
