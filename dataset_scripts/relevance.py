"""RaTEScore between many texts at once: exact blocks and nearest neighbours from an EntityStore.

For a text j, let c_j[v] = s w n and w_j[v] = w be what entity v of the vocabulary earns by its best match in
j (notation of ``ratescore.directed_score``). The direction i -> j is then sum(c_j[v]) / sum(w_j[v]) over the
entities v of i: two products of a sparse matrix (texts x entities) with a dense one (entities x texts).
"""

from itertools import pairwise

import numpy as np
from scipy import sparse

from dataset_scripts.entities import ENTITY_TYPES
from dataset_scripts.ratescore import (
    NO_ENTITIES_SCORE,
    SIMILARITY_STEPS,
    EntityEmbeddings,
    RateScoreWeights,
    rate_score,
    similarity,
    tie_rank,
)
from dataset_scripts.store import EntityStore

_RANKS = 8  # ranks of a tie, packed below the similarity in one integer; 0 to 5 are used
_UNKNOWN = np.iinfo(np.int32).min  # a pair of entities that was not compared yet
_BYTES_PER_TEXT = 28  # of the working set, for each (entity, text): best match, score, weight, temporaries
_BYTES_PER_ENTITY = 28  # and for each (entity, entity of a text): the cosine in float64, its steps, its key
_TABLE_MAX_BYTES = 256 * 2**20  # an entity x entity table up to this size is kept: 8,192 entities


class RelevanceEngine:
    """Relevance (RaTEScore) between the texts of a store, in exact blocks.

    Args:
        store: the entities.
        weights: type weights; by default the paper's, ``RateScoreWeights.named("long")``.
        budget_bytes: bound on the working memory of one call, beside its result and the kept similarity
        table.

    Raises:
        ValueError: the budget is not positive.
    """

    def __init__(
        self, store: EntityStore, weights: RateScoreWeights | None = None, budget_bytes: int = 256 * 2**20
    ) -> None:
        if budget_bytes < 1:
            raise ValueError(f"budget_bytes is {budget_bytes}: give the working memory in bytes, more than 0")
        self.store = store
        self.weights = weights or RateScoreWeights.named()
        self.budget_bytes = budget_bytes
        self._types = store.entity_types.astype(np.int64)
        self._ranks, self._earned, self._weight = _tie_tables(self.weights)
        count = len(store.entity_texts)
        keeps_table = 4 * count**2 <= _TABLE_MAX_BYTES
        # Filled as pairs are needed: [match, query].
        self._table = np.full((count, count), _UNKNOWN, dtype=np.int32) if keeps_table else None

    def pair(self, row: int, column: int) -> float:
        """Return the RaTEScore of two texts by the plain reference; NaN if either is -1."""
        rows = self._checked(np.array([row, column]))
        if (rows < 0).any():
            return float("nan")
        left, right = (self._entities(r) for r in rows)
        return rate_score(left, right, self.weights)

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the RaTEScores of all rows with all columns.

        Args:
            rows, columns: (R,) and (C,) int, text rows of the store; -1 where there is no text.

        Returns:
            (R, C) float32; NaN in the rows and columns of -1.

        Raises:
            ValueError: a row number is not in the store.
        """
        rows, columns = self._checked(rows), self._checked(columns)
        unique_rows, row_of = np.unique(rows, return_inverse=True)
        unique_columns, column_of = np.unique(columns, return_inverse=True)
        forward = self._directed(unique_rows, unique_columns)  # (R', C')
        if np.array_equal(unique_rows, unique_columns):
            backward = forward.T
        else:
            backward = self._directed(unique_columns, unique_rows).T
        total = forward + backward
        product = 2.0 * forward * backward
        scores = np.divide(product, total, out=np.zeros_like(total), where=total != 0)  # (R', C')
        scores[self._empty(unique_rows), :] = NO_ENTITIES_SCORE
        scores[:, self._empty(unique_columns)] = NO_ENTITIES_SCORE
        scores[unique_rows < 0, :] = np.nan
        scores[:, unique_columns < 0] = np.nan
        return scores[np.ix_(row_of, column_of)]

    def top_k(self, rows: np.ndarray, columns: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k most relevant columns of each row, never holding the whole matrix.

        Args:
            rows, columns: (R,) and (C,) int, text rows of the store; -1 where there is no text.
            k: how many, 1 to C.

        Returns:
            (R, k) int64 positions in ``columns`` and (R, k) float32 scores, descending, ties by position.
            Columns of -1 are left out; where too few remain, and for rows of -1, the position is -1 and the
            score NaN.

        Raises:
            ValueError: k is not within 1 to C, or a row number is not in the store.
        """
        rows, columns = self._checked(rows), self._checked(columns)
        if not 1 <= k <= len(columns):
            raise ValueError(
                f"k is {k}, there are {len(columns)} columns: choose k between 1 and that number"
            )
        positions = np.full((len(rows), k), -1, dtype=np.int64)
        scores = np.full((len(rows), k), np.nan, dtype=np.float32)
        height = max(1, min(len(rows), self.budget_bytes // (16 * (k + 1024))))
        width = int(np.clip(self.budget_bytes // (16 * height), 1, len(columns)))
        for top in range(0, len(rows), height):
            part = slice(top, top + height)
            for left in range(0, len(columns), width):
                found = self.block(rows[part], columns[left : left + width])  # (r, c)
                where = np.broadcast_to(np.arange(left, left + found.shape[1]), found.shape)
                where = np.where(np.isnan(found), -1, where)
                positions[part], scores[part] = _merge(positions[part], scores[part], where, found, k)
        return positions, scores

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.ndim != 1 or (rows.size and (rows.min() < -1 or rows.max() >= len(self.store))):
            raise ValueError(
                f"Text rows must be a vector of numbers from -1 to {len(self.store) - 1}; got {rows.shape}"
                + (f" from {rows.min()} to {rows.max()}" if rows.size else "")
            )
        return rows

    def _entities(self, row: int) -> EntityEmbeddings:
        ids = self.store.entity_ids[self.store.indptr[row] : self.store.indptr[row + 1]]
        return EntityEmbeddings(self.store.embeddings[ids], self._types[ids])

    def _empty(self, rows: np.ndarray) -> np.ndarray:
        """(R,) bool: texts without entities, and the missing ones."""
        return (rows < 0) | (self.store.indptr[rows] == self.store.indptr[rows + 1])

    def _directed(self, queries: np.ndarray, matches: np.ndarray) -> np.ndarray:
        """Return how well each match covers each query: (Q, M) float32, 0 where a side has no entities."""
        counts, vocabulary = self._counts(queries)  # (Q, V') and the V' entity ids
        scores = np.zeros((len(queries), len(matches)), dtype=np.float32)
        present = np.flatnonzero(~self._empty(matches))
        if not len(vocabulary) or not len(present):
            return scores
        # Longest first: in step l of the best match, the texts with more than l entities are then a prefix.
        ids = [np.unique(self._ids(row)) for row in matches[present]]
        lengths = np.array([len(row) for row in ids])
        order = np.argsort(-lengths, kind="stable")
        costs = len(vocabulary) * (_BYTES_PER_TEXT + _BYTES_PER_ENTITY * lengths[order])
        for chunk in self._chunks(order, costs):
            key = self._best_match(vocabulary, [ids[i] for i in chunk])  # (V', c) int32
            rank = self._types[vocabulary][:, None] * _RANKS + (key & (_RANKS - 1))
            cosine = (key >> 3).astype(np.float32) / np.float32(SIMILARITY_STEPS)
            earned = counts @ (cosine * self._earned[rank])  # (Q, c)
            weight = counts @ self._weight[rank]  # (Q, c)
            scores[:, present[chunk]] = np.divide(
                earned, weight, out=np.zeros_like(earned), where=weight != 0
            )
        return scores

    def _chunks(self, positions: np.ndarray, costs: np.ndarray) -> list[np.ndarray]:
        """Cut positions into runs whose costs, in bytes, stay within the budget; one position at least."""
        totals = np.cumsum(costs)
        edges = [0]
        while edges[-1] < len(positions):
            used = totals[edges[-1] - 1] if edges[-1] else 0
            edges.append(
                max(edges[-1] + 1, int(np.searchsorted(totals, used + self.budget_bytes, side="right")))
            )
        return [positions[a:b] for a, b in pairwise(edges)]

    def _ids(self, row: int) -> np.ndarray:
        return self.store.entity_ids[self.store.indptr[row] : self.store.indptr[row + 1]]

    def _counts(self, rows: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
        """Return how often each text names each entity, (R, V') float32, and the ids of those V' entities."""
        ids = [self._ids(r) if r >= 0 else np.empty(0, dtype=np.int32) for r in rows]
        indptr = np.cumsum([0, *map(len, ids)])
        vocabulary, positions = np.unique(np.concatenate([*ids, np.empty(0, np.int32)]), return_inverse=True)
        data = np.ones(len(positions), dtype=np.float32)
        counts = sparse.csr_array((data, positions, indptr), shape=(len(rows), len(vocabulary)))
        counts.sum_duplicates()  # and sorts: a text's terms are then added in one order in every block
        return counts, vocabulary

    def _best_match(self, vocabulary: np.ndarray, ids: list[np.ndarray]) -> np.ndarray:
        """Return each entity's best match in each text as one integer: similarity steps * 8 + tie rank.

        Args:
            vocabulary: (V',) entity ids.
            ids: of c texts the entity ids, each once, at least one; the longest text first.

        Returns:
            (V', c) int32; its maximum over a text's entities is the best match, ties settled.
        """
        needed, flat = np.unique(np.concatenate(ids), return_inverse=True)
        keys = self._keys(
            needed, vocabulary
        )  # (E, V'): an entity of a text is a row, so that gathers are copies
        starts = np.cumsum([0, *map(len, ids)])
        lengths = np.diff(starts)
        best = keys[flat[starts[:-1]]]  # (c, V')
        for step in range(1, int(lengths.max())):
            longer = int(np.searchsorted(-lengths, -step, side="left"))
            np.maximum(best[:longer], keys[flat[starts[:longer] + step]], out=best[:longer])
        return np.ascontiguousarray(best.T)

    def _keys(self, matches: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Return similarity steps * 8 + tie rank of all pairs: (len(matches), len(queries)) int32."""
        if self._table is None:
            return self._compute_keys(matches, queries)
        keys = self._table[np.ix_(matches, queries)]
        missing = np.flatnonzero((keys == _UNKNOWN).any(axis=1))
        if len(missing):
            keys[missing] = self._compute_keys(matches[missing], queries)
            self._table[np.ix_(matches[missing], queries)] = keys[missing]
        return keys

    def _compute_keys(self, matches: np.ndarray, queries: np.ndarray) -> np.ndarray:
        cosines = similarity(self.store.embeddings[matches], self.store.embeddings[queries])
        steps = np.rint(cosines * SIMILARITY_STEPS).astype(np.int32)
        return steps * _RANKS + self._ranks.T[self._types[matches][:, None], self._types[queries][None, :]]


def _tie_tables(weights: RateScoreWeights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rank of the tie (5, 5) int32, then w n and w by query type * 8 + rank, (40,) float32 each."""
    count = len(ENTITY_TYPES)
    ranks = np.array([[tie_rank(q, m) for m in range(count)] for q in range(count)], dtype=np.int32)
    earned = np.zeros(count * _RANKS, dtype=np.float32)
    weight = np.zeros(count * _RANKS, dtype=np.float32)
    for q in range(count):
        for m in range(count):
            weight[q * _RANKS + ranks[q, m]] = weights.affinity[q, m]
            earned[q * _RANKS + ranks[q, m]] = weights.affinity[q, m] * weights.signs[q, m]
    return ranks, earned, weight


def _merge(
    positions: np.ndarray, scores: np.ndarray, more_positions: np.ndarray, more_scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge two lists of candidates, the earlier positions first, and keep the k best of each row."""
    positions = np.concatenate([positions, more_positions], axis=1)
    scores = np.concatenate([scores, more_scores], axis=1)
    kept = np.empty((len(scores), k), dtype=np.int64)
    bounds = np.partition(-scores, k - 1, axis=1)[:, k - 1]
    for row, bound in enumerate(bounds):
        # All that tie with the k-th stay in; a stable sort keeps them in the order of position, NaN last.
        near = np.arange(scores.shape[1]) if np.isnan(bound) else np.flatnonzero(-scores[row] <= bound)
        kept[row] = near[np.argsort(-scores[row, near], kind="stable")[:k]]
    return np.take_along_axis(positions, kept, axis=1), np.take_along_axis(scores, kept, axis=1)
