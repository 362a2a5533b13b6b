"""A figure and its bootstrap draws: means over queries, and averages over groups of them in both senses."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from radir_eval.statistics.bootstrap import Draws, interval, intervals
from radir_eval.tasks import TaskScores


def number(value: float) -> float | None:
    """A float that JSON can hold: None for NaN."""
    return None if np.isnan(value) else float(value)


def bounds(draws: np.ndarray) -> list[float | None]:
    """The 95% interval of (B,) draws as [low, high]."""
    both = interval(draws)
    return [number(both.low), number(both.high)]


def table_of(task: TaskScores) -> np.ndarray:
    """The metrics of a task's queries side by side: (Q, 2K) float64, Recall at each cut-off, then NDCG."""
    return np.concatenate([task.recall, task.ndcg], axis=1)


def metric_names(ks: tuple[int, ...]) -> list[str]:
    """The names of those 2K columns: recall@k, then ndcg@k."""
    return [f"{metric}@{k}" for metric in ("recall", "ndcg") for k in ks]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means over queries, or averages of them, with their bootstrap draws.

    Attributes:
        ks: the K cut-offs.
        mean: (2K,) float64: Recall at each cut-off, then NDCG at each.
        draws: (B, 2K) float64, the same in each resample.
    """

    ks: tuple[int, ...]
    mean: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, task: TaskScores, drawn: Draws) -> "Estimate":
        """The means over a task's queries."""
        total, count = _sums(table_of(task))
        return cls(task.ks, _ratio(total, count), drawn.means())

    def to_dict(self) -> dict[str, Any]:
        """recall, recall_ci95, ndcg, ndcg_ci95, each keyed by the cut-off; None where not defined."""
        found = intervals(self.draws)
        result: dict[str, Any] = {}
        for offset, metric in ((0, "recall"), (len(self.ks), "ndcg")):
            columns = {str(k): offset + index for index, k in enumerate(self.ks)}
            result[metric] = {k: number(self.mean[column]) for k, column in columns.items()}
            result[f"{metric}_ci95"] = {
                k: [number(bound) for bound in found[column]] for k, column in columns.items()
            }
        return result


class Average:
    """The average over groups of queries (anatomies), gathered one group after the other.

    Args:
        ks: the K cut-offs of all groups.
    """

    def __init__(self, ks: tuple[int, ...]) -> None:
        self.ks = ks
        self._means = _Sum(), _Sum()  # of the groups' means: as they are, and in each draw
        self._queries = _Sum(), _Sum()  # of single queries

    def add(self, task: TaskScores, drawn: Draws) -> None:
        """Add a group: its queries' metrics, and their sums in each draw."""
        total, count = _sums(table_of(task))
        self._means[0].add_defined(_ratio(total, count))
        self._means[1].add_defined(drawn.means())
        self._queries[0].add(total, count)
        self._queries[1].add(drawn.total, drawn.number)

    def macro(self) -> Estimate:
        """Each group counts alike; one without any query in a draw is left out of that draw's mean."""
        return Estimate(self.ks, *(part.mean() for part in self._means))

    def weighted(self) -> Estimate:
        """Each query counts alike."""
        return Estimate(self.ks, *(part.mean() for part in self._queries))


class _Sum:
    """A running sum of arrays of one shape, and how many values it holds in each place."""

    def __init__(self) -> None:
        self._total: np.ndarray | float = 0.0
        self._count: np.ndarray | float = 0.0

    def add(self, total: np.ndarray, count: np.ndarray) -> None:
        self._total, self._count = self._total + total, self._count + count

    def add_defined(self, values: np.ndarray) -> None:
        defined = ~np.isnan(values)
        self.add(np.where(defined, values, 0.0), defined.astype(np.float64))

    def mean(self) -> np.ndarray:
        return _ratio(np.asarray(self._total), np.asarray(self._count))


def _sums(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column sums without NaN, and what they are the sums of: (Q, M) -> (M,), (M,)."""
    defined = ~np.isnan(table)
    return np.where(defined, table, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
