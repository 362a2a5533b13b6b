"""Retrieved images of some queries, for people to look at: conditions from head to tail; best, median, worst.

The list is plain data (ids, scores, no words of reports), so that the report can be written again without
ranking anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.embeddings import Ranking
from eval.items import Items
from eval.protocol import Protocol
from eval.radir_retrieval.radir_retrieval import correct_candidates
from eval.tasks import CONDITIONAL, TaskScores, gallery_of, relevance_block

HITS = 5  # retrieved images shown for each query
CONDITIONS = 6  # anatomies shown, spread from head to tail
KINDS = ("best", "median", "worst")


def collect_examples(
    items: Items,
    rankings: Mapping[str, Ranking],
    scored: Sequence[TaskScores],
    anatomies: Mapping[str, Mapping[str, Any]],
    protocol: Protocol,
) -> list[dict[str, Any]]:
    """The top hits of every model for chosen queries under chosen conditions.

    Args:
        items: the split.
        rankings: model name -> ranking; the first one's results choose the queries.
        scored: from `score_tasks`.
        anatomies: of results.json, head to tail.
        protocol: threshold, exclusions, galleries.

    Returns:
        One entry a condition and kind: {"anatomy", "kind", "query_id", "recall", "ndcg", "k", "models":
        {NAME: [{"image_id", "score", "relevance", "correct"}]}}; recall and ndcg are the first model's.
    """
    first = next(iter(rankings))
    by_anatomy = {task.anatomy: task for task in scored if task.task == CONDITIONAL and task.model == first}
    averaged = [name for name, about in anatomies.items() if about["in_average"]]
    possible = averaged or [name for name, about in anatomies.items() if about["n_with_correct"]]
    return [
        _example(items, rankings, by_anatomy[anatomy], kind, row, protocol)
        for anatomy in _spread(possible, CONDITIONS)
        for kind, row in _chosen(by_anatomy[anatomy], protocol.seed).items()
    ]


def _example(
    items: Items, rankings: Mapping[str, Ranking], task: TaskScores, kind: str, row: int, protocol: Protocol
) -> dict[str, Any]:
    """The top hits of every model for one row of a task."""
    gallery = gallery_of(items, task.anatomy, protocol)
    query = task.queries[row : row + 1]
    relevance = relevance_block(items, task.anatomy, query, gallery, protocol)[0]
    return {
        "anatomy": task.anatomy,
        "kind": kind,
        "query_id": str(items.image_ids[query[0]]),
        "k": task.ks[-1],
        "recall": float(task.recall[row, -1]),
        "ndcg": float(task.ndcg[row, -1]),
        "models": {
            name: _hits(items, gallery, ranking.scores(task.anatomy, query, gallery)[0], relevance, protocol)
            for name, ranking in rankings.items()
        },
    }


def _spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of the names at equal distances, the first and the last among them."""
    if len(names) <= count:
        return list(names)
    return [names[round(index * (len(names) - 1) / (count - 1))] for index in range(count)]


def _chosen(task: TaskScores, seed: int) -> dict[str, int]:
    """Rows of the best, the median and the worst query that has a correct candidate.

    By the mean Recall over the cut-offs, then by NDCG at the last; equals in an order drawn with the seed.
    A query is named once, also where there are fewer than three.
    """
    rows = np.flatnonzero(~np.isnan(task.recall[:, 0]))
    shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
    recall = task.recall[shuffled].mean(axis=1)
    ranked = shuffled[np.lexsort((-task.ndcg[shuffled, -1], -recall))]
    places = (0, len(ranked) // 2, len(ranked) - 1)
    chosen: dict[str, int] = {}
    for kind, place in zip(KINDS, places, strict=True):
        if len(ranked) and int(ranked[place]) not in chosen.values():
            chosen[kind] = int(ranked[place])
    return chosen


def _hits(
    items: Items, gallery: np.ndarray, scores: np.ndarray, relevance: np.ndarray, protocol: Protocol
) -> list[dict[str, Any]]:
    """The top candidates of one query, nearest first: scores and relevance (C,)."""
    allowed = np.flatnonzero(~np.isnan(relevance))
    top = allowed[np.argsort(-scores[allowed], kind="stable")[:HITS]]
    correct = correct_candidates(relevance, protocol.threshold, protocol.strict)
    return [
        {
            "image_id": str(items.image_ids[gallery[place]]),
            "score": float(scores[place]),
            "relevance": float(relevance[place]),
            "correct": bool(correct[place]),
        }
        for place in top
    ]
