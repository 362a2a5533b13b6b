"""What the report's plots draw: Recall from head to tail, and the gains of a model in each anatomy.

Here is only what lies where, in percent of the plot's sides; the templates draw it as SVG. So a plot fits a
phone and a sheet of paper with letters of the same size, and takes the page's colours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from radir_eval.statistics.summary import ANATOMY_SCOPE
from radir_eval.tasks import CONDITIONAL

COLOURS = 6  # of the template, and as many markers
_EDGE = 3.0  # percent left free at the left and right
_APART = 14.0  # percent between two ticks' numbers, which a phone has room for
_GROUPS = 6  # means that the line of a series joins
_MEMBERS = 5  # anatomies behind each of them at least
_DIGITS = (1, 2, 5, 3, 7, 4, 6, 8, 9)  # of round numbers, the most welcome first
_UNSEEN = 0.5  # where no training study at all is put on the logarithmic axis

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Tick:
    """A number on an axis, at a percentage of its length."""

    at: float
    text: str


@dataclass(frozen=True)
class Look:
    """How a model shows wherever it is drawn: a colour and a marker, which differ also without colour."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Point:
    """An anatomy of a series: percent from the left and from the top, and what it says when pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Series:
    """A model's points, and the line through the means of neighbours: ends (x, y) of each piece."""

    model: str
    look: Look
    points: tuple[Point, ...]
    line: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class HeadToTail:
    """Recall@k of the anatomies in the averages against their training studies, most studies at the left."""

    k: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Gain:
    """The difference in one anatomy: its place and its interval's ends in percent, and who is ahead."""

    anatomy: str
    region: str
    n_train_studies: int
    difference: float
    ci95: tuple[float, float]
    at: float
    low: float
    high: float
    better: str | None


@dataclass(frozen=True)
class Gains:
    """Recall@k of one model minus another's in each anatomy, the largest difference first."""

    a: str
    b: str
    k: int
    zero: float
    ticks: tuple[Tick, ...]
    rows: tuple[Gain, ...]

    def count(self, better: str | None) -> int:
        """In how many anatomies a model is ahead, or neither."""
        return sum(row.better == better for row in self.rows)


def looks(results: Results) -> dict[str, Look]:
    """The look of each model. From the seventh on colours come round again, with other markers."""
    names = [name for name, block in results["models"].items() if not block["reference"]]
    found = {
        name: Look(f"s{index % COLOURS}", f"p{(index + index // COLOURS) % COLOURS}")
        for index, name in enumerate(names)
    }
    return {name: found.get(name, Look("reference", "p-reference")) for name in results["models"]}


def head_to_tail(results: Results) -> HeadToTail | None:
    """The plot at the first conditional cut-off; None with fewer than two anatomies in the averages.

    Args:
        results: the content of results.json.
    """
    anatomies = {name: about for name, about in results["anatomies"].items() if about["in_average"]}
    if len(anatomies) < 2:
        return None
    k = results["protocol"]["ks_conditional"][0]
    counts = [about["n_train_studies"] for about in anatomies.values()]
    axis = _Logarithmic(min(counts), max(counts))
    found = looks(results)
    series = []
    for name, block in results["models"].items():
        points = tuple(
            Point(axis.place(about["n_train_studies"]), 100 * (1 - recall), _said(anatomy, about, recall))
            for anatomy, about in anatomies.items()
            if (recall := block[CONDITIONAL][anatomy]["recall"][str(k)]) is not None
        )
        series.append(Series(name, found[name], points, _line(points)))
    y_ticks = tuple(Tick(100.0 - value, str(value)) for value in range(0, 101, 20))
    return HeadToTail(k, axis.ticks(), y_ticks, tuple(series))


def gains(results: Results) -> list[Gains]:
    """The first competing model minus each other one, at the first conditional cut-off.

    Args:
        results: the content of results.json.
    """
    k = results["protocol"]["ks_conditional"][0]
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    first = next((name for name, block in results["models"].items() if not block["reference"]), None)
    for row in results["conditional_comparisons"]:
        wanted = row["scope"] == ANATOMY_SCOPE and row["metric"] == f"recall@{k}" and row["a"] == first
        if wanted and row["difference"] is not None:
            pairs.setdefault((row["a"], row["b"]), []).append(row)
    return [_gains(results, a, b, k, rows) for (a, b), rows in pairs.items()]


def _gains(results: Results, a: str, b: str, k: int, rows: Sequence[Mapping[str, Any]]) -> Gains:
    ends = [bound for row in rows for bound in (row["difference"], *row["ci95"]) if bound is not None]
    axis = _Linear(100 * min(0.0, *ends), 100 * max(0.0, *ends))
    found = []
    for row in sorted(rows, key=lambda row: -row["difference"]):  # stable: equals stay head to tail
        about = results["anatomies"][row["name"]]
        value = 100 * row["difference"]
        low, high = (value if bound is None else 100 * bound for bound in row["ci95"])
        places = (axis.place(value), axis.place(low), axis.place(high))
        counts = (row["name"], about["region"], about["n_train_studies"])
        found.append(Gain(*counts, value, (low, high), *places, row["better"]))
    return Gains(a, b, k, axis.place(0.0), axis.ticks(), tuple(found))


class _Logarithmic:
    """Numbers of studies on a logarithmic axis that falls from the left to the right."""

    def __init__(self, low: int, high: int) -> None:
        self._ends = (low, high)
        self._low, self._high = (math.log10(max(end, _UNSEEN)) for end in (low, high))

    def place(self, count: int) -> float:
        if self._high == self._low:
            return 50.0
        share = (self._high - math.log10(max(count, _UNSEEN))) / (self._high - self._low)
        return _EDGE + share * (100 - 2 * _EDGE)

    def ticks(self) -> tuple[Tick, ...]:
        """Both ends and, where there is room, powers of ten, then 2 and 5 times these, then the others."""
        powers = range(int(math.log10(max(1, self._ends[1]))) + 1)
        wanted = [*self._ends[::-1], *(digit * 10**power for digit in _DIGITS for power in powers)]
        taken: dict[int, float] = {}
        for count in wanted:
            at = self.place(count)
            inside = self._ends[0] <= count <= self._ends[1]
            if inside and all(abs(at - other) >= _APART for other in taken.values()):
                taken[count] = at
        return tuple(Tick(at, f"{count:,}") for count, at in sorted(taken.items(), reverse=True))


class _Linear:
    """Differences in percentage points, from the least to the greatest."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        if self._high == self._low:
            return 50.0
        return _EDGE + (value - self._low) / (self._high - self._low) * (100 - 2 * _EDGE)

    def ticks(self) -> tuple[Tick, ...]:
        """Multiples of the least of 1, 2, 5, 10 ... that leaves the numbers apart."""
        spread = self._high - self._low
        if spread == 0:
            return (Tick(50.0, "0"),)
        steps = [digit * 10.0**power for power in range(-2, 3) for digit in (1, 2, 5)]
        step = next(step for step in steps if step / spread * (100 - 2 * _EDGE) >= _APART)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        values = [number * step for number in range(first, last + 1)]
        return tuple(Tick(self.place(value), f"{value:+g}" if value else "0") for value in values)


def _line(points: Sequence[Point]) -> tuple[tuple[float, float, float, float], ...]:
    """Through the means of groups of neighbours, as equal in number as they can be; none of few points."""
    count = min(_GROUPS, len(points) // _MEMBERS)
    if count < 2:
        return ()
    ordered = sorted(points, key=lambda point: point.x)
    cuts = [round(part * len(ordered) / count) for part in range(count + 1)]
    groups = [ordered[start:stop] for start, stop in pairwise(cuts)]
    means = [
        (sum(point.x for point in group) / len(group), sum(point.y for point in group) / len(group))
        for group in groups
    ]
    return tuple((*left, *right) for left, right in pairwise(means))


def _said(anatomy: str, about: Mapping[str, Any], recall: float) -> str:
    return f"{anatomy}: {100 * recall:.2f}, {about['n_train_studies']:,} training studies"
