"""RaTEScore between many texts at once, exactly: blocks, streams, neighbours and counts from an EntityStore.

For a text j, let c_j[v] = s w n and w_j[v] = w be what entity v of the vocabulary earns by its best match in
j (notation of ``ratescore.directed_score``). The direction i -> j is then sum(c_j[v]) / sum(w_j[v]) over the
entities v of i. The best matches of a tile of texts serve all texts on the other side, and both directions of
a pair follow from one set of similarities.

Every score is float32 of what ``ratescore.rate_score`` returns, whatever the blocks, tiles and threads. (The
similarities come from float64 matrix products, rounded to 2^-20; where one lies within the last bit of a
product of a rounding boundary, odds of about one in a billion, it may fall on the other side.)
"""

from collections.abc import Iterator

import numpy as np

from dataset_scripts import kernel
from dataset_scripts.pair_scores import PairScores, Texts
from dataset_scripts.ratescore import EntityEmbeddings, RateScoreWeights, rate_score
from dataset_scripts.store import EntityStore
from dataset_scripts.workers import Workers, rows_worth

_BLOCK = 4096  # rows and columns of a block of `blocks`
_GUESSES = 1024  # parts of a histogram's range with a bin to start from


class RelevanceEngine:
    """Relevance (RaTEScore) between the texts of a store, exactly.

    Args:
        store: the entities.
        weights: type weights; by default the paper's, ``RateScoreWeights.named("long")``.
        budget_bytes: bound on the working memory of one call, beside what grows with the number of rows, its
            result, and the table, whose filling takes 30 MB more for a moment; a pair of
            texts is never split, so that two texts of 5,000 entities each take 300 MB whatever the budget.
        threads: by default all cores that this process may use, or ``OMP_NUM_THREADS``.
        table_bytes: bound on the kept table of similarities of the most frequent entities; 256 MB hold 8,192.
        device: "cpu", or a torch device such as "cuda" for ``dataset_scripts.kernel_torch``.

    Raises:
        ValueError: the budget, the table or the number of threads is not positive.
    """

    def __init__(
        self,
        store: EntityStore,
        weights: RateScoreWeights | None = None,
        budget_bytes: int = 256 * 2**20,
        threads: int | None = None,
        table_bytes: int = 256 * 2**20,
        device: str = "cpu",
    ) -> None:
        if budget_bytes < 1:
            raise ValueError(f"budget_bytes is {budget_bytes}: give the working memory in bytes, more than 0")
        if table_bytes < 0:
            raise ValueError(f"table_bytes is {table_bytes}: give the size of the kept table, or 0 for none")
        self.store = store
        self.weights = weights or RateScoreWeights.named()
        self.budget_bytes = budget_bytes
        self._workers = Workers(threads)
        self._types = np.asarray(store.entity_types, dtype=np.int64)
        self._scores = self._pair_scores(table_bytes, device)

    def _pair_scores(self, table_bytes: int, device: str) -> PairScores:
        arguments = (self.store, self.weights, self.budget_bytes, table_bytes, self._workers)
        if device == "cpu":
            return PairScores(*arguments)
        from dataset_scripts.kernel_torch import TorchPairScores

        return TorchPairScores(*arguments, device)

    def prepare(self) -> None:
        """Fill the table of similarities now: seconds, once, before many small calls as in training.

        Without it the table is filled when as many similarities have been computed as it holds.
        """
        self._scores.similarities.prepare()

    def pair(self, row: int, column: int) -> float:
        """Return the RaTEScore of two texts by the plain reference; NaN if either is -1."""
        rows = self._checked(np.array([row, column]))
        if (rows < 0).any():
            return float("nan")
        left, right = (self._entities(r) for r in rows)
        return rate_score(left, right, self.weights)

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the RaTEScores of all rows with all columns; each pair once where the columns are the rows.

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

    def blocks(
        self,
        rows: np.ndarray,
        columns: np.ndarray | None = None,
        height: int = _BLOCK,
        width: int = _BLOCK,
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Stream the RaTEScores of all rows with all columns.

        Args:
            rows, columns: (R,) and (C,) int, text rows; without columns those are the rows, and only blocks
                on and above the diagonal come: the rest is their transpose.
            height, width: of a block; without columns the height is both.

        Yields:
            (slice of the rows, slice of the columns, (r, c) float32 as `block` gives it), row by row.

        Raises:
            ValueError: a row number is not in the store, or height or width is below 1.
        """
        if height < 1 or width < 1:
            raise ValueError(
                f"height and width are {height} and {width}: a block has 1 row and column or more"
            )
        rows = self._checked(rows)
        others = rows if columns is None else self._checked(columns)
        width = height if columns is None else width
        for top in range(0, len(rows), height):
            part = slice(top, min(len(rows), top + height))
            for left in range(top if columns is None else 0, len(others), width):
                across = slice(left, min(len(others), left + width))
                yield part, across, self.block(rows[part], others[across])

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

    def histogram(
        self, rows: np.ndarray, columns: np.ndarray | None = None, edges: np.ndarray | None = None
    ) -> np.ndarray:
        """Count the pairs by their score, as ``numpy.histogram`` would.

        Args:
            rows, columns: (R,) and (C,) int, text rows; without columns, the unordered pairs of two different
                positions in rows. Texts of -1 are left out.
            edges: (B + 1,) ascending; by default 100 bins from 0 to 1.

        Returns:
            (B,) int64 counts; scores outside the edges are not counted.

        Raises:
            ValueError: a row number is not in the store, or the edges do not ascend.
        """
        edges = np.linspace(0.0, 1.0, 101) if edges is None else np.asarray(edges, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise ValueError(f"edges must be two or more ascending numbers; got {edges}")
        left = self._texts(self._checked(rows))
        right = left if columns is None else self._texts(self._checked(columns))
        range_starts = np.linspace(edges[0], edges[-1], _GUESSES, endpoint=False)
        guess = np.maximum(np.searchsorted(edges, range_starts, side="right") - 1, 0)
        counts = np.zeros((4 * self._workers.threads, len(edges) - 1), dtype=np.int64)
        for down, across, scores in self._scores.stream(left, right):
            diagonal = columns is None and down == across
            times = (left.times[down], right.times[across])
            if diagonal:  # a text that occurs n times makes n (n - 1) / 2 pairs with itself
                own, twins = scores.diagonal().astype(np.float64), times[0] * (times[0] - 1) // 2
                counts[0] += np.histogram(own, edges, weights=twins)[0].astype(np.int64)
            arguments = (counts, scores, *times, edges, guess, diagonal)
            self._workers.share(kernel.count_bins, len(counts), arguments)
        return counts.sum(axis=0)

    def count_above(
        self, rows: np.ndarray, threshold: float, columns: np.ndarray | None = None
    ) -> np.ndarray:
        """Return for each row how many columns score above a threshold.

        Args:
            rows, columns: (R,) and (C,) int, text rows; without columns, the other rows. -1 counts nothing.
            threshold: scores must be greater.

        Returns:
            (R,) int64.

        Raises:
            ValueError: a row number is not in the store.
        """
        left = self._texts(self._checked(rows))
        right = left if columns is None else self._texts(self._checked(columns))
        counts = np.zeros(len(left) + 1, dtype=np.int64)  # the last one of -1
        for down, across, scores in self._scores.stream(left, right):
            self._workers.share(
                kernel.count_over, len(scores), (counts[down], scores, right.times[across], threshold)
            )
            if columns is None and down == across:
                counts[down] -= scores.diagonal() > threshold
            elif columns is None:
                turned = np.ascontiguousarray(scores.T)
                arguments = (counts[across], turned, left.times[down], threshold)
                self._workers.share(kernel.count_over, len(turned), arguments)
        return counts[left.place]

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

    def _texts(self, rows: np.ndarray) -> "Texts":
        return Texts.of(self.store, rows)

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
