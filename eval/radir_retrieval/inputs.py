"""From lists of each query to arrays: rankings as scores, excluded candidates, blocks of queries."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .metrics import scores_of_ranking

_CELLS_OF_A_BLOCK = 2_000_000  # scores that are turned into one array at a time


class Names:
    """Names of the candidates: their ids, or their patients.

    Args:
        option: what the caller calls them, for errors.
        names: one list for all queries, or a list for each query.
        lengths: candidates of each of Q queries.

    Raises:
        ValueError: they do not fit the queries.
    """

    def __init__(self, option: str, names: Sequence[Any], lengths: Sequence[int]) -> None:
        self.option, self._names = option, names
        self.shared = not (len(names) > 0 and isinstance(names[0], (list, tuple, np.ndarray)))
        if not self.shared and len(names) != len(lengths):
            raise ValueError(f"{option} has {len(names)} lists for {len(lengths)} queries: give one for each")
        for query, length in enumerate(lengths):
            if len(self.of(query)) != length:
                raise ValueError(
                    f"{option} names {len(self.of(query))} candidates of query {query}, which has {length} "
                    "relevances: give one name for each candidate"
                )

    def of(self, query: int) -> Sequence[Hashable]:
        """The names of a query's candidates, in the order of its relevances."""
        names: Sequence[Hashable] = self._names if self.shared else self._names[query]
        return names


def exclude(
    relevance: Sequence[np.ndarray],
    queries: Sequence[Hashable] | None,
    candidates: Names | None,
    what: str,
    alone: bool = False,
) -> None:
    """Set the relevance of each candidate of its query's own name to NaN: it is no candidate.

    Args:
        relevance: Q times (C,) float64, changed in place.
        queries: Q names; None or "" is unknown, and equal to no one.
        candidates: the names of the candidates.
        what: "ids" or "subjects", for errors.
        alone: the candidates' names may come without the queries', for they serve another purpose too.

    Raises:
        ValueError: one of the two without the other, or more or fewer names than queries.
    """
    if queries is None and (candidates is None or alone):
        return
    if queries is None or candidates is None:
        raise ValueError(f"query_{what} and candidate_{what} only exclude together: give both, or neither")
    if len(queries) != len(relevance):
        raise ValueError(
            f"query_{what} has {len(queries)} names for {len(relevance)} queries: give one for each"
        )
    numbers: dict[Hashable, int] = {}
    own = np.empty(0, dtype=np.int64)
    for query, name in enumerate(queries):
        if query == 0 or not candidates.shared:
            known = [numbers.setdefault(candidate, len(numbers)) for candidate in candidates.of(query)]
            own = np.array(known, dtype=np.int64)
        if name is not None and name != "":
            relevance[query][own == numbers.get(name, -1)] = np.nan


def scores_of(
    predictions: Iterable[Sequence[Any]], lengths: Sequence[int], rankings: bool, ids: Names | None
) -> Iterator[np.ndarray]:
    """Each query's scores, as given or from its ranking: (C,) float64.

    Args:
        predictions: scores of all candidates, or rankings of positions or, where there are ids, of ids.
        lengths: candidates of each query.
        rankings: which of the two.
        ids: of the candidates.

    Raises:
        ValueError: scores that are not one for each candidate, or a ranking that names what is none.
    """
    place: dict[Hashable, int] = {}
    for query, (row, length) in enumerate(zip(predictions, lengths, strict=True)):
        if not rankings:
            if len(row) != length:
                raise ValueError(
                    f"query {query} has {len(row)} scores and {length} relevances: give one of each for "
                    "every candidate, or rankings with predictions_are='rankings'"
                )
            yield np.asarray(row, dtype=np.float64)
            continue
        if ids is not None:
            if query == 0 or not ids.shared:
                place = {name: position for position, name in enumerate(ids.of(query))}
            unknown = [name for name in row if name not in place]
            if unknown:
                raise ValueError(f"the ranking of query {query} names {unknown[0]!r}, which is no candidate")
            row = [place[name] for name in row]
        yield scores_of_ranking(row, length)


def blocks(
    scores: Iterable[np.ndarray], relevance: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(scores, relevance) of some queries each, filled up with what is no candidate: (q, C) float64."""
    height = max(1, _CELLS_OF_A_BLOCK // max([1, *(len(row) for row in relevance)]))
    gathered: list[np.ndarray] = []
    for query, row in enumerate(scores, 1):
        gathered.append(row)
        if len(gathered) == height or query == len(relevance):
            wanted = relevance[query - len(gathered) : query]
            yield _padded(gathered, 0.0), _padded(wanted, np.nan)
            gathered = []


def _padded(rows: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Rows of unequal length as one (Q, C) float64 array, the missing end `fill`."""
    block = np.full((len(rows), max(1, max(len(row) for row in rows))), fill)
    for index, row in enumerate(rows):
        block[index, : len(row)] = row
    return block
