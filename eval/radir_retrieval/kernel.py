"""The metrics' compiled loops: one pass over each query's candidates, expectations over equal scores.

The functions release the interpreter's lock and take a range of queries, so that threads can share the work;
a query's figures do not depend on how the range is cut. The file imports nothing of its repository: it
travels with the metric.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_PIECE = 64  # candidates looked over at once; few pieces hold one that enters a ranking


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter's lock; keep the machine code on disk where there is a place for it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": nowhere to write
        return numba.njit(**options)(function)


@compiled
def _sink(keys: np.ndarray, columns: np.ndarray, size: int) -> None:
    """Let the root of a heap (least key first), with its column, sink to its place among the first `size`."""
    key, column = keys[0], columns[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], columns[at] = keys[child], columns[child]
        at = child
    keys[at], columns[at] = key, column


@compiled
def _descend(keys: np.ndarray, columns: np.ndarray) -> None:
    """Turn a heap with the least key first into a descending order."""
    for last in range(len(keys) - 1, 0, -1):
        keys[0], keys[last] = keys[last], keys[0]
        columns[0], columns[last] = columns[last], columns[0]
        _sink(keys, columns, last)


@compiled
def _calm(scores: np.ndarray, relevance: np.ndarray, bounds: np.ndarray) -> tuple[int, int]:
    """Count the candidates of a piece that enter no ranking, and those above the limit.

    Args:
        scores, relevance: (P,) float.
        bounds: (3,) float of the same precision: the limit of a correct candidate, and the least score and
            the least gain of the rankings so far.
    """
    limit, least, least_gain = bounds[0], bounds[1], bounds[2]
    calm, above = np.int32(0), np.int32(0)
    for column in range(len(scores)):  # without branches: the compiler makes vector instructions of it
        gain, score = relevance[column], scores[column]
        calm += np.int32((gain <= least_gain) & (gain >= 0) & (score <= least))
        above += np.int32(gain > limit)
    return int(calm), int(above)


@compiled
def _gather(wanted: np.ndarray, scores: np.ndarray, relevance: np.ndarray, bounds: np.ndarray) -> int:
    """Write the columns that `_calm` did not count, and return how many there are."""
    least, least_gain, taken = bounds[1], bounds[2], 0
    for column in range(len(scores)):  # without branches: which are wanted cannot be predicted
        gain, score = relevance[column], scores[column]
        wanted[taken] = column
        taken += 0 if (gain <= least_gain) & (gain >= 0) & (score <= least) else 1
    return taken


@compiled
def _scan(
    scores: np.ndarray,
    relevance: np.ndarray,
    bounds: np.ndarray,
    top: np.ndarray,
    columns: np.ndarray,
    ideal: np.ndarray,
    unused: np.ndarray,
) -> tuple[int, int]:
    """Gather a query's nearest candidates and largest gains in heaps.

    Returns:
        Candidates above the limit, and -1 or the first column that holds what cannot be ranked.
    """
    right = 0
    wanted = np.empty(_PIECE, dtype=np.int64)
    for start in range(0, len(scores), _PIECE):
        row, related = scores[start : start + _PIECE], relevance[start : start + _PIECE]
        bounds[1], bounds[2] = top[0], ideal[0]
        calm, above = _calm(row, related, bounds)
        right += above
        for place in range(_gather(wanted, row, related, bounds) if calm < len(row) else 0):
            gain, score = np.float64(related[wanted[place]]), np.float64(row[wanted[place]])
            if np.isnan(gain):
                continue
            if not (score < np.inf and 0.0 <= gain < np.inf):  # NaN is not below infinity either
                return right, start + wanted[place]
            if gain > ideal[0]:
                ideal[0] = gain
                _sink(ideal, unused, len(ideal))
            if score > top[0]:
                top[0], columns[0] = score, start + wanted[place]
                _sink(top, columns, len(top))
    return right, -1


@compiled
def _count(correct: np.ndarray, relevance: np.ndarray) -> int:
    """Correct candidates of a query where they are told."""
    count = 0
    for column in range(len(correct)):
        count += int(correct[column] & (relevance[column] == relevance[column]))
    return count


@compiled
def _is_correct(relevance: np.ndarray, correct: np.ndarray, limit: float, column: int) -> int:
    return 1 if (correct[column] if len(correct) > 0 else relevance[column] > limit) else 0


@compiled
def _group(
    scores: np.ndarray,
    relevance: np.ndarray,
    correct: np.ndarray,
    limit: float,
    score: float,
    columns: np.ndarray,
) -> tuple[int, int, float]:
    """Members, correct members and summed gain of the candidates of one score.

    Args:
        columns: where they stand; none: anywhere among the candidates.
    """
    size, right, gain = 0, 0, 0.0
    if len(columns) > 0:
        for column in columns:
            size += 1
            right += _is_correct(relevance, correct, limit, column)
            gain += relevance[column]
        return size, right, gain
    for column in range(len(scores)):
        if scores[column] == score and not np.isnan(relevance[column]):
            size += 1
            right += _is_correct(relevance, correct, limit, column)
            gain += relevance[column]
    return size, right, gain


@compiled
def _expect(
    scores: np.ndarray,
    relevance: np.ndarray,
    correct: np.ndarray,
    limit: float,
    top: np.ndarray,
    columns: np.ndarray,
    gain_at: np.ndarray,
    hit_by: np.ndarray,
) -> None:
    """Write the expected gain at each position, and the probability of a hit by it.

    The members of a group of equal scores stand in any order. At each of its positions the gain is the
    group's mean; a hit by its r-th position is certain if a correct candidate stands in an earlier group,
    else 1 - C(m - p, r) / C(m, r) with p of its m members correct.

    Args:
        top, columns: (D + 1,), descending; the last tells whether a group continues beyond position D.
        gain_at, hit_by: (D,) float64, written.
    """
    depth, start, found = len(gain_at), 0, False
    while start < depth and top[start] > -np.inf:
        end = start + 1
        while end <= depth and top[end] == top[start]:
            end += 1
        members = columns[start:end] if end <= depth else columns[:0]
        size, right, gain = _group(scores, relevance, correct, limit, top[start], members)
        miss = 1.0
        for position in range(start, min(end, depth)):
            drawn = position - start
            miss *= max(0, size - right - drawn) / (size - drawn)
            gain_at[position] = gain / size
            hit_by[position] = 1.0 if found else 1.0 - miss
        found = found or right > 0
        start = end
    for position in range(start, depth):  # candidates that were not retrieved
        gain_at[position] = 0.0
        hit_by[position] = 1.0 if found else 0.0


@compiled
def rank_queries(
    scores: np.ndarray,
    relevance: np.ndarray,
    correct: np.ndarray,
    limit: float,
    gain_at: np.ndarray,
    hit_by: np.ndarray,
    ideal: np.ndarray,
    counts: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Rank the candidates of the queries first to last.

    Args:
        scores: (Q, C) float; -inf: a candidate that was not retrieved.
        relevance: (Q, C) float; NaN: no candidate.
        correct: (Q, C) bool, or (Q, 0): a relevance above the limit.
        limit: of a correct candidate.
        gain_at: (Q, D) float64, written: the expected gain at each position.
        hit_by: (Q, D) float64, written: the probability of a correct candidate by each position.
        ideal: (Q, D) float64, written: the largest gains, descending.
        counts: (Q, 2) int64, written: correct candidates, and -1 or the column of a score that is NaN or
            infinite, or of a relevance that is negative or infinite.
    """
    depth = gain_at.shape[1]
    top, columns = np.empty(depth + 1), np.empty(depth + 1, dtype=np.int64)  # heaps, then descending
    unused = np.zeros(depth, dtype=np.int64)  # columns that `_sink` moves along with the gains
    bounds = np.full(3, limit, dtype=relevance.dtype)
    for query in range(first, last):
        row, related, told, best = scores[query], relevance[query], correct[query], ideal[query]
        top[:], best[:] = -np.inf, 0.0
        right, wrong = _scan(row, related, bounds, top, columns, best, unused)
        right = _count(told, related) if len(told) > 0 else right
        counts[query, 0], counts[query, 1] = right, wrong
        _descend(top, columns)
        _descend(best, unused)
        _expect(row, related, told, limit, top, columns, gain_at[query], hit_by[query])
