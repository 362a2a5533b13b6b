"""Bootstrap intervals over patients: whole patients are drawn with replacement, once for all metrics.

Queries of one patient are not independent, so the patient is the unit of resampling. A draw is a vector of
weights, how often each of S subjects was drawn; the metric's mean in that draw is a ratio of two dot products
with per-subject sums. All draws and all metrics are thus two matrix products. Every group (anatomy, model,
cut-off) sees the same draws, which makes intervals of macro averages and paired differences exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

_DRAWS_PER_BLOCK = 1000


@dataclass(frozen=True)
class Interval:
    """A 95% percentile interval; NaN where it cannot be told."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class Bootstrap:
    """Shared draws of patients.

    Args:
        n_subjects: S, the patients of the split.
        draws: B.
        seed: of the draws.

    Raises:
        ValueError: no subject, or no draw.
    """

    def __init__(self, n_subjects: int, draws: int = 1000, seed: int = 0) -> None:
        if n_subjects < 1 or draws < 1:
            raise ValueError(f"a bootstrap needs subjects and draws, got {n_subjects} and {draws}")
        self.n_subjects, self.draws, self.seed = n_subjects, draws, seed

    def means(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Mean of each metric in each draw, for any number of groups of queries at once.

        Args:
            groups: for each group, values (Q, M) float (NaN = the query has no such metric and is left out of
                its mean) and subjects (Q,) int64, the patient of each query, 0 .. S - 1.

        Returns:
            For each group (B, M) float64; NaN in draws that hold no query with the metric.
        """
        sums, counts = [], []
        for values, subjects in groups:
            defined = ~np.isnan(values)
            members = sparse.csr_array(
                (np.ones(len(subjects)), (subjects, np.arange(len(subjects)))),
                (self.n_subjects, len(subjects)),
            )  # (S, Q)
            sums.append(members @ np.where(defined, values, 0.0))
            counts.append(members @ defined.astype(np.float64))
        if not groups:
            return []
        stacked = np.concatenate([*sums, *counts], axis=1)  # (S, 2M) over all groups
        drawn = np.concatenate([weights @ stacked for weights in self._weights()])  # (B, 2M)
        total, number = np.split(drawn, 2, axis=1)
        means = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
        return np.split(means, np.cumsum([part.shape[1] for part in sums])[:-1], axis=1)

    def _weights(self) -> Iterator[np.ndarray]:
        """How often each subject is drawn: blocks (b, S) float64, each row a multinomial of S draws."""
        rng = np.random.default_rng(self.seed)
        for start in range(0, self.draws, _DRAWS_PER_BLOCK):
            rows = min(_DRAWS_PER_BLOCK, self.draws - start)
            drawn = rng.integers(0, self.n_subjects, size=(rows, self.n_subjects))
            drawn += np.arange(rows)[:, None] * self.n_subjects
            counts = np.bincount(drawn.ravel(), minlength=rows * self.n_subjects)
            yield counts.reshape(rows, self.n_subjects).astype(np.float64)


def interval(draws: np.ndarray) -> Interval:
    """The 95% percentile interval of a metric's values in B draws, (B,) float; NaN draws are left out."""
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(low), float(high))


def macro_draws(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Unweighted mean over G groups within each draw: G times (B, M) -> (B, M).

    A group without any query in a draw is left out of that draw's mean.
    """
    stacked = np.stack(groups)  # (G, B, M)
    defined = ~np.isnan(stacked)
    number = defined.sum(axis=0)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
