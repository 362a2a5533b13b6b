"""Phantom-CXR: seeded frontal chest radiographs with reports, image and text from one latent state.

`catalog` and `state` say what a phantom shows, `report` words it; `geometry` and `primitives` are what
`body`, `skeleton`, `lesions` and `devices` draw with; `render` calls them, and `detector` exposes.

It stands in for data that cannot be shared: for tests, for the demo and for measurements with a known truth.

Example:
    >>> from dataset_scripts.sources.phantoms.cxr import make_study
    >>> study = make_study(0, seed=0, size=64)
    >>> study.study_id, study.image.shape, sorted(study.state.findings)[0]
    ('phantom-000000', (64, 64), 'aorta')
"""

from dataclasses import dataclass

import numpy as np

from .catalog import ANATOMIES, NORMAL, AnatomySpec, FindingSpec
from .render import render
from .report import Report, key_words, write_report
from .state import (
    Finding,
    Habitus,
    PhantomState,
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
    "key_words",
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

    About 1.3 studies share a subject; those share the habitus, and their findings are drawn anew.

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
