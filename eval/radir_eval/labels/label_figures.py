"""Labels as figures of models: for each set of labels, whole images and under the labels' anatomies.

`whole` is over all labels of a set, by features of whole images. `conditional` is over those that name an
anatomy: a ranking that takes conditions is asked under it, any other one ranks by whole images. Both are
means over labels of means over the images that have the label.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radir_eval.labels.label_sets import Label, by_set, read_labels
from radir_eval.labels.precision_by_label import (
    CONDITIONED,
    HOLISTIC,
    Found,
    chance_by_label,
    find_by_label,
    summarise_by_label,
)
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap
from radir_eval.statistics.comparisons import Compared, compare
from radir_eval.statistics.estimates import column_means, number
from radir_eval.statistics.macros import macro_of
from radir_eval.task_cache import TaskCache

ON_WHOLE, ON_ANATOMY = "whole", "conditional"
AUC, MAP = "auc", "map"


def precision_name(k: int) -> str:
    """precision@k, as it is called in results."""
    return f"precision@{k}"


def score_labels(
    items: RetrievalSplit, rankings: Mapping[str, Ranking], protocol: Protocol, parts: TaskCache | None = None
) -> dict[str, Any]:
    """Precision@k, mAP and AUC by label for each model; nothing without labels in the split.

    Args:
        items: the split; its dataset's `labels()` gives study_id, label, value and, optionally, anatomy.
        rankings: model name -> its ranking of these items.
        protocol: gold_k, min_queries (labels with fewer positive images are left out), exclusions, bootstrap.
        parts: what an earlier run has finished is taken from here, and what this one finishes kept.

    Returns:
        "models": model -> for each set of labels SET ("gold", "mesh"): {"origin", "whole", "conditional"},
        either one {"n_labels", "auc", "map", "precision@k"}, each with _ci95 and chance_; and SET_precision:
        {"k", "origin", "labels", "macro"}, see `summarise_by_label`. "comparisons": rows as of `compare`.

    Raises:
        ValueError: the labels name an anatomy that the dataset does not have, are no labels, or stand twice.
    """
    labels = read_labels(items, protocol)
    blocks: dict[str, dict[str, Any]] = {name: {} for name in rankings}
    if not labels:
        return {"models": blocks, "comparisons": []}
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    chance = chance_by_label(items, labels, protocol)
    compared: dict[str, dict[str, Compared]] = {}
    for name, ranking in rankings.items():
        found = find_by_label(items, name, ranking, labels, protocol, parts)
        for key, of in by_set(labels).items():
            shared = {"k": protocol.gold_k, "origin": items.dataset.facts.label_origin}
            by_label = summarise_by_label(items, of, found, chance, bootstrap)
            blocks[name][f"{key}_precision"] = {**shared, **by_label}
            blocks[name][key] = {"origin": shared["origin"]}
            for where, asked in _asked(of).items():
                figures = _macro(items, asked, found, where, protocol.gold_k, bootstrap)
                by_chance = _by_chance(asked, chance, protocol.gold_k)
                blocks[name][key][where] = {
                    "n_labels": len(asked), **figures.estimate.to_dict(), **by_chance
                }  # fmt: skip
                compared.setdefault(f"{key}/{where}", {})[name] = figures
    return {"models": blocks, "comparisons": compare(compared, protocol.randomisations, protocol.seed)}


def _asked(labels: Sequence[Label]) -> dict[str, list[Label]]:
    """The labels of each figure; none without a label."""
    asked = {ON_WHOLE: list(labels), ON_ANATOMY: [label for label in labels if label.anatomy]}
    return {where: of for where, of in asked.items() if of}


def _macro(
    items: RetrievalSplit,
    labels: Sequence[Label],
    found: Found,
    where: str,
    k: int,
    bootstrap: Bootstrap,
) -> Compared:
    """A model's means over labels, in the order AUC, mAP, precision@k."""
    groups = []
    for label in labels:
        values = found[HOLISTIC, label.name]
        if where == ON_ANATOMY:
            values = found.get((CONDITIONED, label.name), values)
        groups.append((values[:, ::-1], items.subjects[label.queries]))
    return macro_of((AUC, MAP, precision_name(k)), groups, bootstrap)


def _by_chance(labels: Sequence[Label], chance: Mapping[str, np.ndarray], k: int) -> dict[str, float | None]:
    """What a random order reaches in those means."""
    means = column_means(np.stack([column_means(chance[label.name][:, ::-1]) for label in labels]))
    names = (AUC, MAP, precision_name(k))
    return {f"chance_{name}": number(value) for name, value in zip(names, means, strict=True)}
