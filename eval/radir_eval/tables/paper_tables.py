"""The paper's tables from results.json, as plain rows for the report and as Markdown for tables.md.

Percents of two decimals; the best model is marked where it is above chance, references (random, oracle) never
are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dataset_scripts.plumbing.markdown import plain
from radir_eval.statistics.summary import MACRO, REGIONS, WEIGHTED
from radir_eval.tables.comparison_tables import differences_table, intervals_table, wins_table
from radir_eval.tables.label_tables import gold_tables
from radir_eval.tables.strata_tables import strata_tables
from radir_eval.tables.table import (
    Cell,
    Table,
    above_chance,
    competitors,
    marked,
    percent,
    with_interval,
    with_ranges,
)
from radir_eval.tasks import CONDITIONAL, IMAGE_TO_IMAGE, IMAGE_TO_REPORT

Results = Mapping[str, Any]

TASK_TITLES = {
    IMAGE_TO_IMAGE: "Image to image",
    IMAGE_TO_REPORT: "Image to report",
    MACRO: "Conditional, average over anatomies",
}
AVERAGE, AVERAGE_BY_QUERY = "Average", "Average by query"
METRICS = {"recall": "Recall", "ndcg": "NDCG"}

__all__ = [
    "AVERAGE",
    "AVERAGE_BY_QUERY",
    "TASK_TITLES",
    "Cell",
    "Table",
    "all_tables",
    "introduction",
    "markdown_tables",
    "marked",
    "paper_tables",
    "percent",
    "summary",
    "summary_table",
    "with_interval",
]


def all_tables(results: Results) -> list[Table]:
    """The paper's tables, then what stands beside the paper's figures.

    Args:
        results: the content of results.json.
    """
    return [*paper_tables(results), *strata_tables(results)]


def paper_tables(results: Results) -> list[Table]:
    """Tables 1, 2 and 3 of the paper, NDCG by region, gold labels, wins, intervals, paired differences.

    Args:
        results: the content of results.json.
    """
    titles = {**TASK_TITLES, WEIGHTED: "Conditional, average over queries"}
    tables = [_unconditional(results, task) for task in (IMAGE_TO_IMAGE, IMAGE_TO_REPORT)]
    tables += [
        _by_region(results, "recall"),
        _by_anatomy(results),
        _by_region(results, "ndcg"),
        *gold_tables(results),
        wins_table(results),
        intervals_table(results, titles),
        differences_table(results, TASK_TITLES),
    ]
    return [table for table in tables if table is not None and table.rows]


def markdown_tables(results: Results) -> str:
    """tables.md: what was evaluated and how, then all tables."""
    parts = [f"# {plain(results['dataset'])}, {plain(results['split'])}", introduction(results)]
    for table in all_tables(results):
        parts += [f"## {plain(table.title)}", table.markdown(), *([plain(table.note)] if table.note else [])]
    return "\n\n".join(parts) + "\n"


def introduction(results: Results) -> str:
    """One paragraph on what the figures are."""
    protocol = results["protocol"]
    limit = f"{'>' if protocol['strict'] else '>='} {protocol['threshold']:g}"
    left_out = len(results.get("left_out", ()))
    return (
        f"{results['n_images']:,} images of {results['n_subjects']:,} patients"
        + (f"; {left_out:,} more could not be read and are left out" if left_out else "")
        + ". Percents, the best "
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
    models = results["models"]
    columns = [
        _group(models, [block.get(task) for block in models.values()], "recall", k) for task, k in wanted
    ]
    return Table("Summary", ("Model", *heads), _rows_of_models(models, columns))


def _group(
    models: Mapping[str, Mapping[str, Any]],
    blocks: Sequence[Mapping[str, Any] | None],
    metric: str,
    k: str,
) -> list[Cell]:
    """One figure of all models with its interval, the best marked."""
    values = [block[metric].get(k) if block else None for block in blocks]
    bounds = [block[f"{metric}_ci95"].get(k) if block else None for block in blocks]
    chance = [block.get(f"chance_{metric}", {}).get(k) if block else None for block in blocks]
    return with_ranges(marked(values, competitors(models), above_chance(bounds, chance)), bounds)


def _rows_of_models(
    models: Mapping[str, Mapping[str, Any]], columns: Sequence[Sequence[Cell]]
) -> tuple[tuple[Cell, ...], ...]:
    """One row a model."""
    return tuple((Cell(name), *(column[row] for column in columns)) for row, name in enumerate(models))


def _unconditional(results: Results, task: str) -> Table | None:
    """Table 1: methods in rows."""
    models = {name: block for name, block in results["models"].items() if task in block}
    if not models:
        return None
    blocks = [block[task] for block in models.values()]
    about = blocks[0]
    ks = [str(k) for k in results["protocol"]["ks_unconditional"]]
    wanted = [(metric, k) for metric in ("recall", "ndcg") for k in ks]
    columns = [_group(models, blocks, metric, k) for metric, k in wanted]
    heads = ("Method", *(f"Recall@{k}" for k in ks), *(f"NDCG@{k}" for k in ks))
    note = f"Queries: {about['n_queries']:,}; candidates: {about['n_candidates']:,}"
    note += f"; queries without a correct candidate: {about['n_without_correct']:,}."
    return Table(f"{TASK_TITLES[task]} (Table 1)", heads, _rows_of_models(models, columns), note)


def _by_region(results: Results, metric: str) -> Table:
    """Table 2: regions in rows, models within cut-offs in columns."""
    models = results["models"]
    counts = ("n_anatomies", "n_train_studies", "n_queries")
    rows = []
    for region, about in next(iter(models.values()))[REGIONS].items():
        found = [block[REGIONS][region] for block in models.values()]
        rows.append((Cell(region), *_counts(about, counts), *_values(results, found, metric)))
    if rows:
        rows += _averages(results, counts, metric)
    note = (
        "A region is the mean of its anatomies, the average that of all anatomies; by query, each query "
        "counts alike. #Train and #Queries count a study once for each anatomy."
    )
    title = "Conditional image retrieval by region"
    title += " (Table 2)" if metric == "recall" else f", {METRICS[metric]}"
    return _grouped(results, title, ("Region", "#Anatomies", "#Train", "#Queries"), rows, metric, note)


def _by_anatomy(results: Results) -> Table:
    """Tables 2 and 3 by anatomy, head to tail."""
    models = results["models"]
    counts = ("n_train_studies", "n_queries", "n_with_correct")
    rows = []
    for name, about in results["anatomies"].items():
        found = [block[CONDITIONAL][name] for block in models.values()]
        label = name if about["in_average"] else f"{name} ¹"
        rows.append((Cell(label), *_counts(about, counts), *_values(results, found, "recall")))
    if rows:
        rows += _averages(results, counts, "recall")
    note = "#Correct: queries that have a correct candidate."
    if not all(about["in_average"] for about in results["anatomies"].values()):
        note += f" ¹ Not in averages and regions: #Correct below {results['protocol']['min_queries']}."
    title = "Conditional image retrieval by anatomy (Table 3)"
    return _grouped(results, title, ("Anatomy", "#Train", "#Queries", "#Correct"), rows, "recall", note)


def _averages(results: Results, counts: Sequence[str], metric: str) -> list[tuple[Cell, ...]]:
    """The averages over anatomies and over queries, the last rows of a table."""
    rows = []
    for name, key in ((AVERAGE, MACRO), (AVERAGE_BY_QUERY, WEIGHTED)):
        found = [block[key] for block in results["models"].values()]
        rows.append((Cell(name), *_counts(found[0], counts), *_values(results, found, metric)))
    return rows


def _counts(about: Mapping[str, Any], keys: Sequence[str]) -> list[Cell]:
    return [Cell(f"{about[key]:,}") for key in keys]


def _grouped(
    results: Results,
    title: str,
    first: tuple[str, ...],
    rows: Sequence[tuple[Cell, ...]],
    metric: str,
    note: str,
) -> Table:
    """A table of counts, then of all models at each conditional cut-off."""
    short = {"recall": "R", "ndcg": "NDCG"}[metric]
    columns = [(str(k), name) for k in results["protocol"]["ks_conditional"] for name in results["models"]]
    heads = (*first, *(f"{short}@{k} {name}" for k, name in columns))
    groups = (*(("", name) for name in first), *((f"{METRICS[metric]}@{k}", name) for k, name in columns))
    return Table(title, heads, tuple(rows), note, groups=groups)


def _values(results: Results, found: Sequence[Mapping[str, Any]], metric: str) -> list[Cell]:
    """Every model at every cut-off; each cut-off is a group with its best."""
    ks = [str(k) for k in results["protocol"]["ks_conditional"]]
    return [cell for k in ks for cell in _group(results["models"], found, metric, k)]
