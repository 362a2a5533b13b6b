"""Precision@k, average precision and AUC where a candidate either shares the query's label or does not.

Candidates of exactly equal score are taken in expectation over their random order, as in the other metrics.
Average precision is the mean, over the positive candidates, of the precision at their positions in the full
ranking. In a group of m candidates of equal score, p of them positive, with s candidates and r positives in
earlier groups, the j-th position is positive with probability p / m, and if it is, then up to it
r + 1 + (j - 1)(p - 1)/(m - 1) are expected (McSherry and Najork, 2008): the group adds the sum over j of

    p / m * (r + 1 + (j - 1) (p - 1) / (m - 1)) / (s + j).

Without ties that is scikit-learn's `average_precision_score`, which counts a group of ties from its end.

The AUC is the probability that a positive candidate stands before a negative one, ties counted half
(scikit-learn's `roc_auc_score` of the query's scores).
"""

from typing import NamedTuple

import numpy as np

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1  # values of a label; who is unknown is no candidate


class LabelScores(NamedTuple):
    """Metrics of Q queries; NaN without any candidate; average precision without a positive one, the AUC
    without one of each kind."""

    precision: np.ndarray  # (Q,) float64
    average_precision: np.ndarray  # (Q,) float64
    auc: np.ndarray  # (Q,) float64


class RankedBlock:
    """Some queries' full rankings, sorted once for any number of labels.

    Args:
        scores: (Q, C) float, finite; higher ranks first.
        excluded: (Q, C) bool, pairs that must not be compared.
    """

    def __init__(self, scores: np.ndarray, excluded: np.ndarray) -> None:
        self._order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, self._order, axis=1)
        self._allowed = ~np.take_along_axis(excluded, self._order, axis=1)
        self._starts = np.ones(scores.shape, dtype=bool)  # where a group of equal scores starts
        self._starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]

    def scores(self, rows: np.ndarray, label: np.ndarray, k: int) -> LabelScores:
        """How well the rankings of some queries find a label.

        Args:
            rows: (R,) int, queries of the block.
            label: (C,) int, POSITIVE, NEGATIVE or UNKNOWN, of each candidate.
            k: the cut-off of the precision; a query with fewer candidates takes them all.

        Returns:
            LabelScores of R queries.
        """
        values = label[self._order[rows]]  # (R, C)
        candidate = self._allowed[rows] & (values != UNKNOWN)
        positive = candidate & (values == POSITIVE)
        tied = ~self._starts[rows].all(axis=1)
        place = np.cumsum(candidate, axis=1)  # rank among the candidates, from 1
        chance = positive.astype(np.float64)  # that a position's candidate is positive
        hits = np.cumsum(positive, axis=1).astype(np.float64)  # positives up to it, if it is one itself
        if tied.any():
            chance[tied], hits[tied] = _in_expectation(
                candidate[tied], positive[tied], self._starts[rows[tied]]
            )
        count, total = place[:, -1], positive.sum(axis=1)
        top = (chance * (candidate & (place <= k))).sum(axis=1)
        gained = (chance * hits / np.maximum(place, 1)).sum(axis=1)
        ranks = (chance * place * candidate).sum(axis=1)  # of the positives
        nothing = np.full(len(rows), np.nan)
        return LabelScores(
            np.divide(top, np.minimum(count, k), out=nothing.copy(), where=count > 0),
            np.divide(gained, total, out=nothing.copy(), where=total > 0),
            _auc(ranks, total, count - total),
        )


def _auc(ranks: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """From the sum of the positives' ranks (1 is best) and both numbers, each (Q,): (Q,) float64."""
    pairs = positives * negatives
    wrong = ranks - positives * (positives + 1) / 2  # pairs whose negative stands before
    share = np.divide(wrong, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return 1.0 - share


def _in_expectation(
    candidate: np.ndarray, positive: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """p / m (0 where no candidate is) and r + 1 + (j - 1)(p - 1)/(m - 1) at each position: (R, C) float64."""
    group = np.cumsum(starts.ravel()) - 1  # numbered through all rows: a row's first position starts a group
    first = np.flatnonzero(starts.ravel())
    members = np.bincount(group, weights=candidate.ravel())[group]
    found = np.bincount(group, weights=positive.ravel())[group]
    before = (np.cumsum(candidate, axis=1) - candidate).ravel()[first][group]
    hits_before = (np.cumsum(positive, axis=1) - positive).ravel()[first][group]
    inside = np.cumsum(candidate, axis=1).ravel() - before  # j
    chance = np.where(candidate.ravel(), found / np.maximum(members, 1), 0.0)
    hits = hits_before + 1 + (inside - 1) * (found - 1) / np.maximum(members - 1, 1)
    return chance.reshape(candidate.shape), hits.reshape(candidate.shape)


def chance_level(candidates: np.ndarray, positives: np.ndarray) -> LabelScores:
    """What a ranking in random order reaches: all candidates as one group of ties.

    Args:
        candidates: (Q,) int, n of each query.
        positives: (Q,) int, p of them that share its label.

    Returns:
        LabelScores: p / n; c + H(n) / n (1 - c) with c = (p - 1) / (n - 1) and H the harmonic numbers; 1 / 2.
    """
    n, p = np.asarray(candidates, dtype=np.int64), np.asarray(positives, dtype=np.int64)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n.max(initial=0) + 1))])[n]
    share = (p - 1) / np.maximum(n - 1, 1)
    average = share + harmonic / np.maximum(n, 1) * (1 - share)
    return LabelScores(
        np.where(n > 0, p / np.maximum(n, 1), np.nan),
        np.where(p > 0, average, np.nan),
        np.where((p > 0) & (p < n), 0.5, np.nan),
    )
