"""CT volumes in NIfTI files: what the header says, and whether the file is whole and finite.

Axes and frame: a NIfTI array is (X, Y, Z) with X running fastest; every shape and spacing here is (D, H, W),
that is (z, y, x), the same memory seen in the opposite order. The voxels are read by
`modeling_radir.volumes.read_volume`, told by a record's `Geometry` how.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from dataset_scripts.sources.base import Geometry

_SLAB_BYTES = 64 * 2**20  # decompressed at once by the search for NaN
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # of NIfTI's units of length: metre, mm, micron
# What a damaged file raises, by where it is hit.
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, OverflowError)


class UnusableVolumeError(ValueError):
    """A volume that cannot be read as one, with the reason apart from the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class VolumeHeader:
    """What a NIfTI header says, without any voxel read.

    Attributes:
        shape: (D, H, W).
        dtype: of the stored values.
        spacing_mm: (D, H, W) as the header has it, unchecked; (1, 1, 1) where it was left blank.
        slope: the header's own scale; 1 where it has none.
        intercept: 0 where it has none.
        axis_codes: the directions in which D, H and W grow, "SPL" for a volume stored in LPS order; ""
            where the header gives no orientation.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    spacing_mm: tuple[float, float, float]
    slope: float
    intercept: float
    axis_codes: str

    @property
    def has_spacing(self) -> bool:
        """Whether someone has filled in a spacing: it is usable, and not all ones."""
        return all(math.isfinite(mm) and mm > 0 for mm in self.spacing_mm) and set(self.spacing_mm) != {1.0}


def inspect_volume(path: Path) -> VolumeHeader:
    """Read a header, and see from the file's end that all of the data is there.

    A gzip file's last four bytes are its decompressed length, so this costs two small reads whatever the
    volume's size; only where they disagree is the file decompressed, to be sure.

    Args:
        path: a `.nii` or `.nii.gz` file.

    Raises:
        UnusableVolumeError: the file is missing, damaged, truncated, or no volume of real numbers.
    """
    image = _load(path)
    proxy = image.dataobj
    size = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
    if not _holds(path, size):
        raise UnusableVolumeError(
            path, f"the file is truncated or damaged: it does not hold the {size} bytes of its header"
        )
    unit = _MM.get(int(image.header["xyzt_units"]) & 7, 1.0)  # others are taken for mm
    x, y, z = (float(zoom) * unit for zoom in image.header.get_zooms()[:3])
    oriented = image.header["qform_code"] > 0 or image.header["sform_code"] > 0
    width, height, depth = proxy.shape[:3]
    return VolumeHeader(
        shape=(depth, height, width),
        dtype=proxy.dtype,
        spacing_mm=(z, y, x),
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
        axis_codes="".join(map(str, _axis_codes(image.affine)))[::-1] if oriented else "",
    )


def geometry_from_header(header: VolumeHeader) -> Geometry:
    """The geometry of a file whose header is right: its spacing and its scale, (1, 0) where it has none."""
    return Geometry(header.spacing_mm, header.slope, header.intercept)


def has_nonfinite(path: Path) -> bool:
    """Whether a volume holds NaN or infinite values; whole numbers cannot, and are not read.

    Floats are read slab by slab, in memory that does not depend on the volume's size.

    Raises:
        UnusableVolumeError: the data cannot be read.
    """
    proxy = _stored(path)
    if proxy.dtype.kind != "f":
        return False
    depth = proxy.shape[2]
    step = max(1, _SLAB_BYTES * depth // max(1, math.prod(proxy.shape) * proxy.dtype.itemsize))
    try:
        return any(not np.isfinite(proxy[..., start : start + step]).all() for start in range(0, depth, step))
    except _DAMAGE as error:
        raise UnusableVolumeError(path, f"the file is damaged: {error}") from error


def _axis_codes(affine: np.ndarray) -> tuple[str, ...]:
    return tuple(nibabel.aff2axcodes(affine))


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UnusableVolumeError(path, "the file is missing")
    try:
        image = nibabel.load(path)
    except (*_DAMAGE, nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise UnusableVolumeError(path, "the file is no readable NIfTI volume") from error
    if not isinstance(image, nibabel.Nifti1Image):  # Nifti2Image is one, too
        raise UnusableVolumeError(path, "the file is no readable NIfTI volume")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        raise UnusableVolumeError(path, f"the array is not one 3D volume: its shape is {shape}")
    if dtype.kind not in "iuf":
        raise UnusableVolumeError(path, f"the volume does not store real numbers: its type is {dtype}")
    return image


def _stored(path: Path) -> Any:
    """The (X, Y, Z) values on the disk, which nibabel reads without the scale in the header."""
    proxy = _load(path).dataobj
    spec = (proxy.shape[:3], proxy.dtype, proxy.offset)
    return nibabel.arrayproxy.ArrayProxy(str(path), spec, keep_file_open=True)


def _holds(path: Path, size: int) -> bool:
    """Whether a file holds `size` bytes, once decompressed."""
    if not path.name.lower().endswith(".gz"):
        return path.stat().st_size >= size
    with path.open("rb") as handle:
        handle.seek(-4, 2)
        stated = int.from_bytes(handle.read(4), "little")
    # Bytes after the data, or several gzip members (as bgzip writes them), are no damage.
    return stated == size % 2**32 or any(total >= size for total in _decompressed(path))


def _decompressed(path: Path) -> Iterator[int]:
    """The number of bytes decompressed so far, until the end or the damage."""
    total = 0
    try:
        with gzip.open(path) as handle:
            while chunk := handle.read(2**24):
                total += len(chunk)
                yield total
    except _DAMAGE:
        return
