"""The inner loops of the relevance engine, compiled by numba: no Python object, no lock, no shared state.

A *tile* is 64 texts. For the texts j of a tile and every entity v of the other side, `directed` first writes
what v earns by its best match in j, and the weight of that match (c_j[v] and w_j[v] of
``dataset_scripts.relevance.engine.engine``), into a table of one contiguous row of 2 x 64 float64 for each v.
One direction of a pair is then a sum over the entities of one text of such rows: 64 pairs advance at once, in
vector registers, on data that stays in the second-level cache.

Sums run in float64 and in the order of the entities in their text, as in ``ratescore.directed_score``, and no
operation is fused or reordered: scores do not depend on tiles, blocks, threads or processor.

``sides`` is what one direction needs to know of its queries and matches, as a tuple:

    keys           (M, Q) int32, of each entity of the matches with each of the queries: similarity steps * 8
                   + rank of the tie
    query_types    (Q,) int64
    weight, sign   (40,) float64, w and n by query type * 8 + rank
    own            (Q,) float64, what each of the queries counts beside its type: w is multiplied by it
    query_starts, query_ids   (R + 1,) int64 and (nnz,) int32 into the Q entities
    match_starts, match_ids   (C + 1,) int64 and (nnz,) int32 into the M entities
    step           of the similarity

The functions release the interpreter's lock and take a range of tiles or rows, so that a thread pool can
share the work: unlike numba's own parallel loops that survives a fork and calls from several threads at once.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

TILE = 64  # texts side by side: 1 KB for each entity; about 2,000 entities in 2 MB of cache
RANKS = 8  # ranks of a tie, packed below the similarity in one integer; 0 to 5 are used
MISSING = np.iinfo(np.int64).min  # of `merge_top`: no candidate

_PIECE = 32  # entities of the vocabulary that are turned from texts x entities to entities x texts at once
_INSERTED = 64  # up to this k a candidate is inserted in its place, beyond all are sorted


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter's lock; keep the machine code on disk where there is a place for it.

    numba writes beside the source, else under the user's cache folder or ``NUMBA_CACHE_DIR``; where none of
    these can be written to, as in some containers, it compiles anew in each process.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": nowhere to write
        return numba.njit(**options)(function)


@compiled
def take_steps(
    steps: np.ndarray, table: np.ndarray, left: np.ndarray, right: np.ndarray, first: int, last: int
) -> None:
    """Write ``steps[a, b] = table[left[a], right[b]]``, int32, for the rows first to last; not where -1."""
    for a in range(first, last):
        if left[a] >= 0:
            known, row = table[left[a]], steps[a]
            for b in range(len(right)):
                if right[b] >= 0:
                    row[b] = known[right[b]]


@compiled
def add_ranks(
    keys: np.ndarray,
    tie: np.ndarray,
    match_types: np.ndarray,
    query_types: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Turn similarity steps into steps * 8 + rank of the tie, for the rows first to last.

    Args:
        keys: (M, Q) int32, matches x queries, changed in place.
        tie: (5, 5) int32, rank by query type and match type.
        match_types, query_types: (M,) and (Q,) int64.
    """
    for m in range(first, last):
        ranks = tie[:, match_types[m]]
        row = keys[m]
        for q in range(len(query_types)):
            row[q] = row[q] * RANKS + ranks[query_types[q]]


@compiled
def bound(
    keys: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    match_types: np.ndarray,
    query_types: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Put similarity steps within bounds, for the rows first to last.

    Args:
        keys: (M, Q) int32, matches x queries, changed in place.
        least, most: (5, 5) int32, by query type and match type.
        match_types, query_types: (M,) and (Q,) int64.
    """
    for m in range(first, last):
        low, high = least[:, match_types[m]], most[:, match_types[m]]
        row = keys[m]
        for q in range(len(query_types)):
            row[q] = min(max(row[q], low[query_types[q]]), high[query_types[q]])


@compiled
def _build(
    tile: np.ndarray,
    best: np.ndarray,
    keys: np.ndarray,
    query_types: np.ndarray,
    weight: np.ndarray,
    sign: np.ndarray,
    own: np.ndarray,
    starts: np.ndarray,
    ids: np.ndarray,
    step: float,
) -> None:
    """Fill a tile for the texts whose entities are ``ids[starts[j]:starts[j + 1]]``; none leaves zeros."""
    texts = len(starts) - 1
    entities = len(query_types)
    for low in range(0, entities, _PIECE):
        count = min(_PIECE, entities - low)
        for j in range(texts):
            found = best[j]
            if starts[j] < starts[j + 1]:
                row = keys[ids[starts[j]], low : low + count]
                for v in range(count):
                    found[v] = row[v]
            for p in range(starts[j] + 1, starts[j + 1]):
                row = keys[ids[p], low : low + count]
                for v in range(count):
                    found[v] = max(found[v], row[v])
        for v in range(count):
            of_type, factor = query_types[low + v] * RANKS, own[low + v]
            row_of = tile[low + v]
            for j in range(texts):
                key = best[j, v]
                rank = of_type + (key & (RANKS - 1))
                w = weight[rank] * factor
                row_of[j] = np.float64(key >> 3) * step * w * sign[rank]
                row_of[TILE + j] = w
            for j in range(texts):
                if starts[j] == starts[j + 1]:
                    row_of[j] = row_of[TILE + j] = 0.0


@compiled
def _sum(total: np.ndarray, tile: np.ndarray, ids: np.ndarray, start: int, stop: int) -> None:
    """Add up the tile's rows of one text, in order; four at a time, which saves the loads of the total."""
    p = start + (stop - start) % 4
    if p == start:
        total[:] = 0.0
    elif p == start + 1:
        total[:] = tile[ids[start]]
    elif p == start + 2:
        a, b = tile[ids[start]], tile[ids[start + 1]]
        for j in range(2 * TILE):
            total[j] = a[j] + b[j]
    else:
        a, b, c = tile[ids[start]], tile[ids[start + 1]], tile[ids[start + 2]]
        for j in range(2 * TILE):
            total[j] = a[j] + b[j] + c[j]
    while p < stop:
        a, b, c, d = tile[ids[p]], tile[ids[p + 1]], tile[ids[p + 2]], tile[ids[p + 3]]
        for j in range(2 * TILE):
            total[j] = total[j] + a[j] + b[j] + c[j] + d[j]
        p += 4


@compiled
def directed(scores: np.ndarray, sides: tuple, first: int, last: int) -> None:
    """Write how well each match covers each query, for the tiles first to last of the matches.

    Args:
        scores: (R, C or more) float64, written: columns of these tiles; 0 where a side has no entities.
        sides: see the module's text.
    """
    keys, query_types, weight, sign, own, query_starts, query_ids, match_starts, match_ids, step = sides
    tile = np.zeros((len(query_types), 2 * TILE))
    best = np.zeros((TILE, _PIECE), dtype=np.int32)
    total = np.zeros(2 * TILE)
    texts = len(match_starts) - 1
    for number in range(first, last):
        left, right = number * TILE, min(texts, (number + 1) * TILE)
        starts = match_starts[left : right + 1]
        _build(tile, best, keys, query_types, weight, sign, own, starts, match_ids, step)
        for i in range(len(query_starts) - 1):
            _sum(total, tile, query_ids, query_starts[i], query_starts[i + 1])
            row = scores[i, left:right]
            for j in range(right - left):
                w = total[TILE + j]
                row[j] = total[j] / (w if w != 0.0 else 1.0)  # the sum is 0 where the weights are


@compiled
def _means(row: np.ndarray, there: np.ndarray, back: np.ndarray) -> None:
    """Write the harmonic means of the two directions, 0 where they sum to 0; the arrays are equally long."""
    for j in range(len(row)):
        total = there[j] + back[j]
        mean = 2.0 * there[j] * back[j] / (total if total != 0.0 else 1.0)
        row[j] = mean if total != 0.0 else 0.0


@compiled
def _turned(
    back: np.ndarray, total: np.ndarray, tile: np.ndarray, ids: np.ndarray, starts: np.ndarray
) -> None:
    """Write one direction of the queries ``ids[starts[j]:starts[j + 1]]`` as columns: texts x queries."""
    for j in range(len(starts) - 1):
        _sum(total, tile, ids, starts[j], starts[j + 1])
        for i in range(TILE):
            w = total[TILE + i]
            total[i] = total[i] / (w if w != 0.0 else 1.0)
        for i in range(TILE):
            back[i, j] = total[i]


@compiled
def meet(
    out: np.ndarray,
    top: int,
    left: int,
    mirror: bool,
    forward: np.ndarray,
    sides: tuple,
    first: int,
    last: int,
) -> None:
    """Compute the second direction and write the harmonic means of both.

    Args:
        out: float32 or float64; the matches are its rows from ``top`` on, the queries its columns from
            ``left`` on.
        mirror: write the transpose as well, with rows from ``left`` and columns from ``top`` on.
        forward: (matches, queries or more) float64, the first direction as `directed` writes it.
        sides: as of `directed`, but swapped.
    """
    keys, query_types, weight, sign, own, query_starts, query_ids, match_starts, match_ids, step = sides
    tile = np.zeros((len(query_types), 2 * TILE))
    best = np.zeros((TILE, _PIECE), dtype=np.int32)
    total = np.zeros(2 * TILE)
    back = np.zeros((TILE, TILE + 8))  # matches x queries; 8 more spare the cache, see `pair_scores`
    texts, queries = len(match_starts) - 1, len(query_starts) - 1
    for number in range(first, last):
        low, high = number * TILE, min(texts, (number + 1) * TILE)
        starts = match_starts[low : high + 1]
        _build(tile, best, keys, query_types, weight, sign, own, starts, match_ids, step)
        for begin in range(0, queries, TILE):
            end = min(queries, begin + TILE)
            _turned(back, total, tile, query_ids, query_starts[begin : end + 1])
            for i in range(low, high):
                row = out[top + i, left + begin : left + end]
                _means(row, forward[i, begin:end], back[i - low, : end - begin])
            if mirror:
                for j in range(begin, end):
                    for i in range(low, high):
                        out[left + j, top + i] = out[top + i, left + j]


@compiled
def fold(out: np.ndarray, corner: int, forward: np.ndarray, texts: int, first: int, last: int) -> None:
    """Write the harmonic means of texts with themselves, whose two directions are each other's transpose.

    Args:
        out: float32 or float64, written from (corner, corner) on; symmetric.
        forward: (texts, texts or more) float64.
    """
    back = np.zeros((TILE, TILE + 8))
    for number in range(first, last):
        low, high = number * TILE, min(texts, (number + 1) * TILE)
        for begin in range(low, texts, TILE):
            end = min(texts, begin + TILE)
            for j in range(begin, end):
                for i in range(low, high):
                    back[i - low, j - begin] = forward[j, i]
            for i in range(low, high):
                row = out[corner + i, corner + begin : corner + end]
                _means(row, forward[i, begin:end], back[i - low, : end - begin])
            for j in range(begin, end):
                for i in range(low, high):
                    out[corner + j, corner + i] = out[corner + i, corner + j]


@compiled
def spread(
    out: np.ndarray, scores: np.ndarray, row_of: np.ndarray, column_of: np.ndarray, first: int, last: int
) -> None:
    """Write ``out[i, j] = scores[row_of[i], column_of[j]]`` for the rows first to last; NaN where -1."""
    for i in range(first, last):
        row = out[i]
        if row_of[i] < 0:
            row[:] = np.nan
            continue
        known = scores[row_of[i]]
        for j in range(len(column_of)):
            row[j] = known[column_of[j]] if column_of[j] >= 0 else np.nan


@compiled
def merge_top(
    best: np.ndarray, bits: np.ndarray, columns: np.ndarray, positions: np.ndarray, first: int, last: int
) -> None:
    """Merge candidates into the best of the rows first to last.

    A candidate is one integer that orders by descending score, then by ascending position: the score's bits,
    made to ascend, above the complement of the position.

    Args:
        best: (R, k) int64, descending, ``MISSING`` at the end; written.
        bits: (R, C) int32, the bits of float32 scores.
        columns, positions: (P,) int64, column and position of each candidate.
    """
    k = best.shape[1]
    count = len(columns)
    keys = np.empty(count, dtype=np.int64)
    for i in range(first, last):
        mine = best[i]
        for p in range(count):
            value = np.int64(bits[i, columns[p]])
            if value < 0:  # of a negative score, or of -0.0, which is 0.0
                value = -(value & 0x7FFFFFFF)
            keys[p] = value * 4294967296 + (4294967295 - positions[p])
        if k > _INSERTED:
            merged = np.sort(np.concatenate((mine, keys)))
            for at in range(k):
                mine[at] = merged[len(merged) - 1 - at]
            continue
        for p in range(count):
            if keys[p] > mine[k - 1]:
                at = k - 1
                while at > 0 and mine[at - 1] < keys[p]:
                    mine[at] = mine[at - 1]
                    at -= 1
                mine[at] = keys[p]
