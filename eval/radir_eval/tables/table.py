"""What tables are made of: cells, the best of a group marked, percents; a table as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dataset_scripts.plumbing.markdown import plain


class Cell(NamedTuple):
    """What a cell shows, whether it is the best of its group, and its 95% interval, which the report adds."""

    text: str
    best: bool = False
    interval: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its title and a note below it; the first `text_columns` are text, the others numbers.

    Attributes:
        heads: a name for each column that stands alone.
        rows: a cell for each column.
        groups: where columns belong together, for each the group's title ("" for none) and its name within.
        with_intervals: whether Markdown shows the cells' intervals, as the report always does.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    text_columns: int = 1
    groups: tuple[tuple[str, str], ...] = ()
    with_intervals: bool = False

    def markdown(self) -> str:
        """The table alone, in Markdown; the best in bold."""
        rule = ["---" if column < self.text_columns else "---:" for column in range(len(self.heads))]
        rows = [[self._shown(cell) for cell in row] for row in self.rows]
        lines = [[*map(plain, self.heads)], rule, *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def _shown(self, cell: Cell) -> str:
        text = f"**{plain(cell.text)}**" if cell.best else plain(cell.text)
        return f"{text} ({cell.interval})" if self.with_intervals and cell.interval else text


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash where it is not defined."""
    return "-" if value is None else f"{100 * value:z.2f}"


def with_interval(value: float | None, bounds: Sequence[float | None]) -> str:
    """`51.20 [48.00, 54.10]` in percent."""
    return f"{percent(value)} [{percent(bounds[0])}, {percent(bounds[1])}]"


def with_ranges(cells: Sequence[Cell], bounds: Sequence[Sequence[float | None] | None]) -> list[Cell]:
    """Cells with their 95% intervals, in percent of one decimal; none where there is none."""
    ends = [(None, None) if both is None else both for both in bounds]
    shown = [
        "" if low is None or high is None else f"{100 * low:z.1f}\N{EN DASH}{100 * high:z.1f}"
        for low, high in ends
    ]
    return [cell._replace(interval=interval) for cell, interval in zip(cells, shown, strict=True)]


def competitors(models: Mapping[str, Mapping[str, Any]]) -> list[bool]:
    """For each model whether it may be marked best: all but the references."""
    return [not block["reference"] for block in models.values()]


def above_chance(
    bounds: Sequence[Sequence[float | None] | None], chance: Sequence[float | None]
) -> list[bool]:
    """For each figure whether its 95% interval lies above chance; True where either is not known."""
    lows = [None if both is None else both[0] for both in bounds]
    return [low is None or level is None or low > level for low, level in zip(lows, chance, strict=True)]


def marked(
    values: Sequence[float | None], allowed: Sequence[bool], clear: Sequence[bool] | None = None
) -> list[Cell]:
    """Cells of one group, the highest allowed one marked; equals to two decimals alike, a single never.

    Args:
        values: fractions of 1.
        allowed: which of them compete.
        clear: which of them may be marked if they are the highest, see `above_chance`; all by default.
    """
    known = [
        round(100 * value, 2) for value, may in zip(values, allowed, strict=True) if may and value is not None
    ]
    best = f"{max(known):.2f}" if len(known) > 1 else None
    return [
        Cell(percent(value), may and sure and percent(value) == best)
        for value, may, sure in zip(values, allowed, clear or [True] * len(values), strict=True)
    ]
