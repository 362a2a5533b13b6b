"""The latent state of a phantom study: per anatomy a finding and a degree, and the patient's build.

Image and report are both made from it and from nothing else, so that it is the gold standard for either.
"""

from dataclasses import dataclass

import numpy as np

from dataset_scripts.sources.phantoms.state import (
    Finding,
    LatentState,
    draw_findings,
    normal_findings,
    nuisance_seed,
    stream,
    subject_number,
)

from .catalog import ANATOMIES

__all__ = [
    "Finding",
    "Habitus",
    "PhantomState",
    "normal_state",
    "nuisance_seed",
    "sample_state",
    "stream",
    "subject_number",
]


@dataclass(frozen=True)
class Habitus:
    """The patient's build, the same in all studies of a subject.

    Attributes:
        female: whether breast shadows are drawn.
        bulk: 0 (thin) to 1 (obese).
        chest_width: factor on the width of the rib cage.
        chest_height: factor on the height of the lungs.
        bone_density: factor on the attenuation of bone.
        breast_size: 0 (small) to 1 (large); without effect unless `female`.
    """

    female: bool
    bulk: float
    chest_width: float
    chest_height: float
    bone_density: float
    breast_size: float


@dataclass(frozen=True)
class PhantomState(LatentState):
    """Latent state of one study: `findings` maps each anatomy of the catalog to its `Finding`."""

    catalog = ANATOMIES
    habitus: Habitus


def normal_state(habitus: Habitus | None = None) -> PhantomState:
    """A state without any finding, of a patient of average build unless `habitus` says otherwise."""
    return PhantomState(normal_findings(ANATOMIES), habitus or Habitus(False, 0.4, 1.0, 1.0, 1.0, 0.0))


def sample_state(seed: int, index: int) -> PhantomState:
    """The state of study `index`: anatomies drawn independently of each other, the habitus of its subject."""
    findings = draw_findings(ANATOMIES, stream(seed, index, "findings"))
    return PhantomState(findings, _draw_habitus(stream(seed, subject_number(seed, index), "habitus")))


def _draw_habitus(rng: np.random.Generator) -> Habitus:
    female = bool(rng.random() < 0.5)
    return Habitus(
        female=female,
        bulk=float(rng.beta(2.0, 2.6)),
        chest_width=float(np.clip(rng.normal(0.97 if female else 1.02, 0.035), 0.9, 1.09)),
        chest_height=float(np.clip(rng.normal(0.98 if female else 1.01, 0.035), 0.9, 1.08)),
        bone_density=float(rng.uniform(0.8, 1.2)),
        breast_size=float(rng.beta(2.0, 2.0)) if female else 0.0,
    )
