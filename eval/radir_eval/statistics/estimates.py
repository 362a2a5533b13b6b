"""A figure and its bootstrap draws: means over queries, and averages over groups of them in both senses."""

from collections.abc import Sequence
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


def chance_of(task: TaskScores) -> np.ndarray:
    """What a random order reaches in those columns: (Q, 2K) float64, NaN where it is not known."""
    if task.chance_recall is None or task.chance_ndcg is None:
        return np.full((len(task.queries), 2 * len(task.ks)), np.nan)
    return np.concatenate([task.chance_recall, task.chance_ndcg], axis=1)


def column_means(values: np.ndarray) -> np.ndarray:
    """Means of what is defined: (Q, M) float -> (M,), NaN where nothing is."""
    return _ratio(*_sums(values))


@dataclass(frozen=True, eq=False)
class Figures:
    """Named figures of a model with their bootstrap draws.

    Attributes:
        names: M names.
        mean: (M,) float64.
        draws: (B, M) float64, the same in each resample.
    """

    names: Sequence[str]
    mean: np.ndarray
    draws: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """NAME and NAME_ci95 of each; None where not defined."""
        found = intervals(self.draws)
        result: dict[str, Any] = {}
        for name, value, ends in zip(self.names, self.mean, found, strict=True):
            result |= {name: number(value), f"{name}_ci95": [number(bound) for bound in ends]}
        return result


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means over queries, or averages of them, with their bootstrap draws.

    Attributes:
        ks: the K cut-offs.
        mean: (2K,) float64: Recall at each cut-off, then NDCG at each.
        draws: (B, 2K) float64, the same in each resample.
        chance: (2K,) float64, the same of a random order; NaN where it is not known.
    """

    ks: tuple[int, ...]
    mean: np.ndarray
    draws: np.ndarray
    chance: np.ndarray

    @property
    def names(self) -> Sequence[str]:
        """recall@k of each cut-off, then ndcg@k."""
        return metric_names(self.ks)

    @classmethod
    def of(cls, task: TaskScores, drawn: Draws) -> "Estimate":
        """The means over a task's queries."""
        mean, chance = column_means(table_of(task)), column_means(chance_of(task))
        return cls(task.ks, mean, drawn.means(), chance)

    def to_dict(self) -> dict[str, Any]:
        """recall, recall_ci95, chance_recall, and of ndcg the same, each keyed by the cut-off; None where not
        defined."""
        found = intervals(self.draws)
        result: dict[str, Any] = {}
        for offset, metric in ((0, "recall"), (len(self.ks), "ndcg")):
            columns = {str(k): offset + index for index, k in enumerate(self.ks)}
            result[metric] = {k: number(self.mean[column]) for k, column in columns.items()}
            result[f"{metric}_ci95"] = {
                k: [number(bound) for bound in found[column]] for k, column in columns.items()
            }
            result[f"chance_{metric}"] = {k: number(self.chance[column]) for k, column in columns.items()}
        return result


class Average:
    """The average over groups of queries (anatomies), gathered one group after the other.

    Args:
        ks: the K cut-offs of all groups.
    """

    def __init__(self, ks: tuple[int, ...]) -> None:
        self.ks = ks
        # of the groups' means: as they are, in each draw, and by chance
        self._means = _Sum(), _Sum(), _Sum()
        self._queries = _Sum(), _Sum(), _Sum()  # of single queries

    def add(self, task: TaskScores, drawn: Draws) -> None:
        """Add a group: its queries' metrics, and their sums in each draw."""
        own, chance = _sums(table_of(task)), _sums(chance_of(task))
        for part, values in zip(self._means, (_ratio(*own), drawn.means(), _ratio(*chance)), strict=True):
            part.add_defined(values)
        for part, sums in zip(self._queries, (own, (drawn.total, drawn.number), chance), strict=True):
            part.add(*sums)

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
