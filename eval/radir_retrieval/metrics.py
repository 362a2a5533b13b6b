"""Recall@k and NDCG@k of the RadIR paper (arXiv 2503.04653, section 5.2), every choice explicit.

The files of this folder import nothing of their repository, so that it also works on its own.

Choices:
  * a candidate is *correct* if its relevance is above the threshold (0.9; strict by default);
  * Recall@k is 1 if any of the top k candidates is correct, else 0 (a hit, as in the paper's release);
    queries without any correct candidate have no Recall: NaN, to be left out of means, and counted;
  * NDCG@k: linear gain, discount log2(i + 1), ideal ranking over the same candidates;
    undefined (NaN) where a query has no candidate or only candidates of relevance 0;
  * relevance NaN marks what is no candidate for the query: itself, the same patient, no findings;
  * a score of -inf marks a candidate that was not retrieved: it earns nothing but stays in the ideal ranking;
  * candidates of exactly equal score are taken in expectation over their random order, so that no
    result depends on the order of the candidates.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .kernel import rank_queries

_CELLS_OF_A_THREAD = 500_000  # a thread costs more to start than fewer scores take


class PerQuery(NamedTuple):
    """Metrics of Q queries at K cut-offs."""

    recall: np.ndarray  # (Q, K) float64, NaN for queries without a correct candidate
    ndcg: np.ndarray  # (Q, K) float64, NaN where the ideal DCG is 0
    n_correct: np.ndarray  # (Q,) int64, correct candidates


class _Ranked(NamedTuple):
    """What the compiled loops tell of Q queries at the first D positions."""

    gain_at: np.ndarray  # (Q, D) float64, expected gain
    hit_by: np.ndarray  # (Q, D) float64, probability of a correct candidate by the position
    ideal: np.ndarray  # (Q, D) float64, largest gains, descending
    n_correct: np.ndarray  # (Q,) int64


def retrieval_metrics(
    scores: np.ndarray,
    relevance: np.ndarray,
    ks: Sequence[int],
    threshold: float = 0.9,
    strict: bool = True,
    correct: np.ndarray | None = None,
    threads: int | None = None,
) -> PerQuery:
    """Recall and NDCG of each query of a block, against all of its candidates.

    Args:
        scores: (Q, C) float; higher ranks first; -inf = not retrieved, else finite.
        relevance: (Q, C) float, 0 or more; NaN = not a candidate of that query.
        ks: the K cut-offs, each at least 1; a cut-off beyond the number of candidates takes them all.
        threshold: a candidate is correct if its relevance is above this.
        strict: above the threshold (True), or at or above it (False).
        correct: (Q, C) bool, the correct candidates where they are not told by the threshold (the paired
            report of an image); relevance then serves NDCG alone.
        threads: that share the queries; by default as many as this process may use, fewer for a small block.

    Returns:
        PerQuery with arrays (Q, K), (Q, K), (Q,).

    Raises:
        ValueError: shapes that differ, scores that cannot be ranked, negative relevance, a cut-off below 1.
    """
    scores, relevance = _checked(scores, relevance, ks)
    depth = min(int(max(ks)), scores.shape[1])
    limit = _limit(relevance.dtype, threshold, strict)
    ranked = _ranked(scores, relevance, correct, limit, depth, threads)
    columns = np.minimum(np.asarray(ks, dtype=np.int64), depth) - 1
    dcg = _cumulated_gain(ranked.gain_at)[:, columns]
    ideal = _cumulated_gain(ranked.ideal)[:, columns]
    ndcg = np.divide(dcg, ideal, out=np.full(dcg.shape, np.nan), where=ideal > 0)
    recall = np.where(ranked.n_correct[:, None] > 0, ranked.hit_by[:, columns], np.nan)
    return PerQuery(recall, ndcg, ranked.n_correct)


def metrics_in_blocks(
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    ks: Sequence[int],
    threshold: float = 0.9,
    strict: bool = True,
    threads: int | None = None,
) -> PerQuery:
    """`retrieval_metrics` of blocks of queries that are made one at a time: no Q x C matrix exists.

    Args:
        blocks: (scores, relevance) of some queries each, against all of their candidates; widths may differ.
        ks, threshold, strict, threads: as of `retrieval_metrics`.

    Raises:
        ValueError: no block, or as `retrieval_metrics`.
    """
    parts = [retrieval_metrics(*block, ks, threshold, strict, threads=threads) for block in blocks]
    if not parts:
        raise ValueError("there are no blocks of scores: give those of at least one query")
    return PerQuery(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def correct_candidates(relevance: np.ndarray, threshold: float = 0.9, strict: bool = True) -> np.ndarray:
    """Which candidates are correct: (Q, C) bool; NaN never is.

    The threshold is compared in the relevance's own precision: a float32 0.9 is equal to 0.9, not below it.
    """
    return relevance > relevance.dtype.type(_limit(relevance.dtype, threshold, strict))


def scores_of_ranking(ranking: Sequence[int], n_candidates: int) -> np.ndarray:
    """Scores that put candidates into a given order; what the ranking leaves out was not retrieved.

    Args:
        ranking: positions of candidates, nearest first.
        n_candidates: C.

    Returns:
        (C,) float64: -1, -2, ... in the order of the ranking, else -inf.

    Raises:
        ValueError: a position that is none of a candidate, or one twice.

    Examples:
        >>> scores_of_ranking([2, 0], 4).tolist()
        [-2.0, -inf, -1.0, -inf]
    """
    positions = np.asarray(ranking, dtype=np.float64)
    places = positions.astype(np.int64)
    wrong = (places != positions) | (places < 0) | (places >= n_candidates)
    if wrong.any():
        raise ValueError(
            f"a ranking names candidate {positions[wrong][0]:g} of {n_candidates}: give whole positions from "
            "0 on, or candidate_ids that hold what it names"
        )
    if len(np.unique(places)) < len(places):
        raise ValueError("a ranking names a candidate twice: each has one place")
    scores = np.full(n_candidates, -np.inf)
    scores[places] = -1.0 - np.arange(len(places))
    return scores


def _limit(dtype: np.dtype, threshold: float, strict: bool) -> float:
    """What a correct candidate's relevance is above, in either sense of the threshold."""
    limit = dtype.type(threshold)
    return float(limit if strict else np.nextafter(limit, dtype.type(-np.inf)))


def _cumulated_gain(gain_at: np.ndarray) -> np.ndarray:
    """DCG by each position i = 1 .. D: (Q, D) gains, discounted by log2(i + 1), to (Q, D)."""
    return np.cumsum(gain_at / np.log2(np.arange(gain_at.shape[1]) + 2.0), axis=1)


def _checked(scores: np.ndarray, relevance: np.ndarray, ks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Both as two-dimensional float arrays of one shape; ValueError says what is wrong."""
    scores, relevance = np.asarray(scores), np.asarray(relevance)
    if scores.ndim != 2 or scores.shape != relevance.shape or scores.shape[1] == 0:
        raise ValueError(
            f"scores has shape {scores.shape}, relevance {relevance.shape}: both must be (queries, "
            "candidates), equal and with at least one candidate"
        )
    if len(ks) == 0 or any(int(k) != k or k < 1 for k in ks):
        raise ValueError(f"ks is {list(ks)}: give one or more whole cut-offs of at least 1")
    if not np.issubdtype(relevance.dtype, np.floating):
        relevance = relevance.astype(np.float64)
    return scores, relevance


def _ranked(
    scores: np.ndarray,
    relevance: np.ndarray,
    correct: np.ndarray | None,
    limit: float,
    depth: int,
    threads: int | None,
) -> _Ranked:
    """Share the queries of checked arrays among threads."""
    if correct is None:
        correct = np.zeros((len(scores), 0), dtype=bool)
    elif correct.shape != scores.shape:
        raise ValueError(f"correct has shape {correct.shape}, scores {scores.shape}: they must be equal")
    queries = len(scores)
    gain_at, hit_by, ideal = (np.empty((queries, depth)) for _ in range(3))
    counts = np.empty((queries, 2), dtype=np.int64)
    told = np.ascontiguousarray(correct, dtype=bool)
    arguments = (*_for_kernel(scores, relevance), told, limit, gain_at, hit_by, ideal, counts)
    threads = min(threads or _available(), max(1, scores.size // _CELLS_OF_A_THREAD))
    if threads == 1:
        rank_queries(*arguments, 0, queries)
    else:
        # More parts than threads level out where other work slows one of them.
        edges = np.linspace(0, queries, 4 * threads + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(rank_queries, *arguments, *ends) for ends in pairwise(edges)]:
                done.result()
    _refuse_unranked(scores, relevance, counts[:, 1])
    return _Ranked(gain_at, hit_by, ideal, counts[:, 0])


def _for_kernel(*arrays: np.ndarray) -> list[np.ndarray]:
    """In rows, all as float32 if that loses nothing, else as float64: the loops know these two."""
    narrow = all(array.dtype in (np.float16, np.float32) for array in arrays)
    return [np.ascontiguousarray(array, np.float32 if narrow else np.float64) for array in arrays]


def _refuse_unranked(scores: np.ndarray, relevance: np.ndarray, columns: np.ndarray) -> None:
    """ValueError if a query has a column with what cannot be ranked."""
    wrong = np.flatnonzero(columns >= 0)
    if len(wrong) == 0:
        return
    query, column = wrong[0], columns[wrong[0]]
    gain, score = relevance[query, column], scores[query, column]
    if not 0 <= gain < np.inf:
        raise ValueError(
            f"the relevance of candidate {column} for query {query} is {gain}: NDCG needs gains of 0 or more"
        )
    raise ValueError(
        f"the score of query {query} for candidate {column} is {score}: scores must be finite, or -inf for "
        "what was not retrieved; mark what is no candidate by a relevance of NaN"
    )


def _available() -> int:
    """Cores that this process may use; ``OMP_NUM_THREADS`` may ask for fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else cores
