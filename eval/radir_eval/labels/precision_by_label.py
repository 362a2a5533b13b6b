"""Retrieval by label: do neighbours share what was labelled? Nobody has to trust text similarity alone.

For a query positive for a label: the share of its top k candidates that are positive too (precision@k), the
average precision of its full ranking, whose mean over queries is the mAP, and its AUC. Candidates without a
certain label (uncertain, or not labelled) are no candidates for that label. Where the labels name an anatomy,
rankings that take conditions are also asked under it. The chance level is that of a random order.

A block of queries is ranked once for all labels; queries x candidates as a whole never exist.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radir_eval.labels.label_sets import Label
from radir_eval.labels.metrics import POSITIVE, UNKNOWN, RankedBlock, chance_level
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.retrieval_split import WHOLE, RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap, macro_draws
from radir_eval.statistics.summary import bounds, number
from radir_eval.task_cache import TaskCache
from radir_eval.tasks import blocks_of

_CHANCE = ("chance", "chance_average_precision")  # of precision and average precision; an AUC's is a half
GOLD = "gold"  # the task's name among the pieces of `TaskCache`
HOLISTIC, CONDITIONED = "holistic", "conditioned"
HOLISTIC_WITH_ANATOMY = "holistic_with_anatomy"  # an average to compare that of CONDITIONED with

# Mode (HOLISTIC, CONDITIONED), label -> (Q, 3) float64, the metrics of the label's queries.
Found = dict[tuple[str, str], np.ndarray]


def find_by_label(
    items: RetrievalSplit,
    model: str,
    ranking: Ranking,
    labels: Sequence[Label],
    protocol: Protocol,
    parts: TaskCache | None,
) -> Found:
    """The metrics of a model's queries, holistic and under the labels' anatomies.

    Args:
        items: the split.
        model, ranking: its name, and its ranking of these items.
        labels: of any sets.
        protocol: gold_k, exclusions.
        parts: what an earlier run has finished is taken from here, and what this one finishes kept.
    """
    anatomies = sorted({label.anatomy for label in labels if label.anatomy and ranking.covers(label.anatomy)})
    found: Found = {}
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
    items: RetrievalSplit, ranking: Ranking, labels: Sequence[Label], anatomy: str, protocol: Protocol
) -> list[np.ndarray]:
    """For each label (Q, 3) float64: the metrics of its queries under a condition."""
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


def chance_by_label(
    items: RetrievalSplit, labels: Sequence[Label], protocol: Protocol
) -> dict[str, np.ndarray]:
    """Label -> (Q, 3) float64, the metrics of a random order."""
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


def summarise_by_label(
    items: RetrievalSplit,
    labels: Sequence[Label],
    found: Found,
    chance: Mapping[str, np.ndarray],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """A model's figures of one set of labels.

    Returns:
        {"labels": {LABEL: {"n_queries", "n_without_correct", "anatomy", "chance", "chance_average_precision",
        "holistic", "conditioned"}}, "macro": {"holistic", "holistic_with_anatomy", "conditioned"}}, where
        holistic and conditioned are {"precision", "ci95", "average_precision", "average_precision_ci95",
        "auc", "auc_ci95"}.
    """
    names = {label.name for label in labels}
    found = {key: values for key, values in found.items() if key[1] in names}
    subjects = {label.name: items.subjects[label.queries] for label in labels}
    drawn = bootstrap.means([(values, subjects[name]) for (_, name), values in found.items()])
    draws = dict(zip(found, drawn, strict=True))
    blocks: dict[str, dict[str, Any]] = {}
    for label in labels:
        by_chance = dict(zip(_CHANCE, _means(chance[label.name])[:2], strict=True))
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
    labels: Sequence[Label],
    found: Found,
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
            **dict(zip(_CHANCE, by_chance[:2], strict=True)),
            **figures,
        }
    return macros


def _figures(values: Sequence[float | None], draws: np.ndarray) -> dict[str, Any]:
    """The metrics with their intervals: draws (B, 3)."""
    return {
        "precision": values[0],
        "ci95": bounds(draws[:, 0]),
        "average_precision": values[1],
        "average_precision_ci95": bounds(draws[:, 1]),
        "auc": values[2],
        "auc_ci95": bounds(draws[:, 2]),
    }


def _means(values: np.ndarray) -> list[float | None]:
    """Column means of what is defined: (Q, M)."""
    return [_mean(column) for column in values.T]


def _mean_of(rows: Sequence[Sequence[float | None]]) -> list[float | None]:
    return _means(np.array(rows, dtype=np.float64))  # None becomes NaN


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return number(float(defined.mean())) if len(defined) else None
