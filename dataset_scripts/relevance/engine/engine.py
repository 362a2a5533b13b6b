"""Relevance between many texts at once, exactly: blocks, pairs and neighbours from an EntityStore.

For a text j, let c_j[v] = s w n and w_j[v] = w be what entity v of the vocabulary earns by its best match in
j (notation of ``ratescore.directed_score``, which ``content.directed_content`` shares). The direction i -> j
is then sum(c_j[v]) / sum(w_j[v]) over the entities v of i. The best matches of a tile of texts serve all
texts on the other side, and both directions of a pair follow from one set of similarities.

Every score is what the plain reference returns, ``ratescore.rate_score`` or ``content.content_score``,
whatever the blocks, tiles and threads; `pairs` gives it as it is, the others as float32. (The similarities
come from float64 matrix products, rounded to 2^-20; where one lies within the last bit of a product of a
rounding boundary, odds of about one in a billion, it may fall on the other side.)
"""

from typing import Any

import numpy as np

from dataset_scripts.relevance.engine import kernel
from dataset_scripts.relevance.engine.pair_scores import PairScores, Texts
from dataset_scripts.relevance.engine.threads import Workers, rows_worth
from dataset_scripts.relevance.formulas import Formula, PaperFormula, named_formula
from dataset_scripts.relevance.ratescore import RateScoreWeights
from dataset_scripts.relevance.store.store import EntityStore

_CELLS = 2**22  # of a block for `pairs`: 32 MB
_CELLS_PER_PAIR = 16  # a block of so many cells for each pair costs less than smaller blocks


class RelevanceEngine:
    """Relevance between the texts of a store, exactly.

    Args:
        store: the entities.
        formula: a formula over this store, or RaTEScore's type weights; by default those of the paper,
            ``RateScoreWeights.named("long")``. `named` makes one by its name.
        budget_bytes: bound on the working memory of one call, beside what grows with the number of rows, its
            result, and the table, whose filling takes 30 MB more for a moment; a pair of
            texts is never split, so that two texts of 5,000 entities each take 300 MB whatever the budget.
        threads: by default all cores that this process may use, or ``OMP_NUM_THREADS``.
        table_bytes: bound on the kept table of similarities of the most frequent entities; 256 MB hold 8,192.

    Raises:
        ValueError: the budget, the table or the number of threads is not positive.
    """

    def __init__(
        self,
        store: EntityStore,
        formula: Formula | RateScoreWeights | None = None,
        budget_bytes: int = 256 * 2**20,
        threads: int | None = None,
        table_bytes: int = 256 * 2**20,
    ) -> None:
        if budget_bytes < 1:
            raise ValueError(f"budget_bytes is {budget_bytes}: give the working memory in bytes, more than 0")
        if table_bytes < 0:
            raise ValueError(f"table_bytes is {table_bytes}: give the size of the kept table, or 0 for none")
        self.store = store
        if formula is None or isinstance(formula, RateScoreWeights):
            formula = PaperFormula(store, formula or RateScoreWeights.named())
        self.formula = formula
        self.budget_bytes = budget_bytes
        self._workers = Workers(threads)
        self._scores = PairScores(store, formula, budget_bytes, table_bytes, self._workers)

    @classmethod
    def named(
        cls,
        store: EntityStore,
        relevance: str = "paper",
        budget_bytes: int = 256 * 2**20,
        threads: int | None = None,
        table_bytes: int = 256 * 2**20,
        **options: Any,
    ) -> "RelevanceEngine":
        """Return an engine for a relevance by its name.

        Args:
            store: the entities.
            relevance: "paper", RaTEScore as published, or "content".
            budget_bytes, threads, table_bytes: as of the class.
            options: of the relevance, see ``formulas.named_formula``.

        Raises:
            ValueError: there is no such relevance, or the store does not hold what it needs: `content` needs
                the number of training reports that hold each entity, or a corpus.
        """
        return cls(store, named_formula(store, relevance, **options), budget_bytes, threads, table_bytes)

    def also(self, relevance: str, **options: Any) -> "RelevanceEngine":
        """Return an engine for another relevance over the same store, with the same table and threads.

        Args:
            relevance, options: as of `named`.

        Raises:
            ValueError: as of `named`.
        """
        other = RelevanceEngine.named(self.store, relevance, self.budget_bytes, 1, 0, **options)
        other._workers = other._scores.workers = self._workers
        other._scores.similarities = self._scores.similarities
        return other

    @property
    def relevance(self) -> str:
        """The name of the relevance, "paper" or "content"."""
        return self.formula.name

    @property
    def weights(self) -> Formula:
        """The formula, as ``explain.explain`` takes it."""
        return self.formula

    def prepare(self) -> None:
        """Fill the table of similarities now: seconds, once, before many small calls as in training.

        Without it the table is filled when as many similarities have been computed as it holds.
        """
        self._scores.similarities.prepare()

    def pair(self, row: int, column: int) -> float:
        """Return the relevance of two texts by the plain reference; NaN if either is -1."""
        rows = self._checked(np.array([row, column]))
        if (rows < 0).any():
            return float("nan")
        return self.formula.compare(int(rows[0]), int(rows[1])).score

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the relevance of text rows[i] with text columns[i]; each different pair is scored once.

        Args:
            rows, columns: (n,) int, text rows of the store; -1 where there is no text.

        Returns:
            (n,) float64, to the bit what `pair` returns; NaN where either is -1.

        Raises:
            ValueError: a row number is not in the store, or the lengths differ.
        """
        rows, columns = self._checked(rows), self._checked(columns)
        if len(rows) != len(columns):
            raise ValueError(f"there are {len(rows)} rows and {len(columns)} columns: pairs need as many")
        # The score is symmetric: one number stands for a pair whichever way round.
        both = np.sort(np.stack([rows, columns]), axis=0) + 1  # from 0 on
        codes, inverse = np.unique(both[0] * (len(self.store) + 1) + both[1], return_inverse=True)
        scores = np.full(len(codes), np.nan)
        first, second = np.divmod(codes, len(self.store) + 1)
        self._fill_pairs(scores, first - 1, second - 1)
        return scores[inverse.reshape(-1)]

    def _fill_pairs(self, scores: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
        """Write the scores of pairs, sorted by row: by blocks, halved until they are dense enough."""
        if not len(rows):
            return
        left, right = self._texts(rows), self._texts(columns)
        cells = len(left) * len(right)
        if cells > min(_CELLS, _CELLS_PER_PAIR * len(rows)) and len(rows) > 1:
            half = len(rows) // 2
            self._fill_pairs(scores[:half], rows[:half], columns[:half])
            self._fill_pairs(scores[half:], rows[half:], columns[half:])
            return
        block = self._scores.matrix(left, right, np.float64)
        there = (left.place >= 0) & (right.place >= 0)
        scores[there] = block[left.place[there], right.place[there]]

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the relevance of all rows with all columns; each pair once where the columns are the rows.

        Args:
            rows, columns: (R,) and (C,) int, text rows of the store; -1 where there is no text.

        Returns:
            (R, C) float32; NaN in the rows and columns of -1.

        Raises:
            ValueError: a row number is not in the store.
        """
        same = columns is rows
        rows, columns = self._checked(rows), self._checked(columns)
        left = self._texts(rows)
        right = left if same or np.array_equal(rows, columns) else self._texts(columns)
        scores = self._scores.matrix(left, right)  # (R', C')
        out = np.empty((len(rows), len(columns)), dtype=np.float32)
        arguments = (out, scores, left.place, right.place)
        self._workers.share(kernel.spread, len(rows), arguments, at_least=rows_worth(len(columns)))
        return out

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
        left, right = self._texts(rows), self._texts(columns)
        same = np.array_equal(rows, columns)
        best = np.full((len(left) + 1, k), kernel.MISSING, dtype=np.int64)  # the last one of -1
        for down, across, scores in self._scores.stream(left, left if same else right):
            self._merge(best[down], scores, right, across)
            if same and across != down:
                self._merge(best[across], np.ascontiguousarray(scores.T), right, down)
        return _unpacked(best[left.place])

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.ndim != 1 or (rows.size and (rows.min() < -1 or rows.max() >= len(self.store))):
            raise ValueError(
                f"Text rows must be a vector of numbers from -1 to {len(self.store) - 1}; got {rows.shape}"
                + (f" from {rows.min()} to {rows.max()}" if rows.size else "")
            )
        return rows

    def _texts(self, rows: np.ndarray) -> "Texts":
        return Texts.of(self.store, rows, self.formula)

    def _merge(self, best: np.ndarray, scores: np.ndarray, columns: Texts, across: slice) -> None:
        """Merge the scores of some texts into the best columns, ``best`` (R', k) as of `kernel.merge_top`."""
        inside = (columns.place >= across.start) & (columns.place < across.stop)
        positions = np.flatnonzero(inside)
        arguments = (best, scores.view(np.int32), columns.place[positions] - across.start, positions)
        self._workers.share(kernel.merge_top, len(scores), arguments)


def _unpacked(best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (R, k) int64 and scores (R, k) float32 from the integers of `kernel.merge_top`."""
    value = best >> 32
    bits = np.where(value < 0, 0x80000000 - value, value).astype(np.uint32)
    missing = best == kernel.MISSING
    positions = np.where(missing, -1, 0xFFFFFFFF - (best & 0xFFFFFFFF))
    return positions, np.where(missing, np.float32(np.nan), bits.view(np.float32))
