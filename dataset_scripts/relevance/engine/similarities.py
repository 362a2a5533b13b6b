"""Similarities of a store's entities: a table of the frequent ones, matrix products for the rest."""

import numpy as np

from dataset_scripts.relevance.engine import kernel
from dataset_scripts.relevance.engine.threads import Workers, rows_worth
from dataset_scripts.relevance.ratescore import SIMILARITY_STEPS, similarity
from dataset_scripts.relevance.store.store import EntityStore

_AT_ONCE = 1024  # entities on either side of one matrix product


class EntitySimilarities:
    """Rounded cosines between the entities of a store, as integers: steps of 2^-20.

    A corpus has some hundred thousand entities: no table holds all their pairs, while the few thousand most
    frequent ones make up most occurrences. The table of these is filled once as many similarities have been
    computed without it as it holds, so that a single small question does not pay for it.

    Args:
        store: the entities.
        table_bytes: bound on the table; 256 MB hold 8,192 entities.
        workers: the threads to use.
    """

    def __init__(self, store: EntityStore, table_bytes: int, workers: Workers) -> None:
        self._store = store
        self._size = min(len(store.entity_types), int((table_bytes // 4) ** 0.5))
        self._workers = workers
        self._computed = 0
        self._table = np.zeros((0, 0), dtype=np.int32)
        self._slots = np.full(len(store.entity_types), -1, dtype=np.int32)  # rows of the table

    def prepare(self) -> None:
        """Fill the table of the most frequent entities now; does nothing where it is filled."""
        if len(self._table) == self._size:
            return
        counts = np.bincount(self._store.entity_ids, minlength=len(self._slots))
        # By frequency: the entities of a batch then lie close together in each row, in few cache lines.
        chosen = np.argsort(-counts, kind="stable")[: self._size]
        table = np.empty((self._size, self._size), dtype=np.int32)
        for top in range(0, self._size, _AT_ONCE):
            for left in range(top, self._size, _AT_ONCE):
                rows, columns = slice(top, top + _AT_ONCE), slice(left, left + _AT_ONCE)
                table[rows, columns] = self._compute(chosen[rows], chosen[columns])
                table[columns, rows] = table[rows, columns].T
        slots = np.full(len(self._slots), -1, dtype=np.int32)
        slots[chosen] = np.arange(self._size, dtype=np.int32)
        self._table, self._slots = table, slots

    def steps(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the similarities of all pairs, from the table where it has both.

        Args:
            left, right: (L,) and (R,) int, entities of the store; the same array for a symmetric result.

        Returns:
            (L, R) int32 steps of 2^-20.
        """
        if self._computed > self._size**2:
            self.prepare()
        left_slots, right_slots = self._slots[left], self._slots[right]
        steps = np.empty((len(left), len(right)), dtype=np.int32)
        rare = np.flatnonzero(left_slots < 0)
        if len(rare) < len(left):
            arguments = (steps, self._table, left_slots, right_slots)
            self._workers.share(kernel.take_steps, len(left), arguments, at_least=rows_worth(len(right)))
        for part in _parts(rare):
            steps[part] = found = self._compute(left[part], right)
            if left is right:
                steps[:, part] = found.T
        rare_right = np.flatnonzero(right_slots < 0)
        if left is not right and len(rare_right):
            for part in _parts(np.flatnonzero(left_slots >= 0)):
                steps[np.ix_(part, rare_right)] = self._compute(left[part], right[rare_right])
        return steps

    def _compute(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """(L, R) int32, by matrix products over at most _AT_ONCE entities of the right at a time."""
        self._computed += len(left) * len(right)
        vectors = self._store.embeddings
        found = np.empty((len(left), len(right)), dtype=np.int32)
        for part in _parts(np.arange(len(right))):
            cosines = similarity(vectors[left], vectors[right[part]])
            found[:, part[0] : part[-1] + 1] = np.rint(cosines * SIMILARITY_STEPS)
        return found


def _parts(positions: np.ndarray) -> list[np.ndarray]:
    return [positions[low : low + _AT_ONCE] for low in range(0, len(positions), _AT_ONCE)]
