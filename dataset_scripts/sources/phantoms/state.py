"""What all phantoms share of their latent state: findings, their catalog, random streams and subjects.

A phantom's state holds one finding for each anatomy of a catalog, drawn independently of each other. Image
and report are both made from it and from nothing else, so that it is the gold standard for either.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np

NORMAL = "normal"
_STREAMS = {"subject": 1, "habitus": 2, "findings": 3, "nuisance": 4, "report": 5, "scan": 6}
_SUBJECTS_PER_BLOCK = 10
_MULTIPLICITIES = ((1, 1, 1, 1, 1, 1, 1, 2, 2, 2), (1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
_STUDIES_PER_BLOCK = 13  # ten subjects with 1.3 studies each


@dataclass(frozen=True)
class FindingSpec:
    """One abnormal finding of an anatomy.

    Attributes:
        name: the finding, e.g. "effusion".
        degrees: its degrees, mildest first; empty where the finding has none.
        weight: its share among the abnormal findings of the anatomy (relative, need not sum to 1).
        sizes_mm: smallest and largest size for each degree (one pair without degrees), in whole mm; empty
            where the finding is not measured.
    """

    name: str
    degrees: tuple[str, ...] = ()
    weight: float = 1.0
    sizes_mm: tuple[tuple[int, int], ...] = ()

    def size_range_mm(self, degree: str) -> tuple[int, int]:
        """Smallest and largest size of a degree in mm, (0, 0) where the finding is not measured."""
        if not self.sizes_mm:
            return 0, 0
        return self.sizes_mm[self.degrees.index(degree) if degree else 0]


@dataclass(frozen=True)
class AnatomySpec:
    """One anatomy: its findings, the chance that it is normal, its side and phrase group."""

    name: str
    group: str
    findings: tuple[FindingSpec, ...]
    side: str = ""
    normal_chance: float = 0.5

    @property
    def sign(self) -> int:
        """+1 for the patient's left (image right), -1 for the patient's right, 0 for neither."""
        return {"left": 1, "right": -1}.get(self.side, 0)

    def finding(self, name: str) -> FindingSpec:
        """The abnormal finding of a name that the catalog holds."""
        return next(finding for finding in self.findings if finding.name == name)


Catalog = Mapping[str, AnatomySpec]  # anatomy name -> its specification, in the order of the draws


def both_sides(
    part: str, group: str, findings: tuple[FindingSpec, ...], normal_chance: float = 0.5
) -> tuple[AnatomySpec, ...]:
    """The right and the left one of a paired anatomy."""
    return tuple(
        AnatomySpec(f"{side} {part}", group, findings, side, normal_chance) for side in ("right", "left")
    )


@dataclass(frozen=True)
class Finding:
    """What one anatomy shows.

    Attributes:
        anatomy: its name in the catalog.
        name: the finding, "normal" where there is none.
        degree: "" where the finding has none.
        size_mm: 0 where the finding is not measured.
    """

    anatomy: str
    name: str
    degree: str = ""
    size_mm: int = 0

    @property
    def is_normal(self) -> bool:
        """Whether the anatomy shows nothing abnormal."""
        return self.name == NORMAL


def make_finding(
    catalog: Catalog, anatomy: str, name: str = NORMAL, degree: str = "", size_mm: int | None = None
) -> Finding:
    """A finding, checked against the catalog; of middle size unless `size_mm` says otherwise.

    Raises:
        ValueError: for an anatomy, a finding, a degree or a size that the catalog does not hold.
    """
    if anatomy not in catalog:
        raise ValueError(f"no phantom anatomy is called {anatomy!r}: choose one of {', '.join(catalog)}.")
    specs = {spec.name: spec for spec in (FindingSpec(NORMAL), *catalog[anatomy].findings)}
    if name not in specs:
        raise ValueError(f"{anatomy} has no finding {name!r}: choose one of {', '.join(specs)}.")
    allowed = specs[name].degrees or ("",)
    if degree not in allowed:
        raise ValueError(f"{name} of {anatomy} has no degree {degree!r}: choose one of {allowed}.")
    low, high = specs[name].size_range_mm(degree)
    if size_mm is None:
        size_mm = (low + high) // 2
    if not low <= size_mm <= high:
        raise ValueError(
            f"{name} of {anatomy} is to be {size_mm} mm, expected {low} to {high}: choose another size."
        )
    return Finding(anatomy, name, degree, size_mm)


def normal_findings(catalog: Catalog) -> Mapping[str, Finding]:
    """Nothing abnormal anywhere."""
    return MappingProxyType({name: Finding(name, NORMAL) for name in catalog})


def draw_findings(catalog: Catalog, rng: np.random.Generator) -> Mapping[str, Finding]:
    """A finding for each anatomy, drawn independently of each other."""
    return MappingProxyType({name: _draw_finding(spec, rng) for name, spec in catalog.items()})


def _draw_finding(spec: AnatomySpec, rng: np.random.Generator) -> Finding:
    chance, which, degree = rng.random(3)
    if chance < spec.normal_chance:
        return Finding(spec.name, NORMAL)
    weights = np.cumsum([finding.weight for finding in spec.findings])
    chosen = spec.findings[int(np.searchsorted(weights, which * weights[-1], side="right"))]
    name = chosen.degrees[int(degree * len(chosen.degrees))] if chosen.degrees else ""
    low, high = chosen.size_range_mm(name)
    size_mm = int(rng.integers(low, high + 1)) if high else 0
    return Finding(spec.name, chosen.name, name, size_mm)


@dataclass(frozen=True)
class LatentState:
    """Latent state of one study: `findings` maps each anatomy of the class's `catalog` to its `Finding`."""

    catalog: ClassVar[Catalog]
    findings: Mapping[str, Finding]

    def with_finding(
        self, anatomy: str, name: str = NORMAL, degree: str = "", size_mm: int | None = None
    ) -> Self:
        """The same state with another finding of one anatomy.

        Raises:
            ValueError: for an anatomy, a finding, a degree or a size that the catalog does not hold.
        """
        finding = make_finding(self.catalog, anatomy, name, degree, size_mm)
        return dataclasses.replace(self, findings=MappingProxyType({**self.findings, anatomy: finding}))


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """The random generator of one purpose for one study (or block or subject) number."""
    return np.random.default_rng([seed, index, _STREAMS[purpose]])


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


def keyed_streams(seed: int, names: tuple[str, ...]) -> dict[str, np.random.Generator]:
    """One generator for each name, independent of the others by design and cheap to make."""
    return {
        name: np.random.Generator(np.random.Philox(key=[seed, number])) for number, name in enumerate(names)
    }
