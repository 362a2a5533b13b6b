"""What a block of queries is judged by: each relevance, hits at a parent anatomy, and what chance reaches.

Chance is exact and each query's own: the metrics' expectation over a random order of its candidates, which
is what they give where all scores are equal. For Recall@k that is 1 - C(n - c, k) / C(n, k) with c of n
candidates correct; for NDCG@k the mean gain times the sum of the discounts over the ideal.

A hit at the parent counts in part: of the k nearest candidates the best one tells, 1 if it is correct under
the query's anatomy, PARENT_CREDIT if it is correct only under an anatomy that this one is directly part of
("left pleura" under "pleura"), else 0. Its texts about the parent are compared then, by the paper's relevance
and threshold. A query counts if it has a candidate that is correct in either way.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from radir_retrieval import correct_candidates, retrieval_metrics

from radir_eval.protocol import Protocol
from radir_eval.retrieval_split import PAPER, RetrievalSplit

PARENT_CREDIT = 0.5
CREDIT, CHANCE = "credit", "chance_"  # of the arrays' names


@dataclass(frozen=True, eq=False)
class Judgement:
    """How Q queries and C candidates are judged.

    Attributes:
        relevance: name -> (Q, C) float32; NaN, in all alike, where the pair is not compared.
        ks: the K cut-offs.
        protocol: the threshold.
        paired: (Q, C) bool, the correct candidates where no threshold tells them; else None.
        near: (Q, C) bool, correct under the anatomy or one of its parents; None where it has no parent.
    """

    relevance: Mapping[str, np.ndarray]
    ks: tuple[int, ...]
    protocol: Protocol
    paired: np.ndarray | None = None
    near: np.ndarray | None = None

    def measure(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics of a ranking: each (Q, K) float64, NaN where not defined.

        Args:
            scores: (Q, C) float, higher is nearer.

        Returns:
            For each relevance NAME_recall and NAME_ndcg, see `retrieval_metrics`; "credit" where there are
            parents.
        """
        found: dict[str, np.ndarray] = {}
        limit, strict = self.protocol.threshold, self.protocol.strict
        for name, relevance in self.relevance.items():
            metrics = retrieval_metrics(scores, relevance, self.ks, limit, strict, correct=self.paired)
            found |= {f"{name}_recall": metrics.recall, f"{name}_ndcg": metrics.ndcg}
        if self.near is not None:
            near = retrieval_metrics(scores, self.relevance[PAPER], self.ks, correct=self.near).recall
            exact = np.nan_to_num(found[f"{PAPER}_recall"])
            found[CREDIT] = PARENT_CREDIT * near + (1 - PARENT_CREDIT) * exact
        return found

    def chance(self) -> dict[str, np.ndarray]:
        """`measure` of a random order in expectation; the names start with "chance_"."""
        equal = np.zeros_like(self.relevance[PAPER])
        return {f"{CHANCE}{name}": values for name, values in self.measure(equal).items()}


def judge_images(
    items: RetrievalSplit, anatomy: str, queries: np.ndarray, candidates: np.ndarray, protocol: Protocol
) -> Judgement:
    """Images to images, under an anatomy or (WHOLE) by whole reports.

    Args:
        items: the split.
        anatomy: the condition.
        queries, candidates: (Q,) and (C,) int64, positions in the items.
        protocol: who is excluded, the threshold, the cut-offs.
    """
    excluded = items.excluded(queries, candidates, protocol.exclude_self, protocol.exclude_same_subject)
    relevance = {
        name: np.where(excluded, np.float32(np.nan), items.relevance(anatomy, queries, candidates, name))
        for name in items.relevances
    }
    ks = protocol.ks_conditional if anatomy else protocol.ks_unconditional
    near = _near(items, anatomy, queries, candidates, relevance[PAPER], protocol)
    return Judgement(relevance, ks, protocol, near=near)


def _near(
    items: RetrievalSplit,
    anatomy: str,
    queries: np.ndarray,
    candidates: np.ndarray,
    relevance: np.ndarray,
    protocol: Protocol,
) -> np.ndarray | None:
    parents = items.parents.get(anatomy, ())
    if not parents:
        return None
    near = correct_candidates(relevance, protocol.threshold, protocol.strict)
    for parent in parents:
        above = items.relevance(parent, queries, candidates)
        near |= correct_candidates(above, protocol.threshold, protocol.strict)
    return near & ~np.isnan(relevance)
