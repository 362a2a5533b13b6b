"""The scores of two lists of texts: cut to the memory at hand, each part by the compiled kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.relevance.engine import kernel
from dataset_scripts.relevance.engine.kernel import RANKS, TILE
from dataset_scripts.relevance.engine.similarities import EntitySimilarities
from dataset_scripts.relevance.engine.threads import Workers, rows_worth
from dataset_scripts.relevance.entities import ENTITY_TYPES
from dataset_scripts.relevance.formulas import Formula, PaperFormula, Tables
from dataset_scripts.relevance.ratescore import SIMILARITY_STEPS, tie_rank
from dataset_scripts.relevance.store.store import EntityStore

_SIDE = 4096  # texts on a side of one run of the kernel, if the budget allows
_PADDING = 8  # columns more than needed: those of a row length that is a power of 2 share cache sets


@dataclass(frozen=True, eq=False)
class Texts:
    """The different texts of a list of rows, by group and, within one, shortest first.

    A tile's texts are then about equally long, and those whose scores are constants lie together.

    Attributes:
        rows: (n,) int64, rows of the store, each once.
        place: (R,) int64, where each row of the list is in ``rows``; -1 where there is no text.
        groups: (n,) int64, ascending, of `Formula.groups`.
        store: the entities.
    """

    rows: np.ndarray
    place: np.ndarray
    groups: np.ndarray
    store: EntityStore

    @classmethod
    def of(cls, store: EntityStore, rows: np.ndarray, formula: Formula | None = None) -> "Texts":
        """Sort a list of rows, (R,) int64 with -1 where there is no text; by default for RaTEScore."""
        present = rows >= 0
        unique, inverse = np.unique(rows[present], return_inverse=True)
        groups = (formula or PaperFormula(store)).groups(unique)
        order = np.lexsort((store.indptr[unique + 1] - store.indptr[unique], groups))  # stable
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        place = np.full(len(rows), -1, dtype=np.int64)
        place[present] = rank[inverse]
        return cls(unique[order], place, groups[order], store)

    def __len__(self) -> int:
        return len(self.rows)

    def entities(self, part: slice) -> "Entities":
        """Return the entities of some of the texts."""
        begins = self.store.indptr[self.rows[part]]
        lengths = self.store.indptr[self.rows[part] + 1] - begins
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        where = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], lengths)
        vocabulary, ids = np.unique(self.store.entity_ids[where], return_inverse=True)
        types = np.asarray(self.store.entity_types[vocabulary], dtype=np.int64)
        return Entities(starts, ids.astype(np.int32), np.asarray(vocabulary), types)


@dataclass(frozen=True, eq=False)
class Entities:
    """The entities of n texts: text i has ``ids[starts[i]:starts[i + 1]]``, positions in the vocabulary.

    Attributes:
        starts: (n + 1,) int64.
        ids: (nnz,) int32.
        vocabulary: (V',) int32, ids of the store, ascending.
        types: (V',) int64.
    """

    starts: np.ndarray
    ids: np.ndarray
    vocabulary: np.ndarray
    types: np.ndarray

    @property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        return self.starts, self.ids


class PairScores:
    """Scores texts of a store against each other, each pair once.

    Args:
        store: the entities.
        formula: the relevance.
        budget_bytes, table_bytes: as of `RelevanceEngine`.
        workers: the threads to use.
    """

    def __init__(
        self,
        store: EntityStore,
        formula: Formula,
        budget_bytes: int,
        table_bytes: int,
        workers: Workers,
    ) -> None:
        self.similarities = EntitySimilarities(store, table_bytes, workers)
        self.workers = workers
        self._store = store
        self._budget_bytes = budget_bytes
        self._tables = formula.tables()
        self._ties, self._weight, self._sign = tie_tables(self._tables)

    def matrix(self, left: Texts, right: Texts, dtype: type = np.float32) -> np.ndarray:
        """Return all scores: (len(left), len(right)) of a float dtype; symmetric if ``left is right``."""
        out: np.ndarray = np.empty((len(left), len(right)), dtype=dtype)
        room = self._room(left, right)
        for down, across, sides in self._pairs(left, right):
            part = out[down, across]
            if sides is None:
                self._constant(part, left.groups[down], right.groups[across])
                if left is right:
                    out[across, down] = part.T
            else:
                self._fill(out, (down.start, across.start), *sides, left is right, room)
        return out

    def stream(self, left: Texts, right: Texts) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield the scores in blocks of bounded size; if ``left is right``, none below the diagonal.

        A block is overwritten by the next one.
        """
        room = self._room(left, right)
        space = np.empty(room.size, dtype=np.float32)
        for down, across, sides in self._pairs(left, right):
            rows, columns = down.stop - down.start, across.stop - across.start
            out = space[: rows * columns].reshape(rows, columns)
            if sides is None:
                self._constant(out, left.groups[down], right.groups[across])
            else:
                self._fill(out, (0, 0), *sides, False, room)
            yield down, across, out

    def _room(self, left: Texts, right: Texts) -> np.ndarray:
        """Memory for one direction of any two spans; to get it anew each time would cost as much again."""
        longest = [max((s.stop - s.start for s in self._spans(side)), default=0) for side in (left, right)]
        return np.empty(longest[0] * (longest[1] + _PADDING))

    def _pairs(
        self, left: Texts, right: Texts
    ) -> Iterator[tuple[slice, slice, tuple["Entities", "Entities"] | None]]:
        """Yield two spans and their entities: the same object twice on the diagonal, None for constants."""
        spans = self._spans(left), self._spans(right)
        last = len(self._tables.constants) - 1
        for number, down in enumerate(spans[0]):
            computed = left.groups[down.start] == last
            mine = left.entities(down) if computed else None
            for across in spans[1][number if left is right else 0 :]:
                if mine is None or right.groups[across.start] != last:
                    yield down, across, None
                    continue
                diagonal = left is right and across == down
                yield down, across, (mine, mine if diagonal else right.entities(across))

    def _constant(self, out: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
        """Write scores that are constants of groups, (rows,) and (columns,) int64, ascending."""
        for group in range(len(self._tables.constants)):
            rows = slice(*np.searchsorted(left, [group, group + 1]))
            for other in range(len(self._tables.constants)):
                columns = slice(*np.searchsorted(right, [other, other + 1]))
                out[rows, columns] = self._tables.constants[group, other]

    def _fill(
        self,
        out: np.ndarray,
        corner: tuple[int, int],
        left: Entities,
        right: Entities,
        mirror: bool,
        room: np.ndarray,
    ) -> None:
        """Write the scores of two spans of texts.

        Args:
            out: float32 or float64, written from ``corner`` on: rows of ``left``, columns of ``right``.
            left, right: the same object for the texts with themselves.
            mirror: write the transpose as well, from (corner[1], corner[0]) on.
            room: (rows * (columns + _PADDING) or more,) float64, overwritten.
        """
        rows, columns = len(left.starts) - 1, len(right.starts) - 1
        keys = self.similarities.steps(right.vocabulary, left.vocabulary)  # (matches, queries)
        back_keys = keys.T.copy() if left is not right else keys  # not a view, as of one row
        forward = room[: rows * (columns + _PADDING)].reshape(rows, columns + _PADDING)
        sides = self._sides(keys, left, right)
        self.workers.share(kernel.directed, -(-columns // TILE), (forward, sides))
        tiles = -(-rows // TILE)
        if left is right:
            arguments = (out, corner[0], forward, rows)
            self.workers.share(kernel.fold, tiles, arguments, at_least=rows_worth(TILE * rows))
        else:
            sides = self._sides(back_keys, right, left)
            self.workers.share(kernel.meet, tiles, (out, *corner, mirror, forward, sides))

    def _sides(self, keys: np.ndarray, queries: Entities, matches: Entities) -> tuple[Any, ...]:
        """The ``sides`` of `kernel` for one direction; ``keys`` come as steps and are changed."""
        types, worth = (matches.types, queries.types), rows_worth(len(queries.types))
        least, most = self._tables.least, self._tables.most
        if least is not None and most is not None:
            self.workers.share(kernel.bound, len(keys), (keys, least, most, *types), at_least=worth)
        self.workers.share(kernel.add_ranks, len(keys), (keys, self._ties, *types), at_least=worth)
        own = self._tables.entity_weight[queries.vocabulary]
        tables = (queries.types, self._weight, self._sign, own)
        return keys, *tables, *queries.rows, *matches.rows, 1.0 / SIMILARITY_STEPS

    def _spans(self, texts: Texts) -> list[slice]:
        """Cut texts into spans so that any two of them fit the budget; one text at least.

        No span holds both texts whose scores are computed and others.
        """
        spans: list[slice] = []
        computed = int(np.searchsorted(texts.groups, len(self._tables.constants) - 1))
        while (start := spans[-1].stop if spans else 0) < len(texts):
            count = min(_SIDE, (computed if start < computed else len(texts)) - start)
            while count > 1 and not self._fits(texts, slice(start, start + count)):
                count = -(-count // 2)
            spans.append(slice(start, start + count))
        return spans

    def _fits(self, texts: Texts, span: slice) -> bool:
        """Whether this span against one of its kind keeps to half the budget for texts and half for entities.

        The halves are apart since the memory for texts is that of the longest spans, for all of them.
        """
        rows = texts.rows[span]
        if 20 * len(rows) ** 2 > self._budget_bytes // 2:
            return False
        bound = int((self._store.indptr[rows + 1] - self._store.indptr[rows]).sum())
        if self._bytes(min(bound, len(self._store.entity_types))) <= self._budget_bytes // 2:
            return True
        return self._bytes(len(texts.entities(span).vocabulary)) <= self._budget_bytes // 2

    def _bytes(self, entities: int) -> int:
        """Working memory for texts with V entities against as many, beside their scores."""
        product = min(entities, 1024)  # of the matrix products: vectors, cosines, steps
        products = 24 * product * self._store.embeddings.shape[1] + 28 * product**2
        return 8 * entities**2 + products + self.workers.threads * entities * 16 * TILE


def tie_tables(tables: Tables) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rank of the tie (5, 5) int32, then w and n by query type * 8 + rank, (40,) float64 each."""
    count = len(ENTITY_TYPES)
    ties = np.array([[tie_rank(q, m) for m in range(count)] for q in range(count)], dtype=np.int32)
    weight, sign = np.zeros(count * RANKS), np.zeros(count * RANKS)
    for q in range(count):
        for m in range(count):
            weight[q * RANKS + ties[q, m]] = tables.weight[q, m]
            sign[q * RANKS + ties[q, m]] = tables.sign[q, m]
    return ties, weight, sign
