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
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    text_columns: int = 1
    groups: tuple[tuple[str, str], ...] = ()

    def markdown(self) -> str:
        """The table alone, in Markdown; the best in bold."""
        rule = ["---" if column < self.text_columns else "---:" for column in range(len(self.heads))]
        rows = [
            [f"**{plain(cell.text)}**" if cell.best else plain(cell.text) for cell in row]
            for row in self.rows
        ]
        lines = [[*map(plain, self.heads)], rule, *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash where it is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def with_interval(value: float | None, bounds: Sequence[float | None]) -> str:
    """`51.20 [48.00, 54.10]` in percent."""
    return f"{percent(value)} [{percent(bounds[0])}, {percent(bounds[1])}]"


def with_ranges(cells: Sequence[Cell], bounds: Sequence[Sequence[float | None] | None]) -> list[Cell]:
    """Cells with their 95% intervals, in percent of one decimal; none where there is none."""
    ends = [(None, None) if both is None else both for both in bounds]
    shown = [
        "" if low is None or high is None else f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}"
        for low, high in ends
    ]
    return [cell._replace(interval=interval) for cell, interval in zip(cells, shown, strict=True)]


def competitors(models: Mapping[str, Mapping[str, Any]]) -> list[bool]:
    """For each model whether it may be marked best: all but the references."""
    return [not block["reference"] for block in models.values()]


def marked(values: Sequence[float | None], allowed: Sequence[bool]) -> list[Cell]:
    """Cells of one group, the highest allowed one marked; equals to two decimals alike, a single never."""
    known = [
        round(100 * value, 2) for value, may in zip(values, allowed, strict=True) if may and value is not None
    ]
    best = f"{max(known):.2f}" if len(known) > 1 else None
    return [
        Cell(percent(value), may and percent(value) == best)
        for value, may in zip(values, allowed, strict=True)
    ]
