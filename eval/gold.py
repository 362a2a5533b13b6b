"""Precision@k by gold label: do neighbours share what people saw? Nobody has to trust text similarity alone.

For a query positive for a label: the share of its top k candidates that are positive too. Candidates without
a certain label (uncertain, or not labelled) are no candidates for that label. Where the labels name an
anatomy, rankings that take conditions are also asked under it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eval.embeddings import Ranking
from eval.items import Items
from eval.protocol import Protocol
from eval.radir_retrieval import precision_at
from eval.statistics import Bootstrap, macro_draws
from eval.summary import bounds, number
from eval.tasks import blocks_of

HOLISTIC, CONDITIONED = "holistic", "conditioned"


@dataclass(frozen=True, eq=False)
class _Label:
    """A label over the items: (N,) float32 1 present, 0 absent, NaN unknown; its anatomy, if any."""

    name: str
    values: np.ndarray
    anatomy: str | None
    queries: np.ndarray  # (Q,) int64, positions of the positive images


def gold_precision(
    items: Items, rankings: Mapping[str, Ranking], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """Precision@k by label for each model; empty without gold labels in the split.

    Args:
        items: the split; its dataset's `labels()` gives study_id, label, value and, optionally, anatomy.
        rankings: model name -> its ranking of these items.
        protocol: gold_k, min_queries (labels with fewer positive images are left out), exclusions, bootstrap.

    Returns:
        model -> {"k", "labels": {LABEL: {"n_queries", "anatomy", "chance", "holistic", "conditioned"}},
        "macro"}, where holistic and conditioned are {"precision", "ci95"}.

    Raises:
        ValueError: the labels name an anatomy that the dataset does not have.
    """
    labels = _labels(items, protocol)
    if not labels:
        return {}
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    chance = {label.name: number(_mean(_chance(items, label, protocol))) for label in labels}
    return {
        name: _of_model(items, ranking, labels, chance, bootstrap, protocol)
        for name, ranking in rankings.items()
    }


def _labels(items: Items, protocol: Protocol) -> list[_Label]:
    table = items.dataset.labels()
    if table is None:
        return []
    known = {anatomy["name"] for anatomy in items.anatomies}
    labels = []
    for name, rows in table.groupby("label", sort=True):
        values = rows.set_index(rows["study_id"].astype(str))["value"].astype(float)
        own = pd.Series(items.study_ids).map(values[values.isin([0, 1])]).to_numpy(dtype=np.float32)
        anatomy = _anatomy_of(rows, str(name), known)
        queries = np.flatnonzero(own == 1)
        if len(queries) >= max(2, protocol.min_queries):
            labels.append(_Label(str(name), own, anatomy, queries))
    return labels


def _anatomy_of(rows: pd.DataFrame, label: str, known: set[str]) -> str | None:
    """The anatomy that a label's rows name, if they do."""
    if "anatomy" not in rows.columns:
        return None
    names = sorted({str(name) for name in rows["anatomy"].dropna() if str(name)})
    if not names:
        return None
    if len(names) > 1 or names[0] not in known:
        raise ValueError(
            f"label {label!r} names the anatomy {', '.join(names)}: it must be one of the dataset's anatomies"
        )
    return names[0]


def _relevance(items: Items, label: _Label, queries: np.ndarray, protocol: Protocol) -> np.ndarray:
    """1 where a candidate shares the label, 0 where not, NaN where it is no candidate: (Q, N) float32."""
    excluded = items.excluded(
        queries, np.arange(len(items)), protocol.exclude_self, protocol.exclude_same_subject
    )
    return np.where(excluded, np.float32(np.nan), label.values[None, :])


def _chance(items: Items, label: _Label, protocol: Protocol) -> np.ndarray:
    """Precision of a ranking without knowledge: the share of positive candidates, (Q,) float64."""
    parts = []
    for queries in blocks_of(label.queries, len(items)):
        relevance = _relevance(items, label, queries, protocol)
        count = (~np.isnan(relevance)).sum(axis=1)
        total = np.nansum(relevance, axis=1, dtype=np.float64)
        parts.append(np.divide(total, count, out=np.full(len(queries), np.nan), where=count > 0))
    return np.concatenate(parts)


def _precision(
    items: Items, ranking: Ranking, label: _Label, anatomy: str | None, protocol: Protocol
) -> np.ndarray:
    """Precision@k of each positive query: (Q,) float64."""
    everyone = np.arange(len(items))
    return np.concatenate(
        [
            precision_at(
                ranking.scores(anatomy, queries, everyone),
                _relevance(items, label, queries, protocol),
                protocol.gold_k,
            )
            for queries in blocks_of(label.queries, len(items))
        ]
    )


def _of_model(
    items: Items,
    ranking: Ranking,
    labels: list[_Label],
    chance: dict[str, float | None],
    bootstrap: Bootstrap,
    protocol: Protocol,
) -> dict[str, Any]:
    found: dict[tuple[str, str], np.ndarray] = {}
    for label in labels:
        found[HOLISTIC, label.name] = _precision(items, ranking, label, None, protocol)
        if label.anatomy and ranking.covers(label.anatomy):
            found[CONDITIONED, label.name] = _precision(items, ranking, label, label.anatomy, protocol)
    queries = {label.name: label.queries for label in labels}
    groups = [(values[:, None], items.subjects[queries[name]]) for (_, name), values in found.items()]
    draws = dict(zip(found, bootstrap.means(groups), strict=True))
    blocks: dict[str, dict[str, Any]] = {}
    for label in labels:
        blocks[label.name] = {
            "n_queries": len(label.queries),
            "anatomy": label.anatomy,
            "chance": chance[label.name],
        }
        for mode in (HOLISTIC, CONDITIONED):
            if (mode, label.name) in found:
                drawn = draws[mode, label.name][:, 0]
                value = number(_mean(found[mode, label.name]))
                blocks[label.name][mode] = {"precision": value, "ci95": bounds(drawn)}
    conditioned = [label.name for label in labels if (CONDITIONED, label.name) in found]
    macro = {HOLISTIC: _macro(found, draws, HOLISTIC, [label.name for label in labels])}
    if conditioned:
        macro[CONDITIONED] = _macro(found, draws, CONDITIONED, conditioned)
        macro["holistic_of_conditioned"] = _macro(found, draws, HOLISTIC, conditioned)
    return {"k": protocol.gold_k, "labels": blocks, "macro": macro}


def _macro(
    found: dict[tuple[str, str], np.ndarray],
    draws: dict[tuple[str, str], np.ndarray],
    mode: str,
    names: list[str],
) -> dict[str, Any]:
    """Unweighted mean over labels, with its interval."""
    mean = _mean(np.array([_mean(found[mode, name]) for name in names]))
    drawn = macro_draws([draws[mode, name] for name in names])[:, 0]
    return {"n_labels": len(names), "precision": number(mean), "ci95": bounds(drawn)}


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
