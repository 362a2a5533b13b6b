"""Phantom-CXR: seeded frontal chest radiographs with reports, image and text from one latent state.

It stands in for data that cannot be shared: for tests, for the demo and for measurements with a known truth.

Example:
    >>> from dataset_scripts.phantom_cxr import generate
    >>> study = next(generate(count=1, seed=0, size=64))
    >>> study.study_id, study.image.shape, sorted(study.state.findings)[0]
    ('phantom-000000', (64, 64), 'aorta')
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .catalog import ANATOMIES, NORMAL, AnatomySpec, FindingSpec
from .render import MIN_SIZE, render
from .report import Report, key_words, write_report
from .state import (
    Finding,
    Habitus,
    PhantomState,
    make_finding,
    normal_state,
    nuisance_seed,
    sample_state,
    stream,
    subject_number,
)

__all__ = [
    "ANATOMIES",
    "NORMAL",
    "AnatomySpec",
    "Finding",
    "FindingSpec",
    "Habitus",
    "PhantomState",
    "PhantomStudy",
    "Report",
    "generate",
    "key_words",
    "make_finding",
    "make_study",
    "normal_state",
    "render",
    "sample_state",
    "write_report",
]


@dataclass(frozen=True)
class PhantomStudy:
    """One study: image (H, W) uint8, the report's two sections and the state that both were made from."""

    study_id: str
    subject_id: str
    image: np.ndarray
    findings: str
    impression: str
    state: PhantomState


def make_study(index: int, seed: int, size: int = 256) -> PhantomStudy:
    """Study number `index` of a seed; depends on (seed, index, size) alone.

    Raises:
        ValueError: if `index` or `seed` is negative or `size` below 64.
    """
    if index < 0 or seed < 0:
        raise ValueError(
            f"index is {index} and seed is {seed}, expected 0 or more: pass non-negative numbers."
        )
    state = sample_state(seed, index)
    report = write_report(state, stream(seed, index, "report"))
    return PhantomStudy(
        study_id=f"phantom-{index:06d}",
        subject_id=f"p{subject_number(seed, index):06d}",
        image=render(state, nuisance_seed(seed, index), size),
        findings=report.findings,
        impression=report.impression,
        state=state,
    )


def generate(count: int, seed: int, size: int = 256) -> Iterator[PhantomStudy]:
    """Yields `count` studies one by one; study i is the same whatever the count.

    About 1.3 studies share a subject; those share the habitus, and their findings are drawn anew.

    Args:
        count: number of studies.
        seed: seed of everything, not negative.
        size: side of the square images in pixels, at least 64.

    Raises:
        ValueError: at once, if `count` or `seed` is negative or `size` below 64.
    """
    if count < 0 or seed < 0 or size < MIN_SIZE:
        raise ValueError(
            f"count is {count}, seed {seed} and size {size}, expected count and seed of 0 or more and a size "
            f"of {MIN_SIZE} or more: change the one that is too small."
        )
    return (make_study(index, seed, size) for index in range(count))
