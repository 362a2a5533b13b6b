"""Is a difference between two models chance? Paired randomisation over patients, and its size.

If two models were equally good, swapping their results for any patient would change nothing but chance. The
test swaps at random, all queries of a patient together: the patient's part of the difference changes its
sign. The p-value is the share of swaps that make the difference at least as large, (1 + b) / (1 + R) with b
of R swaps (Phipson and Smyth 2010), so that it is never 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from radir_eval.statistics.bootstrap import Group, subject_sums

_SIGNS_PER_BLOCK = 4_000_000  # of swaps x subjects: 32 MB
_SLACK = 1e-10  # of the parts' sum: equal differences may differ by rounding


class PatientParts(NamedTuple):
    """What each of S patients adds to M means, or means of means.

    Attributes:
        part: (S, M) float64; the sum over patients is the metric.
        deviation: (S, M) float64, what the patient's queries add beyond the mean of their group: the sum over
            patients is 0, and the squares tell the metric's standard error.
        present: (S,) bool, patients with a query.
    """

    part: np.ndarray
    deviation: np.ndarray
    present: np.ndarray

    def minus(self, other: "PatientParts") -> "PatientParts":
        """The parts of the difference between two models on the same queries."""
        return PatientParts(
            self.part - other.part, self.deviation - other.deviation, self.present | other.present
        )


def patient_parts(groups: Sequence[Group], n_subjects: int) -> PatientParts:
    """Each patient's part of the unweighted average over groups of queries of the groups' means.

    Args:
        groups: values (Q, M) float, NaN = not defined, and subjects (Q,) int64, for each of G groups.
        n_subjects: S.
    """
    part, deviation = 0.0, 0.0
    present = np.zeros(n_subjects, dtype=bool)
    counted = np.zeros(groups[0][0].shape[1])
    for values, subjects in groups:
        total, number = subject_sums(values, subjects, n_subjects)
        size = number.sum(axis=0)
        counted += size > 0
        share = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        mean = total.sum(axis=0) * share
        part = part + total * share
        deviation = deviation + (total - mean * number) * share
        present |= number.any(axis=1)
    empty = np.full(counted.shape, np.nan)
    scale = np.divide(1.0, counted, out=empty, where=counted > 0)
    return PatientParts(part * scale, deviation * scale, present)


def p_values(parts: np.ndarray, draws: int = 10_000, seed: int = 0) -> np.ndarray:
    """Two-sided p-values of T differences against 0, all under the same swaps of patients.

    Args:
        parts: (S, T) float, each patient's part of each difference.
        draws: R, the number of random swaps.
        seed: of the swaps.

    Returns:
        (T,) float64, at least 1 / (R + 1); NaN where a part is.

    Raises:
        ValueError: no patient, or no swap.
    """
    subjects = len(parts)
    if subjects < 1 or draws < 1:
        raise ValueError(f"a randomisation test needs patients and swaps, got {subjects} and {draws}")
    rng = np.random.default_rng(seed)
    least = np.abs(parts.sum(axis=0)) - _SLACK * np.abs(parts).sum(axis=0)
    larger = np.zeros(parts.shape[1])
    height = max(1, _SIGNS_PER_BLOCK // subjects)
    for start in range(0, draws, height):
        shape = (min(height, draws - start), subjects)
        signs = 2.0 * rng.integers(0, 2, size=shape, dtype=np.int8) - 1.0
        larger += (np.abs(signs @ parts) >= least).sum(axis=0)
    return np.where(np.isnan(least), np.nan, (1 + larger) / (1 + draws))


def effect_sizes(difference: PatientParts) -> np.ndarray:
    """Paired standardised mean differences: (M,) float64, NaN where patients do not differ.

    The mean difference over the standard deviation of the patients' own differences. With one query a
    patient it is Cohen's d for paired samples, mean(d) / sd(d) over n patients; else the standard deviation
    is that of the linearised parts, sqrt(n) standard errors of the difference when patients are resampled.
    """
    count = int(difference.present.sum())
    if count < 2:
        return np.full(difference.part.shape[1], np.nan)
    spread = count * np.sqrt((difference.deviation**2).sum(axis=0) / (count - 1))
    mean = difference.part.sum(axis=0)
    clear = spread > 1e-12
    return np.divide(mean, spread, out=np.full(mean.shape, np.nan), where=clear)


def holm(p: np.ndarray) -> np.ndarray:
    """P-values adjusted for the number of tests in a family (Holm 1979): (T,) float, NaN are no tests."""
    adjusted = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else 0.0
    return adjusted
