"""Who is better than whom: paired differences with intervals, p-values and effect sizes; who wins how often.

A model is *ahead* of another where the 95% interval of their paired difference excludes 0; nothing else is
called ahead. P-values are of the paired randomisation test, and Holm's correction takes all metrics of one
pair of models as one family.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from radir_eval.statistics.bootstrap import intervals
from radir_eval.statistics.estimates import Estimate, Figures, number
from radir_eval.statistics.randomisation import PatientParts, effect_sizes, holm, p_values


class Compared(NamedTuple):
    """A model in one task: its figures, and what each patient adds to them."""

    estimate: Estimate | Figures
    parts: PatientParts


class Difference(NamedTuple):
    """Of model a from model b in the M metrics of a task."""

    mean: np.ndarray  # (M,) float64, a - b
    ci95: np.ndarray  # (M, 2) float64

    @classmethod
    def between(cls, a: Estimate | Figures, b: Estimate | Figures) -> "Difference":
        """Each difference within the same draws of patients."""
        return cls(a.mean - b.mean, intervals(a.draws - b.draws))

    def sign(self, column: int) -> int:
        """1 where a is ahead, -1 where b is, 0 where neither clearly is."""
        low, high = self.ci95[column]
        return int(low > 0) - int(high < 0)

    def row(self, a: str, b: str, column: int) -> dict[str, Any]:
        """What results.json says of one metric."""
        sign = self.sign(column)
        return {
            "difference": number(self.mean[column]),
            "ci95": [number(bound) for bound in self.ci95[column]],
            "ahead": sign != 0,
            "better": {1: a, -1: b}.get(sign),
        }


def compare(
    tasks: Mapping[str, Mapping[str, Compared]], randomisations: int, seed: int
) -> list[dict[str, Any]]:
    """Paired differences a - b of all pairs of models in whole tasks.

    Args:
        tasks: task -> model -> its figures; a model may be missing in a task.
        randomisations: random swaps behind each p-value.
        seed: of the swaps.

    Returns:
        One row a task, pair and metric: "a", "b", "task", "metric", "difference", "ci95", "ahead", "better",
        "p_value", "p_holm", "effect_size", and "n", the patients that the test swaps.
    """
    rows: list[dict[str, Any]] = []
    differences: list[np.ndarray] = []
    for task, found in tasks.items():
        for a, b in combinations(found, 2):
            difference = Difference.between(found[a].estimate, found[b].estimate)
            parts = found[a].parts.minus(found[b].parts)
            differences.append(parts.part)
            effects = effect_sizes(parts)
            for column, metric in enumerate(found[a].estimate.names):
                row = {"a": a, "b": b, "task": task, "metric": metric, **difference.row(a, b, column)}
                rows.append({**row, "effect_size": number(effects[column]), "n": int(parts.present.sum())})
    if rows:
        _add_p_values(rows, np.concatenate(differences, axis=1), randomisations, seed)
    return rows


def _add_p_values(rows: list[dict[str, Any]], parts: np.ndarray, randomisations: int, seed: int) -> None:
    """p_value and p_holm of each row; parts (S, rows)."""
    p = p_values(parts, randomisations, seed)
    pairs = [(row["a"], row["b"]) for row in rows]
    for pair in dict.fromkeys(pairs):
        family = [place for place, own in enumerate(pairs) if own == pair]
        for place, adjusted in zip(family, holm(p[family]), strict=True):
            rows[place] |= {"p_value": number(p[place]), "p_holm": number(adjusted)}


class Wins:
    """Counts of the metrics that each competing model wins, by scope (whole tasks, regions, anatomies).

    Args:
        models: the competitors; fewer than two have nothing to win.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = models
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, scope: str, name: str, estimates: Mapping[str, Estimate]) -> list[dict[str, Any]]:
        """Count one task, region or anatomy.

        Args:
            scope: what it is one of.
            name: which one.
            estimates: model -> its figures; others than the competitors are left alone.

        Returns:
            The paired differences in Recall of the competitors: "scope", "name", "a", "b", "metric",
            "difference", "ci95", "ahead", "better".
        """
        own = {model: estimates[model] for model in self._models if model in estimates}
        if len(own) < 2:
            return []
        pairs = {(a, b): Difference.between(own[a], own[b]) for a, b in combinations(own, 2)}
        metrics = next(iter(own.values())).names
        for column, metric in enumerate(metrics):
            self._count(scope, metric.split("@")[0], column, own, pairs)
        return [
            {"scope": scope, "name": name, "a": a, "b": b, "metric": metric, **pair.row(a, b, column)}
            for (a, b), pair in pairs.items()
            for column, metric in enumerate(metrics)
            if metric.startswith("recall")
        ]

    def _count(
        self,
        scope: str,
        metric: str,
        column: int,
        own: Mapping[str, Estimate],
        pairs: Mapping[tuple[str, str], Difference],
    ) -> None:
        # Compared as the tables print them: equal to two decimals of a percent is equal.
        shown = {model: np.round(100 * estimate.mean[column], 2) for model, estimate in own.items()}
        if np.isnan(list(shown.values())).any():
            return
        empty = {"n": 0, "best": dict.fromkeys(self._models, 0), "ahead": dict.fromkeys(self._models, 0)}
        counts = self._found.setdefault((scope, metric), empty)
        counts["n"] += 1
        for model, value in shown.items():
            signs = [
                pair.sign(column) * (1 if a == model else -1)
                for (a, b), pair in pairs.items()
                if model in (a, b)
            ]
            counts["best"][model] += int(value == max(shown.values()))
            counts["ahead"][model] += int(all(sign == 1 for sign in signs))

    def rows(self) -> list[dict[str, Any]]:
        """One row a scope and metric: "scope", "metric", "n", "best" and "ahead", each model -> how often.

        `best`: no other has a higher value (equals share it). `ahead`: the interval of the difference from
        every other competitor says so.
        """
        return [
            {"scope": scope, "metric": metric, **counts} for (scope, metric), counts in self._found.items()
        ]
