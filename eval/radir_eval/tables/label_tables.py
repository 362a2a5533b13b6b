"""The figures by gold label as tables: precision@k, mAP, and their averages with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from radir_eval.labels.precision_by_label import CONDITIONED, HOLISTIC, HOLISTIC_WITH_ANATOMY
from radir_eval.tables.table import Cell, Table, above_chance, marked, percent, with_interval, with_ranges

Results = Mapping[str, Any]

_PRECISION, _AVERAGE_PRECISION = "precision", "average_precision"
_CHANCE = {_PRECISION: "chance", _AVERAGE_PRECISION: "chance_average_precision"}
_INTERVAL = {_PRECISION: "ci95", _AVERAGE_PRECISION: "average_precision_ci95"}
# The average of a mode over the labels that have an anatomy, the only ones that conditions are for.
_WITH_ANATOMY = {HOLISTIC: HOLISTIC_WITH_ANATOMY, CONDITIONED: CONDITIONED}


def gold_tables(results: Results) -> list[Table]:
    """Precision@k by label, mAP by label, averages with intervals; none where no label was scored.

    Args:
        results: the content of results.json.
    """
    models = results["models"]
    found = {name: block["gold_precision"] for name, block in models.items() if "gold_precision" in block}
    if not found:
        return []
    first = next(iter(found.values()))
    titles = {_PRECISION: f"Precision@{first['k']}", _AVERAGE_PRECISION: "mAP"}
    notes = {
        _PRECISION: "Of the candidates nearest to an image with the label, the share that has it too.",
        _AVERAGE_PRECISION: "Average precision of the full ranking, mean over the images with the label.",
    }
    tables = [
        _by_label(
            models, found, metric, f"{title} by gold label", f"{notes[metric]} {first['origin']}".strip()
        )
        for metric, title in titles.items()
    ]
    return [*tables, _averages(models, found, titles)]


def _modes(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(model, mode) for each column."""
    return [
        (name, mode)
        for name, block in found.items()
        for mode in (HOLISTIC, CONDITIONED)
        if mode in block["macro"]
    ]


def _by_label(
    models: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], metric: str, title: str, note: str
) -> Table:
    """Labels in rows, models in columns; the best model of each row marked."""
    modes = _modes(found)
    allowed = [not models[name]["reference"] for name, _ in modes]
    first = next(iter(found.values()))
    rows = []
    for label, about in first["labels"].items():
        blocks = [found[name]["labels"][label].get(mode, {}) for name, mode in modes]
        bounds = [block.get(_INTERVAL[metric]) for block in blocks]
        clear = above_chance(bounds, [about[_CHANCE[metric]]] * len(blocks))
        values = marked([block.get(metric) for block in blocks], allowed, clear)
        counts = (Cell(f"{about['n_queries']:,}"), Cell(percent(about[_CHANCE[metric]])))
        rows.append((Cell(label), *counts, *with_ranges(values, bounds)))
    rows += _average_rows(found, modes, allowed, metric)
    heads = ("Label", "#Positive", "chance", *(_head(name, mode) for name, mode in modes))
    return Table(title, heads, tuple(rows), note)


def _average_rows(
    found: Mapping[str, Mapping[str, Any]],
    modes: Sequence[tuple[str, str]],
    allowed: Sequence[bool],
    metric: str,
) -> list[tuple[Cell, ...]]:
    """Averages, over the same labels in each row: all of them, and those that have an anatomy."""
    macros = [found[name]["macro"] for name, _ in modes]
    whole, asked = macros[0][HOLISTIC], macros[0].get(HOLISTIC_WITH_ANATOMY)
    rows = {"Average": (whole, {HOLISTIC: HOLISTIC})}
    if asked is not None:
        both = asked["n_labels"] == whole["n_labels"]
        rows["Average" if both else "Average of labels with an anatomy"] = (asked, _WITH_ANATOMY)
    lines = []
    for title, (over, kinds) in rows.items():
        blocks = [macro.get(kinds.get(mode), {}) for macro, (_, mode) in zip(macros, modes, strict=True)]
        blocks = [block if block.get("n_labels") == over["n_labels"] else {} for block in blocks]
        bounds = [block.get(_INTERVAL[metric]) for block in blocks]
        clear = above_chance(bounds, [over[_CHANCE[metric]]] * len(blocks))
        cells = marked([block.get(metric) for block in blocks], allowed, clear)
        lines.append((Cell(title), Cell(""), Cell(percent(over[_CHANCE[metric]])), *cells))
    return lines


def _averages(
    models: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> Table:
    rows = []
    for metric, title in titles.items():
        for name, mode in _modes(found):
            if not models[name]["reference"]:
                block = found[name]["macro"][mode]
                shown = with_interval(block[metric], block[_INTERVAL[metric]])
                labels = Cell(f"{block['n_labels']}")
                rows.append((Cell(title), Cell(_head(name, mode)), labels, Cell(shown)))
    heads = ("Metric", "Model", "#Labels", "Average [95% interval]")
    return Table("Gold labels, averages", heads, tuple(rows), text_columns=2)


def _head(name: str, mode: str) -> str:
    return name if mode == HOLISTIC else f"{name}, {mode}"
