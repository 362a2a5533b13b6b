"""Retrieved images of some queries, for people to look at: conditions from head to tail; best, median, worst.

The list is plain data (ids, scores, no words of reports), so that the report can be written again without
ranking anything. Heat-maps of the queries and their first hits are pictures, and are kept apart from it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from radir_retrieval import correct_candidates

from dataset_scripts.plumbing.bars import progress_bar
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.report.pictures import bounded, data_uri
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.task_cache import TaskCache
from radir_eval.tasks import CONDITIONAL, TaskScores, gallery_of, relevance_block

HITS = 5  # retrieved images shown for each query
CONDITIONS = 6  # anatomies shown, spread from head to tail
KINDS = ("best", "median", "worst")
MOST_HEAT_MAPS = 36  # a query's and its first hit's, for all examples
_HEAT_PX = 200  # of the longer side of a heat-map; a row of slices is as wide as it was drawn


def collect_examples(
    items: RetrievalSplit,
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
    items: RetrievalSplit,
    rankings: Mapping[str, Ranking],
    task: TaskScores,
    kind: str,
    row: int,
    protocol: Protocol,
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
    items: RetrievalSplit, gallery: np.ndarray, scores: np.ndarray, relevance: np.ndarray, protocol: Protocol
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


def draw_heat_maps(
    items: RetrievalSplit,
    rankings: Mapping[str, Ranking],
    examples: Sequence[Mapping[str, Any]],
    parts: TaskCache | None = None,
    progress: bool = False,
    most: int = MOST_HEAT_MAPS,
) -> list[dict[str, Any]]:
    """Heat-maps of the examples' queries and first hits, by the first model that can draw any.

    Args:
        items: the split.
        rankings: model name -> ranking.
        examples: from `collect_examples`.
        parts: what an earlier run has drawn is taken from here, and what this one draws kept.
        progress: show a progress bar.
        most: at most so many pictures; with fewer than all, the best queries come first, then the worst.

    Returns:
        One entry a pair: {"anatomy", "model", "query_id", "image_id", "query", "hit", "wide"}, where query
        and hit are JPEGs as data URIs, and wide says that they are rows of slices.
    """
    priority = ("best", "worst", "median")
    wanted = sorted(examples, key=lambda example: priority.index(example["kind"]))[: most // 2]
    for name, ranking in rankings.items():
        bar = progress_bar(wanted, desc=f"{name}: heat-maps", unit="pair", shown=progress)
        found = [_heat_maps(items, name, ranking, example, parts) for example in bar]
        drawn = [pair for pair in found if pair is not None]
        if drawn:
            return drawn
    return []


def _heat_maps(
    items: RetrievalSplit, name: str, ranking: Ranking, example: Mapping[str, Any], parts: TaskCache | None
) -> dict[str, Any] | None:
    """The heat-maps of a query and its first hit; None if the model cannot draw them."""
    anatomy, query_id = example["anatomy"], example["query_id"]
    hits = example["models"].get(name, ())
    if not hits:
        return None
    image_id = hits[0]["image_id"]
    piece = (name, f"heat-maps of {query_id} and {image_id}", anatomy)
    kept = None if parts is None else parts.load(*piece)
    if kept is None:
        query, hit = (int(np.flatnonzero(items.image_ids == one)[0]) for one in (query_id, image_id))
        pictures = ranking.heat_map(query, anatomy, hit), ranking.heat_map(hit, anatomy, query)
        if pictures[0] is None or pictures[1] is None:
            return None
        kept = {
            "query": _packed(pictures[0]),
            "hit": _packed(pictures[1]),
            "wide": np.array(_wide(pictures[0])),
        }
        if parts is not None:
            parts.save(kept, *piece)
    about = {"anatomy": anatomy, "model": name, "query_id": query_id, "image_id": image_id}
    sides = {side: bytes(kept[side]).decode() for side in ("query", "hit")}
    return {**about, **sides, "wide": bool(kept["wide"])}


def _wide(picture: Image.Image) -> bool:
    return picture.width > 2 * picture.height


def _packed(picture: Image.Image) -> np.ndarray:
    """A heat-map as the bytes of its data URI, uint8."""
    small = picture if _wide(picture) else bounded(picture, _HEAT_PX)
    return np.frombuffer(data_uri(small).encode(), dtype=np.uint8)
