"""Phantom-CT: seeded chest CT volumes in HU with reports, volume and text from one latent state.

`catalog` and `state` say what a phantom shows, `report` words it; `tissues`, `canvas` and `chest` are what
`trunk`, `lungs`, `lung_lesions`, `mediastinum`, `skeleton`, `abdomen` and `devices` draw with; `render` calls
them, and `scanner` ends.

It stands in for data that cannot be shared, as phantom-cxr does, so that the 3D path can be run and tested
offline.

Example:
    >>> from dataset_scripts.sources.phantoms.ct import make_study
    >>> study = make_study(0, seed=0, shape=(16, 32, 32))
    >>> study.study_id, study.volume.shape, study.volume.dtype.name
    ('phantom-ct-000000', (16, 32, 32), 'int16')
"""

from dataclasses import dataclass

import numpy as np

from dataset_scripts.sources.phantoms.state import nuisance_seed, stream, subject_number

from .catalog import ANATOMIES
from .render import MIN_SHAPE, render, spacing_of
from .report import write_report, writer
from .state import Build, PhantomCTState, Scan, normal_state, sample_state

__all__ = [
    "ANATOMIES",
    "MIN_SHAPE",
    "Build",
    "PhantomCTState",
    "PhantomCTStudy",
    "Scan",
    "make_study",
    "normal_state",
    "render",
    "sample_state",
    "spacing_of",
    "write_report",
    "writer",
]

SHAPE = (64, 96, 96)


@dataclass(frozen=True)
class PhantomCTStudy:
    """One study.

    Attributes:
        study_id, subject_id: names of the study and of its patient.
        volume: (D, H, W) int16 in HU; D from foot to head, H from front to back, W from the patient's right
            to the left.
        spacing_mm: (z, y, x), as the volume's axes.
        findings, impression: the report's two sections.
        state: what volume and report were both made from.
    """

    study_id: str
    subject_id: str
    volume: np.ndarray
    spacing_mm: tuple[float, float, float]
    findings: str
    impression: str
    state: PhantomCTState


def make_study(index: int, seed: int, shape: tuple[int, int, int] = SHAPE) -> PhantomCTStudy:
    """Study number `index` of a seed; depends on (seed, index, shape) alone.

    About 1.3 studies share a subject; those share the build, and their findings and scans are drawn anew.

    Raises:
        ValueError: if `index` or `seed` is negative or `shape` too small.
    """
    if index < 0 or seed < 0:
        raise ValueError(
            f"index is {index} and seed is {seed}, expected 0 or more: pass non-negative numbers."
        )
    state = sample_state(seed, index)
    report = write_report(state, stream(seed, index, "report"))
    return PhantomCTStudy(
        study_id=f"phantom-ct-{index:06d}",
        subject_id=f"c{subject_number(seed, index):06d}",
        volume=render(state, nuisance_seed(seed, index), shape),
        spacing_mm=spacing_of(state.scan, shape),
        findings=report.findings,
        impression=report.impression,
        state=state,
    )
