"""Retrieval by gold label: do neighbours share what was labelled? Nobody has to trust text similarity alone.

For a query positive for a label: the share of its top k candidates that are positive too (precision@k), and
the average precision of its full ranking, whose mean over queries is the mAP. Candidates without a certain
label (uncertain, or not labelled) are no candidates for that label. Where the labels name an anatomy,
rankings that take conditions are also asked under it. The chance level is that of a random order.

A block of queries is ranked once for all labels; queries x candidates as a whole never exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from radir_eval.labels.metrics import POSITIVE, UNKNOWN, LabelScores, RankedBlock, chance_level
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.retrieval_split import WHOLE, RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap, macro_draws
from radir_eval.statistics.summary import bounds, number
from radir_eval.task_cache import TaskCache
from radir_eval.tasks import blocks_of

GOLD = "gold"  # the task's name among the pieces of `TaskCache`
HOLISTIC, CONDITIONED = "holistic", "conditioned"
HOLISTIC_WITH_ANATOMY = "holistic_with_anatomy"  # an average to compare that of CONDITIONED with
_METRICS = LabelScores._fields

# Mode (HOLISTIC, CONDITIONED), label -> (Q, 2) float64, the metrics of the label's queries.
_Found = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True, eq=False)
class _Label:
    """A label over the items: (N,) int8 POSITIVE, NEGATIVE or UNKNOWN; its anatomy, if any."""

    name: str
    values: np.ndarray
    anatomy: str | None

    @property
    def queries(self) -> np.ndarray:
        """Positions of the positive images: (Q,) int64."""
        return np.flatnonzero(self.values == POSITIVE)


def score_gold(
    items: RetrievalSplit, rankings: Mapping[str, Ranking], protocol: Protocol, parts: TaskCache | None = None
) -> dict[str, dict[str, Any]]:
    """Precision@k and mAP by label for each model; empty without gold labels in the split.

    Args:
        items: the split; its dataset's `labels()` gives study_id, label, value and, optionally, anatomy.
        rankings: model name -> its ranking of these items.
        protocol: gold_k, min_queries (labels with fewer positive images are left out), exclusions, bootstrap.
        parts: what an earlier run has finished is taken from here, and what this one finishes kept.

    Returns:
        model -> {"k", "origin": who set the labels, "labels": {LABEL: {"n_queries", "n_without_correct",
        "anatomy", "chance", "chance_average_precision", "holistic", "conditioned"}}, "macro": {"holistic",
        "holistic_with_anatomy", "conditioned"}}, where holistic and conditioned are {"precision", "ci95",
        "average_precision", "average_precision_ci95"}.

    Raises:
        ValueError: the labels name an anatomy that the dataset does not have, are no labels, or stand twice.
    """
    labels = _labels(items, protocol)
    if not labels:
        return {}
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    chance = _chance(items, labels, protocol)
    shared = {"k": protocol.gold_k, "origin": items.dataset.facts.label_origin}
    return {
        name: shared
        | _of_model(items, labels, _found(items, name, ranking, labels, protocol, parts), chance, bootstrap)
        for name, ranking in rankings.items()
    }


def _labels(items: RetrievalSplit, protocol: Protocol) -> list[_Label]:
    table = items.dataset.labels()
    if table is None:
        return []
    _check_labels(table)
    known = {anatomy["name"] for anatomy in items.anatomies}
    labels = []
    for name, rows in table.groupby("label", sort=True):
        values = rows.set_index(rows["study_id"].astype(str))["value"].astype(float)
        own = pd.Series(items.study_ids).map(values[values.isin([0, 1])]).fillna(UNKNOWN)
        label = _Label(str(name), own.to_numpy(dtype=np.int8), _anatomy_of(rows, str(name), known))
        if len(label.queries) >= max(2, protocol.min_queries):
            labels.append(label)
    return labels


def _check_labels(table: pd.DataFrame) -> None:
    """One label of a study has one value, which says yes, no or that it is not certain."""
    values = pd.to_numeric(table["value"], errors="coerce")
    odd = table[~(values.isin([-1, 0, 1]) | table["value"].isna())]
    if len(odd):
        row = odd.iloc[0]
        raise ValueError(
            f"{len(odd)} gold labels are none of 1 (yes), 0 (no) and -1 (uncertain), the first is "
            f"{row['value']!r} of {row['label']!r} for study {row['study_id']}: correct the source"
        )
    twice = table[table.duplicated(["study_id", "label"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{len(twice)} gold labels stand twice, the first is {row['label']!r} for study "
            f"{row['study_id']}: keep one value of each"
        )


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


def _found(
    items: RetrievalSplit,
    model: str,
    ranking: Ranking,
    labels: Sequence[_Label],
    protocol: Protocol,
    parts: TaskCache | None,
) -> _Found:
    """The metrics of a model's queries, holistic and under the labels' anatomies."""
    anatomies = sorted({label.anatomy for label in labels if label.anatomy and ranking.covers(label.anatomy)})
    found: _Found = {}
    for anatomy in (WHOLE, *anatomies):
        asked = [label for label in labels if not anatomy or label.anatomy == anatomy]
        part = parts.load(model, GOLD, anatomy) if parts is not None else None
        if part is None:
            scored = _score(items, ranking, asked, anatomy, protocol)
            part = {str(place): values for place, values in enumerate(scored)}
            if parts is not None:
                parts.save(part, model, GOLD, anatomy)
        mode = CONDITIONED if anatomy else HOLISTIC
        found |= {(mode, label.name): part[str(place)] for place, label in enumerate(asked)}
    return found


def _score(
    items: RetrievalSplit, ranking: Ranking, labels: Sequence[_Label], anatomy: str, protocol: Protocol
) -> list[np.ndarray]:
    """For each label (Q, 2) float64: precision@k and average precision of its queries under a condition."""
    everyone = np.arange(len(items))
    asked = np.flatnonzero(np.any([label.values == POSITIVE for label in labels], axis=0))
    blocks: list[list[np.ndarray]] = [[] for _ in labels]
    for queries in blocks_of(asked, len(items)):
        scores = ranking.scores(anatomy or None, queries, everyone)
        ranked = RankedBlock(scores, _excluded(items, queries, everyone, protocol))
        for label, of_label in zip(labels, blocks, strict=True):
            rows = np.flatnonzero(label.values[queries] == POSITIVE)
            of_label.append(np.stack(ranked.scores(rows, label.values, protocol.gold_k), axis=1))
    return [np.concatenate(of_label) for of_label in blocks]


def _excluded(
    items: RetrievalSplit, queries: np.ndarray, candidates: np.ndarray, protocol: Protocol
) -> np.ndarray:
    return items.excluded(queries, candidates, protocol.exclude_self, protocol.exclude_same_subject)


def _chance(items: RetrievalSplit, labels: Sequence[_Label], protocol: Protocol) -> dict[str, np.ndarray]:
    """Label -> (Q, 2) float64, the metrics of a random order."""
    of_label = {}
    for label in labels:
        marks = np.stack([label.values != UNKNOWN, label.values == POSITIVE], axis=1).astype(np.int64)
        counts = (marks.sum(axis=0) - _excluded_sums(items, marks, protocol))[label.queries]
        of_label[label.name] = np.stack(chance_level(counts[:, 0], counts[:, 1]), axis=1)
    return of_label


def _excluded_sums(items: RetrievalSplit, table: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Sums of a table (N, M) over the images that each image must not be compared with: (N, M)."""
    if not protocol.exclude_same_subject:
        return table * int(protocol.exclude_self)
    both = np.stack([items.subjects, items.study_numbers], axis=1)
    pairs = np.unique(both, axis=0, return_inverse=True)[1].ravel()
    subject, study, twice = (
        np.stack([np.bincount(groups, weights=column)[groups] for column in table.T], axis=1)
        for groups in (items.subjects, items.study_numbers, pairs)
    )
    return subject + study - twice


def _of_model(
    items: RetrievalSplit,
    labels: Sequence[_Label],
    found: _Found,
    chance: Mapping[str, np.ndarray],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """`labels` and `macro` of a model's block."""
    subjects = {label.name: items.subjects[label.queries] for label in labels}
    drawn = bootstrap.means([(values, subjects[name]) for (_, name), values in found.items()])
    draws = dict(zip(found, drawn, strict=True))
    blocks: dict[str, dict[str, Any]] = {}
    for label in labels:
        by_chance = dict(zip(("chance", "chance_average_precision"), _means(chance[label.name]), strict=True))
        blocks[label.name] = {
            "n_queries": len(label.queries),
            "n_without_correct": int(np.isnan(chance[label.name][:, 1]).sum()),
            "anatomy": label.anatomy,
            **by_chance,
        }
        for mode in (HOLISTIC, CONDITIONED):
            if (key := (mode, label.name)) in found:
                blocks[label.name][mode] = _figures(_means(found[key]), draws[key])
    return {"labels": blocks, "macro": _macros(labels, found, draws, chance)}


def _macros(
    labels: Sequence[_Label],
    found: _Found,
    draws: Mapping[tuple[str, str], np.ndarray],
    chance: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Unweighted means over labels, with intervals: of all, and of those that name an anatomy."""
    wanted = {
        HOLISTIC: (HOLISTIC, [label.name for label in labels]),
        HOLISTIC_WITH_ANATOMY: (HOLISTIC, [label.name for label in labels if label.anatomy]),
        CONDITIONED: (CONDITIONED, [label.name for label in labels if (CONDITIONED, label.name) in found]),
    }
    macros = {}
    for key, (mode, over) in wanted.items():
        if not over:
            continue
        by_chance = _mean_of([_means(chance[name]) for name in over])
        figures = _figures(
            _mean_of([_means(found[mode, name]) for name in over]),
            macro_draws([draws[mode, name] for name in over]),
        )
        macros[key] = {
            "n_labels": len(over),
            "chance": by_chance[0],
            "chance_average_precision": by_chance[1],
            **figures,
        }
    return macros


def _figures(values: Sequence[float | None], draws: np.ndarray) -> dict[str, Any]:
    """Both metrics with their intervals: draws (B, 2)."""
    return {
        "precision": values[0],
        "ci95": bounds(draws[:, 0]),
        "average_precision": values[1],
        "average_precision_ci95": bounds(draws[:, 1]),
    }


def _means(values: np.ndarray) -> list[float | None]:
    """Column means of what is defined: (Q, 2)."""
    return [_mean(column) for column in values.T]


def _mean_of(rows: Sequence[Sequence[float | None]]) -> list[float | None]:
    return _means(np.array(rows, dtype=np.float64))  # None becomes NaN


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return number(float(defined.mean())) if len(defined) else None
