"""Phantom-CXR as a source: study i depends on (seed, i, size) alone, patients are split by hash."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from dataset_scripts.sources.base import ImageRecord, Sharing, option
from dataset_scripts.sources.phantoms.cxr import make_study
from dataset_scripts.sources.splits import split_of_subject


@dataclass(frozen=True)
class PhantomCXRSource:
    """Chest X-ray phantoms with reports.

    Raises:
        ValueError: if a number is too small.
    """

    count: int = option("number of studies", default=2000)
    size: int = option("side of the square images in pixels", default=256)
    seed: int = option("of the phantoms and of the split by patient", default=0)

    name: ClassVar = "phantom-cxr"
    licence: ClassVar = "apache-2.0"
    homepage: ClassVar = "made by RadIR"
    sharing: ClassVar = Sharing.OPEN
    volumes: ClassVar = False
    label_anatomies: ClassVar[dict[str, str]] = {}
    label_origin: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, got {self.count}")
        make_study(0, self.seed, self.size)

    def tables(self) -> list[Path]:
        """None: nothing outside the program decides."""
        return []

    def jobs(self) -> Iterator[int]:
        """The studies' numbers."""
        yield from range(self.count)

    def read(self, job: int) -> list[ImageRecord]:
        """Make one study."""
        study = make_study(job, self.seed, self.size)
        encoded = io.BytesIO()
        Image.fromarray(study.image).save(encoded, format="PNG")
        record = ImageRecord(
            study_id=study.study_id,
            subject_id=study.subject_id,
            image_id=study.study_id,
            image=encoded.getvalue(),
            view="frontal",
            report=f"FINDINGS: {study.findings}\nIMPRESSION: {study.impression}",
            findings=study.findings,
            impression=study.impression,
            split=split_of_subject(study.subject_id, self.seed),
        )
        return [record]
