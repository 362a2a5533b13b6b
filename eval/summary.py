"""From the metrics of single queries to results.json: means, 95% intervals, averages and comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eval.items import Items
from eval.protocol import Protocol
from eval.statistics import Bootstrap, interval, macro_draws
from eval.tasks import CONDITIONAL, IMAGE_TO_IMAGE, IMAGE_TO_REPORT, TaskScores

MACRO, REGIONS = "conditional_macro", "conditional_regions"


@dataclass(frozen=True, eq=False)
class Estimate:
    """Means over queries (or over anatomies) with their bootstrap draws.

    Attributes:
        ks: the K cut-offs.
        mean: (2K,) float64: Recall at each cut-off, then NDCG at each.
        draws: (B, 2K) float64, the same in each resample.
    """

    ks: tuple[int, ...]
    mean: np.ndarray
    draws: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """recall, recall_ci95, ndcg, ndcg_ci95, each keyed by the cut-off; None where not defined."""
        result: dict[str, Any] = {}
        for offset, metric in ((0, "recall"), (len(self.ks), "ndcg")):
            columns = {str(k): offset + index for index, k in enumerate(self.ks)}
            result[metric] = {k: number(self.mean[column]) for k, column in columns.items()}
            result[f"{metric}_ci95"] = {k: bounds(self.draws[:, column]) for k, column in columns.items()}
        return result


def number(value: float) -> float | None:
    """A float that JSON can hold: None for NaN."""
    return None if np.isnan(value) else float(value)


def bounds(draws: np.ndarray) -> list[float | None]:
    """The 95% interval of (B,) draws as [low, high]."""
    both = interval(draws)
    return [number(both.low), number(both.high)]


def summarise(items: Items, scored: Sequence[TaskScores], protocol: Protocol) -> dict[str, Any]:
    """`models`, `comparisons` and `anatomies` of results.json.

    Args:
        items: the split.
        scored: from `score_tasks`.
        protocol: min_queries, the number of draws and the seed.
    """
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    tables = [np.concatenate([task.recall, task.ndcg], axis=1) for task in scored]  # each (Q, 2K)
    draws = bootstrap.means([(t, items.subjects[s.queries]) for t, s in zip(tables, scored, strict=True)])
    estimates = {
        (task.model, task.task, task.anatomy): Estimate(task.ks, _defined_mean(table), drawn)
        for task, table, drawn in zip(scored, tables, draws, strict=True)
    }
    anatomies = _describe_anatomies(items, scored, protocol)
    models: dict[str, dict[str, Any]] = {}
    overall: dict[str, dict[str, Estimate]] = {}  # task -> model -> estimate, what models are compared by
    for model in dict.fromkeys(task.model for task in scored):
        own = [task for task in scored if task.model == model]
        conditional = {
            t.anatomy: estimates[model, CONDITIONAL, t.anatomy] for t in own if t.task == CONDITIONAL
        }
        macro = _average(conditional, [name for name, about in anatomies.items() if about["in_average"]])
        models[model] = _model_block(own, estimates, conditional, anatomies, macro)
        for task in own:
            if task.task in (IMAGE_TO_IMAGE, IMAGE_TO_REPORT):
                overall.setdefault(task.task, {})[model] = estimates[model, task.task, task.anatomy]
        if macro is not None:
            overall.setdefault(MACRO, {})[model] = macro
    comparisons = [row for task, found in overall.items() for row in _compare(task, found)]
    return {"models": models, "comparisons": comparisons, "anatomies": anatomies}


def _defined_mean(table: np.ndarray) -> np.ndarray:
    """Column means without NaN; NaN for a column that has nothing else: (Q, M) -> (M,)."""
    defined = ~np.isnan(table)
    count = defined.sum(axis=0)
    total = np.where(defined, table, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _describe_anatomies(
    items: Items, scored: Sequence[TaskScores], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Region and counts of each anatomy that was evaluated, head (most training studies) to tail."""
    train = items.train_counts()
    regions = {anatomy["name"]: anatomy["region"] for anatomy in items.anatomies}
    found = {task.anatomy: task for task in scored if task.task == CONDITIONAL}
    return {
        name: {
            "region": regions[name],
            "n_train_studies": train[name],
            "n_queries": len(found[name].queries),
            "n_with_correct": found[name].n_with_correct,
            "in_average": found[name].n_with_correct >= protocol.min_queries,
        }
        for name in sorted(found, key=lambda name: (-train[name], name))
    }


def _model_block(
    own: Sequence[TaskScores],
    estimates: dict[tuple[str, str, str], Estimate],
    conditional: dict[str, Estimate],
    anatomies: dict[str, dict[str, Any]],
    macro: Estimate | None,
) -> dict[str, Any]:
    """One model's part of results.json."""
    blocks = {(t.task, t.anatomy): _task_block(t, estimates[t.model, t.task, t.anatomy]) for t in own}
    result: dict[str, Any] = {task: block for (task, _), block in blocks.items() if task != CONDITIONAL}
    result[CONDITIONAL] = {name: blocks[CONDITIONAL, name] for name in anatomies}
    averaged = [name for name, about in anatomies.items() if about["in_average"]]
    result[MACRO] = _average_block(macro, averaged, anatomies)
    regions: dict[str, list[str]] = {}
    for name in averaged:
        regions.setdefault(anatomies[name]["region"], []).append(name)
    # head to tail, by the training studies of all of a region's anatomies
    ordered = sorted(
        regions, key=lambda region: -sum(anatomies[n]["n_train_studies"] for n in regions[region])
    )
    result[REGIONS] = {
        region: _average_block(_average(conditional, regions[region]), regions[region], anatomies)
        for region in ordered
    }
    return result


def _task_block(task: TaskScores, estimate: Estimate) -> dict[str, Any]:
    return {
        "n_queries": len(task.queries),
        "n_without_correct": len(task.queries) - task.n_with_correct,
        "n_candidates": task.n_candidates,
        **estimate.to_dict(),
    }


def _average(conditional: dict[str, Estimate], names: Sequence[str]) -> Estimate | None:
    """Unweighted mean over anatomies, of the means and within each draw; None over none."""
    if not names:
        return None
    parts = [conditional[name] for name in names]
    mean = _defined_mean(np.stack([part.mean for part in parts]))
    return Estimate(parts[0].ks, mean, macro_draws([part.draws for part in parts]))


def _average_block(
    estimate: Estimate | None, names: Sequence[str], anatomies: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    counts = {
        "n_anatomies": len(names),
        "n_queries": sum(anatomies[name]["n_queries"] for name in names),
        "n_without_correct": sum(anatomies[n]["n_queries"] - anatomies[n]["n_with_correct"] for n in names),
        "n_train_studies": sum(anatomies[name]["n_train_studies"] for name in names),
    }
    if estimate is None:
        return {**counts, "recall": {}, "recall_ci95": {}, "ndcg": {}, "ndcg_ci95": {}}
    return {**counts, **estimate.to_dict()}


def _compare(task: str, found: dict[str, Estimate]) -> list[dict[str, Any]]:
    """Paired differences a - b of all pairs of models, each within the same draws of patients."""
    rows = []
    for a, b in combinations(found, 2):
        left, right = found[a], found[b]
        names = [f"recall@{k}" for k in left.ks] + [f"ndcg@{k}" for k in left.ks]
        for column, metric in enumerate(names):
            difference = number(left.mean[column] - right.mean[column])
            both = interval(left.draws[:, column] - right.draws[:, column])
            ahead = difference is not None and both.excludes_zero
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "task": task,
                    "metric": metric,
                    "difference": difference,
                    "ci95": [number(both.low), number(both.high)],
                    "ahead": ahead,
                    "better": (a if difference > 0 else b) if ahead and difference is not None else None,
                }
            )
    return rows
