"""The relevance engine's kernel on a torch device: the same sums, in the same order, in float64.

``RelevanceEngine(store, device="cuda")`` uses it; torch is imported here and nowhere else in the engine. A
GPU gathers what the CPU kernel keeps in its cache: for a chunk of texts on one side, what every entity of the
other side earns by its best match (entities x texts), then for each text on the other side the sum of its
entities' rows, entity by entity. Chunks are bounded by the budget.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.kernel import RANKS
from dataset_scripts.pair_scores import Entities, PairScores
from dataset_scripts.ratescore import NO_ENTITIES_SCORE, SIMILARITY_STEPS, RateScoreWeights
from dataset_scripts.store import EntityStore
from dataset_scripts.workers import Workers

_AT_ONCE = 4096  # entities on either side of one matrix product


class TorchPairScores(PairScores):
    """`PairScores` on a torch device.

    Args:
        store, weights, budget_bytes, table_bytes, workers: as of `PairScores`; the table is not used.
        device: such as "cuda", "cuda:1" or "cpu".

    Raises:
        ValueError: there is no such device, or it has no float64.
    """

    def __init__(
        self,
        store: EntityStore,
        weights: RateScoreWeights,
        budget_bytes: int,
        table_bytes: int,
        workers: Workers,
        device: str,
    ) -> None:
        super().__init__(store, weights, budget_bytes, table_bytes, workers)
        try:
            self.device = torch.device(device)
            tables = [torch.from_numpy(t).to(self.device) for t in (self._ties, self._weight, self._sign)]
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(
                f"device {device!r} cannot be used ({error}): give 'cpu', or a torch device with float64"
            ) from error
        self._tie_table, self._weight_of, self._sign_of = tables

    def fill(
        self,
        out: np.ndarray,
        corner: tuple[int, int],
        left: Entities,
        right: Entities,
        mirror: bool,
        room: np.ndarray,
    ) -> None:
        """As `PairScores.fill`; ``room`` is not used."""
        steps = self._steps(right.vocabulary, left.vocabulary)  # (matches, queries)
        forward = self._directed(steps, left, right)  # (L, R)
        backward = forward if left is right else self._directed(steps.T.contiguous(), right, left)
        total = forward + backward.T
        means = 2.0 * forward * backward.T / torch.where(total != 0, total, 1.0)
        means = torch.where(total != 0, means, 0.0)
        means[_lengths(left, self.device) == 0, :] = NO_ENTITIES_SCORE
        means[:, _lengths(right, self.device) == 0] = NO_ENTITIES_SCORE
        scores = means.float().cpu().numpy()
        top, begin = corner
        out[top : top + len(scores), begin : begin + scores.shape[1]] = scores
        if mirror:
            out[begin : begin + scores.shape[1], top : top + len(scores)] = scores.T

    def _steps(self, left: np.ndarray, right: np.ndarray) -> Tensor:
        """Similarities in steps, (L, R) int32, from float64 matrix products as ``ratescore.similarity``."""
        steps = torch.empty((len(left), len(right)), dtype=torch.int32, device=self.device)
        for top in range(0, len(left), _AT_ONCE):
            rows = self._vectors(left[top : top + _AT_ONCE])
            for begin in range(0, len(right), _AT_ONCE):
                cosines = rows @ self._vectors(right[begin : begin + _AT_ONCE]).T
                steps[top : top + _AT_ONCE, begin : begin + _AT_ONCE] = torch.round(
                    cosines * SIMILARITY_STEPS
                )
        return steps

    def _vectors(self, entities: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self._store.embeddings[entities])).to(self.device).double()

    def _directed(self, steps: Tensor, queries: Entities, matches: Entities) -> Tensor:
        """How well each match covers each query: (Q, M) float64, 0 where a side has no entities."""
        query_types, match_types = (
            torch.from_numpy(side.types).to(self.device) for side in (queries, matches)
        )
        keys = (
            steps * RANKS + self._tie_table.T[match_types][:, query_types]
        )  # (matches' V, queries' V) int32
        found = torch.zeros(
            (len(queries.starts) - 1, len(matches.starts) - 1), dtype=torch.float64, device=self.device
        )
        if not len(queries.vocabulary) or not len(matches.vocabulary):
            return found
        width = max(1, self._budget_bytes // (80 * (len(queries.vocabulary) + len(queries.starts))))
        for low in range(0, found.shape[1], width):
            earned, weight = self._best(keys, query_types, matches, slice(low, low + width))
            numerator, denominator = (torch.zeros_like(found[:, low : low + width]) for _ in range(2))
            for text, ids in _layers(queries, slice(0, len(found)), self.device):
                numerator[text] += earned[ids]
                denominator[text] += weight[ids]
            found[:, low : low + width] = numerator / torch.where(denominator != 0, denominator, 1.0)
        return found

    def _best(
        self, keys: Tensor, query_types: Tensor, matches: Entities, part: slice
    ) -> tuple[Tensor, Tensor]:
        """What each entity of the queries earns by its best match in each text, and its weight: (V, m)."""
        count = len(matches.starts[part.start : part.stop + 1]) - 1
        best = torch.full((count, keys.shape[1]), torch.iinfo(torch.int32).min, dtype=torch.int32)
        best = best.to(self.device)
        for text, ids in _layers(matches, part, self.device):
            best[text] = torch.maximum(best[text], keys[ids])
        some = (best[:, :1] != torch.iinfo(torch.int32).min).T  # texts with entities
        rank = query_types[:, None] * RANKS + (best.T & (RANKS - 1))  # (V, m)
        weight = torch.where(some, self._weight_of[rank], 0.0)
        cosine = (best.T >> 3).double() * (1.0 / SIMILARITY_STEPS)
        return cosine * weight * self._sign_of[rank], weight


def _lengths(side: Entities, device: torch.device) -> Tensor:
    return torch.from_numpy(np.diff(side.starts)).to(device)


def _layers(side: Entities, part: slice, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Yield the first entity of all texts that have one, then the second, and so on: (texts, their ids).

    The texts of a side are sorted by length, so that those with another entity are always its end.
    """
    starts = side.starts[part.start : part.stop + 1]
    lengths = np.diff(starts)
    for step in range(int(lengths.max(initial=0))):
        first = int(np.searchsorted(lengths, step, side="right"))
        ids = side.ids[starts[first:-1] + step].astype(np.int64)
        yield slice(first, len(lengths)), torch.from_numpy(ids).to(device)
