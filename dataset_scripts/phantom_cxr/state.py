"""The latent state of a phantom study: per anatomy a finding and a degree, and the patient's build.

Image and report are both made from it and from nothing else, so that it is the gold standard for either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .catalog import ANATOMIES, NORMAL, AnatomySpec

_STREAMS = {"subject": 1, "habitus": 2, "findings": 3, "nuisance": 4, "report": 5}
_SUBJECTS_PER_BLOCK = 10
_MULTIPLICITIES = ((1, 1, 1, 1, 1, 1, 1, 2, 2, 2), (1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
_STUDIES_PER_BLOCK = 13  # ten subjects with 1.3 studies each


@dataclass(frozen=True)
class Finding:
    """What one anatomy shows; `name` is "normal" where nothing, `degree` is "" where the finding has none."""

    anatomy: str
    name: str
    degree: str = ""

    @property
    def is_normal(self) -> bool:
        """Whether the anatomy shows nothing abnormal."""
        return self.name == NORMAL


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
class PhantomState:
    """Latent state of one study: `findings` maps each anatomy of the catalog to its `Finding`."""

    findings: Mapping[str, Finding]
    habitus: Habitus

    def with_finding(self, anatomy: str, name: str = NORMAL, degree: str = "") -> "PhantomState":
        """The same state with another finding of one anatomy.

        Raises:
            ValueError: for an anatomy, a finding or a degree that the catalog does not hold.
        """
        findings = {**self.findings, anatomy: make_finding(anatomy, name, degree)}
        return PhantomState(MappingProxyType(findings), self.habitus)


def make_finding(anatomy: str, name: str = NORMAL, degree: str = "") -> Finding:
    """A finding, checked against the catalog.

    Raises:
        ValueError: for an anatomy, a finding or a degree that the catalog does not hold.
    """
    if anatomy not in ANATOMIES:
        raise ValueError(f"no phantom anatomy is called {anatomy!r}: choose one of {', '.join(ANATOMIES)}.")
    degrees = {spec.name: spec.degrees for spec in ANATOMIES[anatomy].findings} | {NORMAL: ()}
    if name not in degrees:
        raise ValueError(f"{anatomy} has no finding {name!r}: choose one of {', '.join(degrees)}.")
    allowed = degrees[name] or ("",)
    if degree not in allowed:
        raise ValueError(f"{name} of {anatomy} has no degree {degree!r}: choose one of {allowed}.")
    return Finding(anatomy, name, degree)


def normal_state(habitus: Habitus | None = None) -> PhantomState:
    """A state without any finding, of a patient of average build unless `habitus` says otherwise."""
    habitus = habitus or Habitus(False, 0.4, 1.0, 1.0, 1.0, 0.0)
    return PhantomState(MappingProxyType({name: make_finding(name) for name in ANATOMIES}), habitus)


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """The random generator of one purpose for one study (or block or subject) number."""
    return np.random.default_rng([seed, index, _STREAMS[purpose]])


def sample_state(seed: int, index: int) -> PhantomState:
    """The state of study `index`: anatomies drawn independently of each other, the habitus of its subject."""
    rng = stream(seed, index, "findings")
    findings = {name: _draw_finding(spec, rng) for name, spec in ANATOMIES.items()}
    return PhantomState(
        MappingProxyType(findings), _draw_habitus(stream(seed, subject_number(seed, index), "habitus"))
    )


def subject_number(seed: int, index: int) -> int:
    """The number of the subject of study `index`.

    Every block of 13 studies holds ten subjects, shuffled, so that the answer needs no other study.
    """
    block, place = divmod(index, _STUDIES_PER_BLOCK)
    rng = stream(seed, block, "subject")
    counts = _MULTIPLICITIES[int(rng.integers(len(_MULTIPLICITIES)))]
    members = rng.permutation(np.repeat(np.arange(_SUBJECTS_PER_BLOCK), counts))
    return block * _SUBJECTS_PER_BLOCK + int(members[place])


def nuisance_seed(seed: int, index: int) -> int:
    """The seed of everything in the image of study `index` that the report does not speak of."""
    return int(stream(seed, index, "nuisance").integers(2**32))


def _draw_finding(spec: AnatomySpec, rng: np.random.Generator) -> Finding:
    chance, which, degree = rng.random(3)
    if chance < spec.normal_chance:
        return Finding(spec.name, NORMAL)
    weights = np.cumsum([finding.weight for finding in spec.findings])
    chosen = spec.findings[int(np.searchsorted(weights, which * weights[-1], side="right"))]
    if not chosen.degrees:
        return Finding(spec.name, chosen.name)
    return Finding(spec.name, chosen.name, chosen.degrees[int(degree * len(chosen.degrees))])


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
