"""The statistics as tables: intervals, paired differences with p-values and effect sizes, metrics won."""

from collections.abc import Mapping, Sequence
from typing import Any

from radir_eval.statistics.summary import ANATOMY_SCOPE, REGION_SCOPE, TASK_SCOPE
from radir_eval.tables.table import Cell, Table, with_interval

Results = Mapping[str, Any]

_SCOPES = {
    TASK_SCOPE: "Whole tasks",
    REGION_SCOPE: "Regions",
    ANATOMY_SCOPE: "Anatomies",
}
_METRICS = {"recall": "Recall", "ndcg": "NDCG"}


def intervals_table(results: Results, titles: Mapping[str, str]) -> Table:
    """Recall with its interval at every cut-off, for the overall figures of each competing model.

    Args:
        results: the content of results.json.
        titles: of the overall figures.
    """
    rows = []
    shown_models = [(name, block) for name, block in results["models"].items() if not block["reference"]]
    for task, title in titles.items():
        for name, block in shown_models:
            for k, value in block.get(task, {}).get("recall", {}).items():
                shown = with_interval(value, block[task]["recall_ci95"][k])
                rows.append((Cell(title), Cell(name), Cell(f"Recall@{k}"), Cell(shown)))
    heads = ("Task", "Model", "Metric", "Value [95% interval]")
    return Table("95% intervals (bootstrap over patients)", heads, tuple(rows), text_columns=3)


def differences_table(results: Results, titles: Mapping[str, str]) -> Table:
    """Who is ahead by Recall, where the interval of the paired difference says so; references left out."""
    rows = [
        {**row, "title": titles[row["task"]]}
        for row in results["comparisons"]
        if row["metric"].startswith("recall")
    ]
    return differences(results, rows, "Paired differences")


def differences(results: Results, rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Paired differences of competing models; references left out.

    Args:
        results: the content of results.json.
        rows: as of `compare`, each with the "title" of its task.
        title: of the table.
    """
    models = results["models"]
    cells = tuple(
        (
            Cell(row["title"]),
            Cell(row["metric"].replace("recall", "Recall")),
            Cell(f"{row['a']} minus {row['b']}"),
            Cell(row["better"] or "neither"),
            Cell(with_interval(row["difference"], row["ci95"])),
            Cell(_probability(row["p_holm"])),
            Cell("-" if row["effect_size"] is None else f"{row['effect_size']:.2f}"),
            Cell(f"{row['n']:,}"),
        )
        for row in rows
        if not (models[row["a"]]["reference"] or models[row["b"]]["reference"])
    )
    heads = ("Task", "Metric", "Compared", "Ahead", "Difference [95% interval]", "p", "Effect", "Patients")
    note = (
        "A model is ahead only where the interval of the paired difference, in percentage points, excludes 0."
        " p: randomisation test over patients, Holm's correction over all metrics of the pair. Effect: mean "
        "difference over the standard deviation of the patients' differences."
    )
    return Table(title, heads, cells, note, text_columns=4)


def wins_table(results: Results) -> Table | None:
    """In how many of the metrics each competing model is the best, and ahead of all others; None for one."""
    if not results["wins"]:
        return None
    names = [name for name, block in results["models"].items() if not block["reference"]]
    rows = [
        (
            Cell(f"{_SCOPES[row['scope']]}, {_METRICS[row['metric']]}"),
            Cell(f"{row['n']:,}"),
            *(Cell(f"{row['best'][name]:,} ({row['ahead'][name]:,})") for name in names),
        )
        for scope in _SCOPES
        for row in results["wins"]
        if row["scope"] == scope
    ]
    note = (
        "Of so many metrics, those in which a model has the highest value (equals share it); in brackets, "
        "those in which it is ahead of every other model by the interval of the paired difference."
    )
    return Table("Metrics won", ("Metrics", "Number", *names), tuple(rows), note)


def _probability(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
