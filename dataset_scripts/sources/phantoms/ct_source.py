"""Phantom-CT as a source: study i depends on (seed, i, shape) alone, patients are split by hash."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import nibabel
import numpy as np

from dataset_scripts.sources.base import Geometry, ImageRecord, Sharing, option
from dataset_scripts.sources.phantoms.ct import PhantomCTStudy, make_study
from dataset_scripts.sources.phantoms.ct.render import check_shape
from dataset_scripts.sources.splits import split_of_subject

_GZIP_LEVEL = 1  # of noise, level 9 saves 2% and takes five times as long


@dataclass(frozen=True)
class PhantomCTSource:
    """Chest CT phantoms in HU with reports.

    Raises:
        ValueError: if a number is too small, or nibabel is not installed.
    """

    count: int = option("number of studies", default=400)
    slices: int = option("slices of a volume, from foot to head", default=64)
    size: int = option("rows and columns of a slice in voxels", default=96)
    seed: int = option("of the phantoms and of the split by patient", default=0)

    name: ClassVar = "phantom-ct"
    licence: ClassVar = "apache-2.0"
    homepage: ClassVar = "made by RadIR"
    sharing: ClassVar = Sharing.OPEN
    volumes: ClassVar = True
    label_anatomies: ClassVar[dict[str, str]] = {}
    label_origin: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, got {self.count}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        check_shape((self.slices, self.size, self.size))

    def tables(self) -> list[Path]:
        """None: nothing outside the program decides."""
        return []

    def jobs(self) -> Iterator[int]:
        """The studies' numbers."""
        yield from range(self.count)

    def read(self, job: int) -> list[ImageRecord]:
        """Make one study."""
        study = make_study(job, self.seed, (self.slices, self.size, self.size))
        record = ImageRecord(
            study_id=study.study_id,
            subject_id=study.subject_id,
            image_id=study.study_id,
            image=nifti_bytes(study),
            view="ct",
            report=f"FINDINGS: {study.findings}\nIMPRESSION: {study.impression}",
            findings=study.findings,
            impression=study.impression,
            split=split_of_subject(study.subject_id, self.seed),
            geometry=Geometry(study.spacing_mm),
        )
        return [record]


def nifti_bytes(study: PhantomCTStudy) -> bytes:
    """A study's volume as a `.nii.gz` file whose bytes depend on the study alone.

    The file's array is (X, Y, Z), the transposed volume, int16 in HU without any scaling. X grows to the
    patient's left, Y to the back and Z to the head ("LPS"); world coordinates are in mm, RAS+ as NIfTI has
    them, with the origin in the middle of the volume.
    """

    z, y, x = study.spacing_mm
    voxels = np.ascontiguousarray(study.volume.T)
    affine = np.diag((-x, -y, z, 1.0))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    return gzip.compress(image.to_bytes(), compresslevel=_GZIP_LEVEL, mtime=0)
