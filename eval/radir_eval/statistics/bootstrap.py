"""Bootstrap intervals over patients: whole patients are drawn with replacement, once for all metrics.

Queries of one patient are not independent, so the patient is the unit of resampling. A draw is a vector of
weights, how often each of S subjects was drawn; the metric's mean in that draw is a ratio of two dot products
with per-subject sums. All draws and all metrics are thus two matrix products. Every group (anatomy, model,
cut-off) sees the same draws, which makes intervals of macro averages and paired differences exact.

Memory is B values for each metric that is asked for at once, and a block of weights: ask for a part of many
groups at a time, the draws are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

_WEIGHTS_PER_BLOCK = 4_000_000  # of draws x subjects: 32 MB

Group = tuple[np.ndarray, np.ndarray]  # values (Q, M) float, NaN = not defined; subjects (Q,) int64


@dataclass(frozen=True)
class Interval:
    """A 95% percentile interval; NaN where it cannot be told."""

    low: float
    high: float


class Draws(NamedTuple):
    """Sums of M metrics over the queries that each of B draws holds."""

    total: np.ndarray  # (B, M) float64
    number: np.ndarray  # (B, M) float64, queries that have the metric

    def means(self) -> np.ndarray:
        """The mean of each metric in each draw: (B, M), NaN where the draw holds no query with it."""
        empty = np.full(self.total.shape, np.nan)
        return np.divide(self.total, self.number, out=empty, where=self.number > 0)


class Bootstrap:
    """Shared draws of patients.

    Args:
        n_subjects: S, the patients of the split.
        draws: B.
        seed: of the draws.

    Raises:
        ValueError: no subject, or no draw.
    """

    def __init__(self, n_subjects: int, draws: int = 10_000, seed: int = 0) -> None:
        if n_subjects < 1 or draws < 1:
            raise ValueError(f"a bootstrap needs subjects and draws, got {n_subjects} and {draws}")
        self.n_subjects, self.draws, self.seed = n_subjects, draws, seed

    def means(self, groups: Sequence[Group]) -> list[np.ndarray]:
        """Mean of each metric in each draw, for any number of groups of queries at once.

        Args:
            groups: for each group, values (Q, M) float (NaN = the query has no such metric and is left out of
                its mean) and subjects (Q,) int64, the patient of each query, 0 .. S - 1.

        Returns:
            For each group (B, M) float64; NaN in draws that hold no query with the metric.
        """
        return [drawn.means() for drawn in self.sums(groups)]

    def sums(self, groups: Sequence[Group]) -> list[Draws]:
        """Sums and numbers of queries behind the means, in each draw: as `means`.

        Queries that lack a metric mostly do so in all models and cut-offs: equal columns of numbers are
        drawn once.
        """
        sums, columns = [], []
        counts: dict[bytes, tuple[int, np.ndarray]] = {}  # each different column of numbers, and its place
        for values, subjects in groups:
            total, number = subject_sums(values, subjects, self.n_subjects)
            sums.append(total)
            found = [counts.setdefault(column.tobytes(), (len(counts), column)) for column in number.T]
            columns.append([place for place, _ in found])
        if not groups:
            return []
        numbers = np.stack([column for _, column in counts.values()], axis=1)
        stacked = np.concatenate([*sums, numbers], axis=1)  # (S, M of all groups + U)
        drawn = np.empty((self.draws, stacked.shape[1]))
        for start, weights in self._weights():
            np.matmul(weights, stacked, out=drawn[start : start + len(weights)])
        ends = np.cumsum([part.shape[1] for part in sums])
        *totals, numbers = np.split(drawn, ends, axis=1)
        return [Draws(total, numbers[:, of]) for total, of in zip(totals, columns, strict=True)]

    def _weights(self) -> Iterator[tuple[int, np.ndarray]]:
        """How often each subject is drawn: blocks (b, S) float64 from each draw on, rows of S drawn."""
        rng = np.random.default_rng(self.seed)
        height = max(1, _WEIGHTS_PER_BLOCK // self.n_subjects)
        for start in range(0, self.draws, height):
            rows = min(height, self.draws - start)
            drawn = rng.integers(0, self.n_subjects, size=(rows, self.n_subjects))
            drawn += np.arange(rows)[:, None] * self.n_subjects
            counts = np.bincount(drawn.ravel(), minlength=rows * self.n_subjects)
            yield start, counts.reshape(rows, self.n_subjects).astype(np.float64)


def subject_sums(values: np.ndarray, subjects: np.ndarray, n_subjects: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each metric over each subject's queries, and how many have it: two (S, M) float64.

    Args:
        values: (Q, M) float, NaN = not defined.
        subjects: (Q,) int64, 0 .. S - 1.
        n_subjects: S.
    """
    defined = ~np.isnan(values)
    members = sparse.csr_array(
        (np.ones(len(subjects)), (subjects, np.arange(len(subjects)))), (n_subjects, len(subjects))
    )  # (S, Q)
    return members @ np.where(defined, values, 0.0), members @ defined.astype(np.float64)


def interval(draws: np.ndarray) -> Interval:
    """The 95% percentile interval of a metric's values in B draws, (B,) float; NaN draws are left out."""
    low, high = intervals(draws[:, None])[0]
    return Interval(low, high)


def intervals(draws: np.ndarray) -> np.ndarray:
    """`interval` of many metrics: (B, M) float -> (M, 2) float64, low and high."""
    found = np.full((draws.shape[1], 2), np.nan)
    defined = ~np.isnan(draws)
    whole = defined.all(axis=0)
    if whole.any():
        found[whole] = np.percentile(draws[:, whole], [2.5, 97.5], axis=0).T
    for column in np.flatnonzero(~whole & defined.any(axis=0)):
        found[column] = np.percentile(draws[defined[:, column], column], [2.5, 97.5])
    return found


def macro_draws(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Unweighted mean over G groups within each draw: G times (B, M) -> (B, M).

    A group without any query in a draw is left out of that draw's mean.
    """
    stacked = np.stack(groups)  # (G, B, M)
    defined = ~np.isnan(stacked)
    number = defined.sum(axis=0)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
