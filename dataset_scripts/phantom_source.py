"""Phantom-CXR as a source of records: studies made on all cores, split by subject."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import ClassVar

from PIL import Image

from dataset_scripts.phantom_cxr import make_study
from dataset_scripts.records import ImageRecord
from dataset_scripts.splits import split_of_subject

_CHUNK = 25  # studies a worker makes before it asks for more


@dataclass(frozen=True)
class PhantomCXRSource:
    """`count` chest X-ray phantoms with reports.

    Args:
        count: number of studies.
        size: side of the square images in pixels.
        seed: of the phantoms and of the split.

    Raises:
        ValueError: if a number is too small.
    """

    count: int = 2000
    size: int = 256
    seed: int = 0

    name = "phantom-cxr"
    licence = "apache-2.0"
    label_anatomies: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, got {self.count}")
        make_study(0, self.seed, self.size)

    def records(self) -> Iterator[ImageRecord]:
        """Yield the studies in order; study i depends on (seed, i, size) alone."""
        make = partial(_record, seed=self.seed, size=self.size)
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            yield from pool.map(make, range(self.count), chunksize=_CHUNK)


def _record(index: int, seed: int, size: int) -> ImageRecord:
    study = make_study(index, seed, size)
    encoded = io.BytesIO()
    Image.fromarray(study.image).save(encoded, format="PNG")
    return ImageRecord(
        study_id=study.study_id,
        subject_id=study.subject_id,
        image_id=study.study_id,
        image=encoded.getvalue(),
        view="frontal",
        report=f"FINDINGS: {study.findings}\nIMPRESSION: {study.impression}",
        findings=study.findings,
        impression=study.impression,
        split=split_of_subject(study.subject_id, seed),
    )
