"""Content skill: how well features order studies by what their texts affirm, corrected for chance.

Of a query whose text affirms a finding: (NDCG@10 - chance) / (1 - chance), summed over the queries above and
below the line, with the relevance by content as the gain, and the chance that of a random order.
"""

from dataclasses import dataclass

import numpy as np

CUT_OFF = 10


@dataclass
class ContentSkill:
    """A sum over queries, to which any number of conditions is added."""

    above: float = 0.0
    below: float = 0.0

    def add(self, features: np.ndarray, relevance: np.ndarray, affirms: np.ndarray) -> None:
        """Add the queries of one condition.

        Args:
            features: (n, d), compared by their dot products.
            relevance: (n, n), by content.
            affirms: (n,) bool, the texts that affirm a finding: they are the queries.
        """
        similarity = features @ features.T
        count = len(features) - 1
        discounts = 1 / np.log2(np.arange(2, min(CUT_OFF, count) + 2))
        for query in np.flatnonzero(affirms):
            others = np.arange(count + 1) != query
            gains = relevance[query, others].astype(np.float64)
            best = float(np.sort(gains)[::-1][: len(discounts)] @ discounts)
            if best <= 0:
                continue
            order = np.argsort(-similarity[query, others], kind="stable")[: len(discounts)]
            chance = gains.mean() * discounts.sum() / best
            self.above += float(gains[order] @ discounts) / best - chance
            self.below += 1 - chance

    @property
    def value(self) -> float:
        """0 is chance and 1 the best order; NaN without a query."""
        return self.above / self.below if self.below > 0 else float("nan")
