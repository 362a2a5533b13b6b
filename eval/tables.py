"""The paper's tables from results.json, as plain rows for the report and as Markdown for tables.md.

Percents of two decimals; the best model is marked, references (random, oracle) never are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from eval.summary import MACRO, REGIONS
from eval.tasks import CONDITIONAL, IMAGE_TO_IMAGE, IMAGE_TO_REPORT

Results = Mapping[str, Any]

TASK_TITLES = {
    IMAGE_TO_IMAGE: "Image to image",
    IMAGE_TO_REPORT: "Image to report",
    MACRO: "Conditional, average over anatomies",
}
AVERAGE = "Average"


class Cell(NamedTuple):
    """What a cell shows, and whether it is the best of its group."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its title and a note below it; the first `text_columns` are text, the others numbers."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    text_columns: int = 1

    def markdown(self) -> str:
        """The table alone, in Markdown; the best in bold."""
        rule = ["---" if column < self.text_columns else "---:" for column in range(len(self.heads))]
        rows = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in self.rows]
        lines = [self.heads, rule, *rows]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )


def all_tables(results: Results) -> list[Table]:
    """Table 1, Table 2 by region and by anatomy, gold labels, intervals, paired differences.

    Args:
        results: the content of results.json.
    """
    tables = [_unconditional(results, task) for task in (IMAGE_TO_IMAGE, IMAGE_TO_REPORT)]
    tables += [
        _by_region(results),
        _by_anatomy(results),
        _gold(results),
        _intervals(results),
        _differences(results),
    ]
    return [table for table in tables if table is not None and table.rows]


def markdown_tables(results: Results) -> str:
    """tables.md: what was evaluated and how, then all tables."""
    parts = [f"# {results['dataset']}, {results['split']}", introduction(results)]
    for table in all_tables(results):
        parts += [f"## {table.title}", table.markdown(), *([table.note] if table.note else [])]
    return "\n\n".join(parts) + "\n"


def introduction(results: Results) -> str:
    """One paragraph on what the figures are."""
    protocol = results["protocol"]
    limit = f"{'>' if protocol['strict'] else '>='} {protocol['threshold']:g}"
    return (
        f"{results['n_images']:,} images of {results['n_subjects']:,} patients. Percents, the best "
        f"of a group in bold. A candidate is correct if its relevance is {limit}; queries without a correct "
        "candidate are left out of Recall. Anatomies and regions go from head to tail, by the number of "
        "studies in the training split (#Train)."
    )


def summary_table(results: Results) -> str:
    """The few figures to look at first, in Markdown: one row a model."""
    return summary(results).markdown()


def summary(results: Results) -> Table:
    """Average conditional Recall at each cut-off, and image-image Recall at the first."""
    first_k = str(results["protocol"]["ks_unconditional"][0])
    wanted = [(MACRO, str(k)) for k in results["protocol"]["ks_conditional"]] + [(IMAGE_TO_IMAGE, first_k)]
    heads = [f"{'Conditional' if task == MACRO else 'Image-image'} Recall@{k}" for task, k in wanted]
    columns = [
        [_value(block.get(task), "recall", k) for block in results["models"].values()] for task, k in wanted
    ]
    return Table("Summary", ("Model", *heads), _rows_of_models(results["models"], columns))


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash where it is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def with_interval(value: float | None, bounds: Sequence[float | None]) -> str:
    """`51.20 [48.00, 54.10]` in percent."""
    return f"{percent(value)} [{percent(bounds[0])}, {percent(bounds[1])}]"


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


def _value(block: Mapping[str, Any] | None, metric: str, k: str) -> float | None:
    return None if not block else block[metric].get(k)


def _rows_of_models(
    models: Mapping[str, Mapping[str, Any]], columns: Sequence[Sequence[float | None]]
) -> tuple[tuple[Cell, ...], ...]:
    """One row a model; each column is a group with its best."""
    cells = [marked(column, competitors(models)) for column in columns]
    return tuple((Cell(name), *(column[row] for column in cells)) for row, name in enumerate(models))


def _unconditional(results: Results, task: str) -> Table | None:
    """Table 1: methods in rows."""
    models = {name: block for name, block in results["models"].items() if task in block}
    if not models:
        return None
    blocks = [block[task] for block in models.values()]
    about = blocks[0]
    ks = [str(k) for k in results["protocol"]["ks_unconditional"]]
    wanted = [(metric, k) for metric in ("recall", "ndcg") for k in ks]
    columns = [[_value(block, metric, k) for block in blocks] for metric, k in wanted]
    heads = ("Method", *(f"Recall@{k}" for k in ks), *(f"NDCG@{k}" for k in ks))
    note = f"Queries: {about['n_queries']:,}; candidates: {about['n_candidates']:,}"
    note += f"; queries without a correct candidate: {about['n_without_correct']:,}."
    return Table(f"{TASK_TITLES[task]} (Table 1)", heads, _rows_of_models(models, columns), note)


def _by_region(results: Results) -> Table:
    """Table 2: regions in rows, models within cut-offs in columns."""
    models, ks = results["models"], [str(k) for k in results["protocol"]["ks_conditional"]]
    first = next(iter(models.values()))[REGIONS]
    rows = []
    for region, about in first.items():
        found = {name: block[REGIONS][region] for name, block in models.items()}
        counts = (Cell(f"{about['n_anatomies']:,}"), Cell(f"{about['n_queries']:,}"))
        rows.append((Cell(region), *counts, *_recalls(results, found, ks)))
    about = next(iter(models.values()))[MACRO]
    counts = (Cell(f"{about['n_anatomies']:,}"), Cell(f"{about['n_queries']:,}"))
    if rows:
        macro = {name: block[MACRO] for name, block in models.items()}
        rows.append((Cell(AVERAGE), *counts, *_recalls(results, macro, ks)))
    heads = ("Region", "#Anatomies", "#Queries", *(f"R@{k} {name}" for k in ks for name in models))
    note = "A region is the mean of its anatomies; the average is that of all anatomies."
    return Table("Conditional image retrieval by region (Table 2)", heads, tuple(rows), note)


def _by_anatomy(results: Results) -> Table:
    """Tables 2 and 3 by anatomy, head to tail."""
    models, ks = results["models"], [str(k) for k in results["protocol"]["ks_conditional"]]
    rows = []
    for name, about in results["anatomies"].items():
        found = {model: block[CONDITIONAL][name] for model, block in models.items()}
        label = name if about["in_average"] else f"{name} ¹"
        counts = (Cell(f"{about['n_train_studies']:,}"), Cell(f"{about['n_queries']:,}"))
        rows.append((Cell(label), *counts, *_recalls(results, found, ks)))
    if rows:
        macro = {name: block[MACRO] for name, block in models.items()}
        rows.append((Cell(AVERAGE), Cell(""), Cell(""), *_recalls(results, macro, ks)))
    heads = ("Anatomy", "#Train", "#Queries", *(f"R@{k} {name}" for k in ks for name in models))
    left_out = [name for name, about in results["anatomies"].items() if not about["in_average"]]
    note = (
        f"¹ Not in averages and regions: fewer than {results['protocol']['min_queries']} queries that have a "
        "correct candidate."
        if left_out
        else ""
    )
    return Table("Conditional image retrieval by anatomy (Table 3)", heads, tuple(rows), note)


def _recalls(results: Results, found: Mapping[str, Mapping[str, Any]], ks: Sequence[str]) -> list[Cell]:
    """Recall of every model at every cut-off; each cut-off is a group with its best."""
    allowed = competitors(results["models"])
    return [
        cell for k in ks for cell in marked([_value(block, "recall", k) for block in found.values()], allowed)
    ]


def _gold(results: Results) -> Table | None:
    models = results["models"]
    found = {name: block["gold_precision"] for name, block in models.items() if "gold_precision" in block}
    if not found:
        return None
    first = next(iter(found.values()))
    modes = [
        (name, mode)
        for name, block in found.items()
        for mode in ("holistic", "conditioned")
        if mode in block["macro"]
    ]
    allowed = [not models[name]["reference"] for name, _ in modes]
    rows = []
    for label, about in first["labels"].items():
        values = [found[name]["labels"][label].get(mode, {}).get("precision") for name, mode in modes]
        rows.append(
            (
                Cell(label),
                Cell(f"{about['n_queries']:,}"),
                Cell(percent(about["chance"])),
                *marked(values, allowed),
            )
        )
    macro = [found[name]["macro"][mode]["precision"] for name, mode in modes]
    rows.append((Cell(AVERAGE), Cell(""), Cell(""), *marked(macro, allowed)))
    heads = (
        "Label",
        "#Positive",
        "chance",
        *(n if mode == "holistic" else f"{n}, {mode}" for n, mode in modes),
    )
    note = "Of the candidates nearest to an image with the label, the share that has it too."
    return Table(f"Precision@{first['k']} by gold label", heads, tuple(rows), note)


def _intervals(results: Results) -> Table:
    """Recall with its interval at every cut-off, for the overall figures of each competing model."""
    rows = []
    shown_models = [(name, block) for name, block in results["models"].items() if not block["reference"]]
    for task, title in TASK_TITLES.items():
        for name, block in shown_models:
            for k, value in block.get(task, {}).get("recall", {}).items():
                shown = with_interval(value, block[task]["recall_ci95"][k])
                rows.append((Cell(title), Cell(name), Cell(f"Recall@{k}"), Cell(shown)))
    heads = ("Task", "Model", "Metric", "Value [95% interval]")
    return Table("95% intervals (bootstrap over patients)", heads, tuple(rows), text_columns=3)


def _differences(results: Results) -> Table:
    """Who is ahead by Recall, where the interval of the paired difference says so; references left out."""
    models = results["models"]
    rows = tuple(
        (
            Cell(TASK_TITLES[row["task"]]),
            Cell(row["metric"].replace("recall", "Recall")),
            Cell(f"{row['a']} minus {row['b']}"),
            Cell(row["better"] or "neither"),
            Cell(with_interval(row["difference"], row["ci95"])),
        )
        for row in results["comparisons"]
        if row["metric"].startswith("recall")
        and not (models[row["a"]]["reference"] or models[row["b"]]["reference"])
    )
    heads = ("Task", "Metric", "Compared", "Ahead", "Difference [95% interval]")
    note = (
        "A model is ahead only where the interval of the paired difference, in percentage points, excludes 0."
    )
    return Table("Paired differences", heads, rows, note, text_columns=4)
