"""Recall@k and NDCG@k of the RadIR paper (arXiv 2503.04653, section 5.2), every choice explicit.

The functions are pure NumPy and serve the benchmark; the class at the end offers them through
`evaluate.load("eval/radir_retrieval")`. The file imports nothing of this repository, so that the
folder also works on its own.

Choices:
  * a candidate is *correct* if its relevance is above the threshold (0.9; strict by default);
  * Recall@k is 1 if any of the top k candidates is correct, else 0 (a hit, as in the paper's release);
    queries without any correct candidate have no Recall: NaN, to be left out of means, and counted;
  * NDCG@k: linear gain, discount log2(i + 1), ideal ranking over the same candidates;
    undefined (NaN) where a query has no candidate or only candidates of relevance 0;
  * relevance NaN marks what is no candidate for the query: itself, the same patient, no findings;
  * candidates of exactly equal score are taken in expectation over their random order, so that no
    result depends on the order of the candidates.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import datasets
import evaluate
import numpy as np

_DESCRIPTION = (
    "Recall@k (a hit if any of the top k is correct) and NDCG@k (linear gain) of graded retrieval; "
    "correct: relevance above a threshold; exact ties are taken in expectation."
)

_INPUTS_DESCRIPTION = """
Args:
    predictions: for each query, the scores of its candidates (higher is nearer).
    references: for each query, the relevance of the same candidates; None or NaN where it is no candidate.
    ks: the cut-offs, by default (3, 5, 10).
    threshold: a candidate is correct if its relevance is above this, by default 0.9.
    strict: above (default), or at or above.
Returns:
    recall@k and ndcg@k for each k, n_queries, and n_without_correct: queries that Recall leaves out.
Examples:
    >>> metric = evaluate.load("eval/radir_retrieval")
    >>> result = metric.compute(predictions=[[0.9, 0.1, 0.5]], references=[[0.2, 0.95, 0.4]], ks=[1, 3])
    >>> result["recall@1"], result["recall@3"]
    (0.0, 1.0)
"""

_CITATION = """
@inproceedings{zhang2025radir,
  title = {RadIR: A Scalable Framework for Multi-Grained Medical Image Retrieval via Radiology Report Mining},
  author = {Zhang, Tengfei and Zhao, Ziheng and Wu, Chaoyi and Zhou, Xiao and Zhang, Ya and Wang, Yanfeng
            and Xie, Weidi},
  year = {2025},
  note = {arXiv 2503.04653}
}
"""

_ROWS_PER_BLOCK = 256  # rows of a score matrix that `compute` turns into arrays at a time


class PerQuery(NamedTuple):
    """Metrics of Q queries at K cut-offs."""

    recall: np.ndarray  # (Q, K) float64, NaN for queries without a correct candidate
    ndcg: np.ndarray  # (Q, K) float64, NaN where the ideal DCG is 0
    n_correct: np.ndarray  # (Q,) int64, correct candidates


def retrieval_metrics(
    scores: np.ndarray,
    relevance: np.ndarray,
    ks: Sequence[int],
    threshold: float = 0.9,
    strict: bool = True,
    correct: np.ndarray | None = None,
) -> PerQuery:
    """Recall and NDCG of each query of a block, against all of its candidates.

    Args:
        scores: (Q, C) float, finite; higher ranks first.
        relevance: (Q, C) float, 0 or more; NaN = not a candidate of that query.
        ks: the K cut-offs, each at least 1; a cut-off beyond the number of candidates takes them all.
        threshold: a candidate is correct if its relevance is above this.
        strict: above the threshold (True), or at or above it (False).
        correct: (Q, C) bool, the correct candidates where they are not told by the threshold (the paired
            report of an image); relevance then serves NDCG alone.

    Returns:
        PerQuery with arrays (Q, K), (Q, K), (Q,).

    Raises:
        ValueError: shapes that differ, scores that are not finite, negative relevance, a cut-off below 1.
    """
    scores, relevance = _checked(scores, relevance, ks)
    candidate = ~np.isnan(relevance)
    if correct is None:
        correct = correct_candidates(relevance, threshold, strict)
    elif correct.shape != scores.shape:
        raise ValueError(f"correct has shape {correct.shape}, scores {scores.shape}: they must be equal")
    correct = correct & candidate
    n_correct = correct.sum(axis=1)
    depth = min(max(ks), scores.shape[1])
    gains = np.where(candidate, relevance, 0.0)
    gain_at, hit_by = _expected_ranking(np.where(candidate, scores, -np.inf), gains, correct, depth)
    columns = np.minimum(np.asarray(ks), depth) - 1
    dcg = _cumulated_gain(gain_at)[:, columns]
    ideal = _cumulated_gain(_largest_first(gains, depth))[:, columns]
    ndcg = np.divide(dcg, ideal, out=np.full(dcg.shape, np.nan), where=ideal > 0)
    recall = np.where(n_correct[:, None] > 0, hit_by[:, columns], np.nan)
    return PerQuery(recall, ndcg, n_correct)


def _cumulated_gain(gain_at: np.ndarray) -> np.ndarray:
    """DCG by each position i = 1 .. D: (Q, D) gains, discounted by log2(i + 1), to (Q, D)."""
    return np.cumsum(gain_at / np.log2(np.arange(gain_at.shape[1]) + 2.0), axis=1)


def correct_candidates(relevance: np.ndarray, threshold: float = 0.9, strict: bool = True) -> np.ndarray:
    """Which candidates are correct: (Q, C) bool; NaN never is.

    The threshold is compared in the relevance's own precision: a float32 0.9 is equal to 0.9, not below it.
    """
    limit = relevance.dtype.type(threshold)
    return relevance > limit if strict else relevance >= limit


def precision_at(scores: np.ndarray, relevance: np.ndarray, k: int) -> np.ndarray:
    """Mean relevance of the top k candidates of each query, ties in expectation.

    Args:
        scores: (Q, C) float, finite.
        relevance: (Q, C) float, 1 = shares the query's label, 0 = does not, NaN = not a candidate.
        k: the cut-off; a query with fewer candidates takes them all.

    Returns:
        (Q,) float64, NaN for a query without candidates.

    Raises:
        ValueError: as `retrieval_metrics`.
    """
    scores, relevance = _checked(scores, relevance, [k])
    candidate = ~np.isnan(relevance)
    depth = min(k, scores.shape[1])
    gains = np.where(candidate, relevance, 0.0)
    gain_at, _ = _expected_ranking(np.where(candidate, scores, -np.inf), gains, gains > 0, depth)
    taken = np.minimum(candidate.sum(axis=1), depth)
    return np.divide(gain_at.sum(axis=1), taken, out=np.full(len(scores), np.nan), where=taken > 0)


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
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if not np.issubdtype(relevance.dtype, np.floating):
        relevance = relevance.astype(np.float64)
    if (relevance < 0).any():
        raise ValueError("relevance holds negative values: NDCG needs gains of 0 or more")
    finite = np.isfinite(scores) | np.isnan(relevance)
    if not finite.all():
        query, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"the score of query {query} for candidate {column} is {scores[query, column]}: scores must be "
            "finite; mark what is no candidate by a relevance of NaN"
        )
    return scores, relevance


def _expected_ranking(
    scores: np.ndarray, gains: np.ndarray, correct: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Expected gain at each of the first `depth` positions, and the probability of a hit by that position.

    Args:
        scores: (Q, C), -inf for what is no candidate (with gain 0, never correct).
        gains: (Q, C) float.
        correct: (Q, C) bool.
        depth: D, at most C.

    Returns:
        (Q, D) float64 and (Q, D) float64.
    """
    top = _top_columns(scores, min(depth + 1, scores.shape[1]))  # one more: a tie may cross the last position
    top_scores = np.take_along_axis(scores, top, axis=1)
    tied = ((top_scores[:, 1:] == top_scores[:, :-1]) & np.isfinite(top_scores[:, 1:])).any(axis=1)
    top = top[:, :depth]
    gain_at = np.take_along_axis(gains, top, axis=1).astype(np.float64)
    hit_by = np.maximum.accumulate(np.take_along_axis(correct, top, axis=1), axis=1).astype(np.float64)
    if tied.any():
        gain_at[tied], hit_by[tied] = _expected_with_ties(scores[tied], gains[tied], correct[tied], depth)
    return gain_at, hit_by


def _expected_with_ties(
    scores: np.ndarray, gains: np.ndarray, correct: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """`_expected_ranking` for rows with equal scores: full sort, then one group for each distinct score.

    Gain at a position: the mean gain of its group. Hit by position k: certain if a correct candidate stands
    in an earlier group; else, with r of the m members of the last group drawn and p of them correct,
    1 - C(m - p, r) / C(m, r).
    """
    rows, width = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    starts = np.ones((rows, width), dtype=bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    group = np.cumsum(starts.ravel()) - 1  # numbered through all rows; a row's first position starts a group
    size = np.bincount(group)
    ranked_correct = np.take_along_axis(correct, order, axis=1).ravel()
    mean_gain = np.bincount(group, weights=np.take_along_axis(gains, order, axis=1).ravel()) / size
    n_correct = np.bincount(group, weights=ranked_correct).astype(np.int64)
    first = np.flatnonzero(starts.ravel()) % width  # each group's first position in its row
    before = np.cumsum(n_correct) - n_correct  # correct ones in earlier groups, of all rows
    before -= np.repeat(before[first == 0], np.diff(np.append(np.flatnonzero(first == 0), len(first))))
    at = group.reshape(rows, width)[:, :depth]
    drawn = np.arange(depth) + 1 - first[at]
    hit_by = np.where(before[at] > 0, 1.0, 1.0 - _miss_probability(size[at], n_correct[at], drawn, width))
    return mean_gain[at], hit_by


def _miss_probability(size: np.ndarray, correct: np.ndarray, drawn: np.ndarray, largest: int) -> np.ndarray:
    """Probability that `drawn` of `size` items hold none of the `correct` ones (hypergeometric)."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, largest + 1)))])
    wrong = size - correct
    possible = wrong >= drawn
    left = log_factorial[wrong] - log_factorial[np.where(possible, wrong - drawn, 0)]
    return np.where(possible, np.exp(left - (log_factorial[size] - log_factorial[size - drawn])), 0.0)


def _top_columns(scores: np.ndarray, count: int) -> np.ndarray:
    """Columns of the `count` largest scores of each row, descending: (Q, count) int64."""
    if count < scores.shape[1]:
        columns = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _largest_first(gains: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest gains of each row, descending: (Q, count) float64; no candidate: gain 0."""
    if count < gains.shape[1]:
        gains = np.partition(gains, gains.shape[1] - count, axis=1)[:, gains.shape[1] - count :]
    return -np.sort(-gains.astype(np.float64), axis=1)


def _padded(rows: Sequence[Sequence[float | None]], fill: float) -> np.ndarray:
    """Lists of unequal length as one (Q, C) float64 array; None becomes NaN, the missing end `fill`."""
    block = np.full((len(rows), max(1, max(len(row) for row in rows))), fill)
    for index, row in enumerate(rows):
        block[index, : len(row)] = np.asarray(row, dtype=np.float64)
    return block


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS_DESCRIPTION)
class RadIRRetrieval(evaluate.Metric):
    """The metrics above as an `evaluate` metric; call `compute`, or `add_batch` for query after query."""

    def _info(self) -> evaluate.MetricInfo:
        rows = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features({"predictions": rows, "references": rows}),
            reference_urls=["https://arxiv.org/abs/2503.04653"],
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[float]],
        references: Sequence[Sequence[float | None]],
        ks: Sequence[int] = (3, 5, 10),
        threshold: float = 0.9,
        strict: bool = True,
    ) -> dict[str, Any]:
        parts = []
        for start in range(0, len(predictions), _ROWS_PER_BLOCK):
            scored = predictions[start : start + _ROWS_PER_BLOCK]
            related = references[start : start + _ROWS_PER_BLOCK]
            for query, (given, wanted) in enumerate(zip(scored, related, strict=True), start):
                if len(given) != len(wanted):
                    raise ValueError(
                        f"query {query} has {len(given)} scores and {len(wanted)} relevances: give one of "
                        "each for every candidate"
                    )
            block = _padded(scored, 0.0), _padded(related, np.nan)
            parts.append(retrieval_metrics(*block, ks=ks, threshold=threshold, strict=strict))
        recall = np.concatenate([part.recall for part in parts])
        ndcg = np.concatenate([part.ndcg for part in parts])
        result = {f"recall@{k}": _mean(recall[:, column]) for column, k in enumerate(ks)}
        result |= {f"ndcg@{k}": _mean(ndcg[:, column]) for column, k in enumerate(ks)}
        without = int(np.isnan(recall[:, 0]).sum())
        return {**result, "n_queries": len(recall), "n_without_correct": without}


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
