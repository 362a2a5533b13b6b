"""From lists of each query to arrays: rankings as scores, excluded candidates, blocks of queries."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .metrics import scores_of_ranking

_CELLS_OF_A_BLOCK = 2_000_000  # scores that are turned into one array at a time


class Names:
    """Names of the candidates: their ids, or their patients; all strings, or all whole numbers.

    A string and a number are never equal, whatever they look like, so that a mixture would exclude nothing.

    Args:
        option: what the caller calls them, for errors.
        names: one list for all queries, or a list for each query.
        lengths: candidates of each of Q queries.

    Raises:
        ValueError: they do not fit the queries, or are of several types, or of another.
    """

    def __init__(self, option: str, names: Sequence[Any], lengths: Sequence[int]) -> None:
        self.option = option
        self.shared = not (len(names) > 0 and isinstance(names[0], (list, tuple, np.ndarray)))
        lists = [names] if self.shared else names
        read = [read_names(option, one) for one in lists]
        self._lists = [one for one, _ in read]
        self.kind = _one_kind(option, [kind for _, kind in read])
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
        return self._lists[0 if self.shared else query]

    def check_distinct(self) -> None:
        """Make sure that a name stands for one candidate.

        Raises:
            ValueError: a name occurs twice.
        """
        for names in self._lists:
            check_distinct(self.option, names)


def read_names(option: str, names: Iterable[Any]) -> tuple[list[Hashable], type | None]:
    """Names as plain strings or whole numbers, and which of the two; None where all are unknown.

    Args:
        option: what the caller calls them, for errors.
        names: strings, or whole numbers, NumPy's too; None or "" is unknown.

    Raises:
        ValueError: both, or something else.
    """
    found = [name.item() if isinstance(name, np.generic) else name for name in names]
    kinds = []
    for name in found:
        if name is None or name == "":
            continue
        kind = next((kind for kind in (str, int) if isinstance(name, kind)), None)
        if kind is None or isinstance(name, bool):
            raise ValueError(
                f"{option} holds {name!r} of type {type(name).__name__}: names are strings or whole numbers; "
                "give str(name) of each, and None where it is not known"
            )
        kinds.append(kind)
    return found, _one_kind(option, kinds)


def _one_kind(option: str, kinds: Iterable[type | None]) -> type | None:
    found = set(kinds) - {None}
    if len(found) > 1:
        raise ValueError(f"{option} mixes strings and whole numbers, which are never equal: give one kind")
    return next(iter(found), None)


def check_distinct(option: str, names: Sequence[Hashable]) -> None:
    """Make sure that no name occurs twice.

    Raises:
        ValueError: one does.
    """
    seen: set[Hashable] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{option} holds {name!r} twice: in rankings each name stands for one")
        seen.add(name)


def exclude(
    relevance: Sequence[np.ndarray],
    queries: Sequence[Any] | None,
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
        ValueError: one of the two without the other, more or fewer names than queries, or names of another
            type than the candidates'.
    """
    if queries is None and (candidates is None or alone):
        return
    if queries is None or candidates is None:
        raise ValueError(f"query_{what} and candidate_{what} only exclude together: give both, or neither")
    if len(queries) != len(relevance):
        raise ValueError(
            f"query_{what} has {len(queries)} names for {len(relevance)} queries: give one for each"
        )
    names, kind = read_names(f"query_{what}", queries)
    if kind and candidates.kind and kind != candidates.kind:
        raise ValueError(
            f"query_{what} are of type {kind.__name__}, {candidates.option} of type "
            f"{candidates.kind.__name__}, so that none is equal to another: give one kind of both"
        )
    numbers: dict[Hashable, int] = {}
    own = np.empty(0, dtype=np.int64)
    for query, name in enumerate(names):
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
