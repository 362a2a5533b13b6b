"""The latent state of a CT phantom: findings, the patient's build and how the scan was done."""

from dataclasses import dataclass

import numpy as np

from dataset_scripts.sources.phantoms.state import (
    LatentState,
    draw_findings,
    normal_findings,
    stream,
    subject_number,
)

from .catalog import ANATOMIES

PHASES = ("native", "venous", "arterial")
_PHASE_CHANCES = (0.5, 0.32, 0.18)


@dataclass(frozen=True)
class Build:
    """The patient's build, the same in all studies of a subject.

    Attributes:
        female: whether there is breast tissue beyond a thin layer.
        bulk: 0 (thin) to 1 (obese): thickness of subcutaneous and visceral fat.
        scale: factors on the standard body along (z, y, x), i.e. height, depth and width.
        bone_density: factor on the HU of spongy bone.
        breast_size: 0 (small) to 1 (large); without effect unless `female`.
    """

    female: bool
    bulk: float
    scale: tuple[float, float, float]
    bone_density: float
    breast_size: float


@dataclass(frozen=True)
class Scan:
    """How the volume was acquired and reconstructed.

    Attributes:
        field_mm: extent of the volume along (z, y, x); spacing is extent / voxels.
        slice_mm: width of the slice profile (FWHM).
        blur_mm: width of the in-plane kernel (standard deviation): soft or sharp.
        noise_hu: standard deviation of the noise in water.
        phase: contrast: "native", "venous" or "arterial".
        shift_mm: where the patient lies off the middle of the field, along (z, y, x).
    """

    field_mm: tuple[float, float, float]
    slice_mm: float
    blur_mm: float
    noise_hu: float
    phase: str
    shift_mm: tuple[float, float, float]


@dataclass(frozen=True)
class PhantomCTState(LatentState):
    """Latent state of one study: `findings` maps each anatomy of the catalog to its `Finding`."""

    catalog = ANATOMIES
    build: Build
    scan: Scan


def normal_state(build: Build | None = None, scan: Scan | None = None) -> PhantomCTState:
    """A state without any finding, of average build in a native scan unless told otherwise."""
    return PhantomCTState(
        normal_findings(ANATOMIES),
        build or Build(False, 0.4, (1.0, 1.0, 1.0), 1.0, 0.0),
        scan or Scan((288.0, 372.0, 372.0), 5.0, 1.6, 14.0, "native", (0.0, 0.0, 0.0)),
    )


def sample_state(seed: int, index: int) -> PhantomCTState:
    """The state of study `index`: anatomies drawn independently of each other, the build of its subject."""
    build = _draw_build(stream(seed, subject_number(seed, index), "habitus"))
    findings = draw_findings(ANATOMIES, stream(seed, index, "findings"))
    return PhantomCTState(findings, build, _draw_scan(stream(seed, index, "scan"), build))


def _draw_build(rng: np.random.Generator) -> Build:
    female = bool(rng.random() < 0.5)
    bulk = float(rng.beta(2.0, 2.6))
    size = 0.97 if female else 1.02
    z, y, x = np.clip(rng.normal(size, 0.03, 3), 0.9, 1.08)
    return Build(
        female=female,
        bulk=bulk,
        scale=(float(z), float(y), float(x)),
        bone_density=float(rng.uniform(0.75, 1.2)),
        breast_size=float(rng.beta(2.0, 2.0)) if female else 0.0,
    )


def _draw_scan(rng: np.random.Generator, build: Build) -> Scan:
    plane = float(rng.uniform(345, 403))  # 3.6 to 4.2 mm in 96 voxels
    height = build.scale[0] * float(rng.uniform(282, 302))  # from the thyroid to the kidneys, whoever it is
    shift = np.clip(rng.normal(0, 4, 3), -7, 7)
    return Scan(
        field_mm=(height, plane, plane),
        slice_mm=float(rng.choice([3.0, 5.0, 7.0])),
        blur_mm=float(rng.uniform(0.8, 2.2)),
        noise_hu=float(rng.uniform(8, 26)),
        phase=str(rng.choice(PHASES, p=_PHASE_CHANCES)),
        shift_mm=(float(shift[0]) / 2, float(shift[1]), float(shift[2])),
    )
