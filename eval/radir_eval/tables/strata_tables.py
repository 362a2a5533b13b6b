"""What stands beside the paper's figures as tables: strata and skill, content, ontology levels, labels.

A model is marked the best of a group only where its 95% interval lies above chance. Results of earlier
versions lack these figures, and have none of these tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from radir_eval.labels.label_figures import AUC, MAP, ON_ANATOMY, ON_WHOLE, precision_name
from radir_eval.retrieval_split import CONTENT
from radir_eval.statistics.strata import (
    ABNORMAL,
    EXACT,
    FURTHER,
    LEVELS,
    NORMAL,
    SKILL,
    STRATA,
    WITH_PARENTS,
)
from radir_eval.statistics.summary import MACRO
from radir_eval.tables.comparison_tables import differences
from radir_eval.tables.table import Cell, Table, above_chance, competitors, marked, percent, with_ranges

Results = Mapping[str, Any]
# Head, values, intervals and chance levels of all models.
Column = tuple[str, Sequence[float | None], Sequence[Any], Sequence[float | None]]

_SKILL_CHANCE = 0.0
_LABEL_SETS = {"gold": "Gold", "mesh": "MeSH"}
_PLACES = {ON_WHOLE: "whole", ON_ANATOMY: "by anatomy"}


def strata_tables(results: Results) -> list[Table]:
    """The strata and skill, the labels, Recall and NDCG by stratum and by content, levels, differences.

    Args:
        results: the content of results.json.
    """
    tables = [
        overview(results),
        _labels(results),
        _by_stratum(results),
        _by_level(results),
        _differences(results),
    ]
    return [table for table in tables if table is not None and table.rows]


def overview(results: Results) -> Table | None:
    """One row a model: skill of the abnormal, the normal and all queries, content skill; None without."""
    models = results["models"]
    if not all(SKILL in block for block in models.values()):
        return None
    first, last = (str(results["protocol"]["ks_conditional"][at]) for at in (0, -1))
    columns = [
        _skill(models, ABNORMAL, "content_ndcg", last, "Content skill"),
        *(_skill(models, ABNORMAL, "recall", k, f"Abnormal skill@{k}") for k in dict.fromkeys((first, last))),
        _skill(models, NORMAL, "recall", first, f"Normal skill@{first}"),
        _skill(models, None, "recall", first, f"All skill@{first}"),
        *(_label_column(models, of, ON_ANATOMY, AUC, f"{title} AUC") for of, title in _LABEL_SETS.items()),
    ]
    shown = [column for column in columns if any(value is not None for value in column[1])]
    note = (
        "Skill: (figure - chance) / (best - chance), summed over the queries under all anatomies; 0 is a "
        f"random order, 100 the best. Content skill: that of NDCG@{last} with relevance by content as the "
        "gain, over the abnormal queries, whose text affirms a finding. "
    )
    if any(column[0].endswith("AUC") for column in shown):
        note += "AUC: of labels, asked under their anatomies; chance is 50. "
    return _models_in_rows("Strata and skill", models, shown, note + dropped(results))


def dropped(results: Results) -> str:
    """One sentence on the queries that have no correct candidate, by stratum; empty where not known."""
    strata = results.get(STRATA, {})
    told = [
        f"{about['n_without_correct']:,} of {about['n_queries']:,} {name} queries "
        f"({about['n_without_correct'] / max(1, about['n_queries']):.0%})"
        for name, about in strata.items()
    ]
    if not told:
        return ""
    protocol = results["protocol"]
    limit = f"{'above' if protocol['strict'] else 'at or above'} {protocol['threshold']:g}"
    return f"Without a candidate of relevance {limit}, and so not in Recall: {' and '.join(told)}."


def _skill(models: Results, stratum: str | None, metric: str, k: str, head: str) -> Column:
    blocks = [
        (block if stratum is None else block.get(stratum, {})).get(SKILL, {}) for block in models.values()
    ]
    values = [block.get(metric, {}).get(k) for block in blocks]
    ends = [block.get(f"{metric}_ci95", {}).get(k) for block in blocks]
    return head, values, ends, [_SKILL_CHANCE] * len(values)


def _label_column(models: Results, label_set: str, place: str, metric: str, head: str) -> Column:
    blocks = [block.get(label_set, {}).get(place, {}) for block in models.values()]
    values = [block.get(metric) for block in blocks]
    ends = [block.get(f"{metric}_ci95") for block in blocks]
    return head, values, ends, [block.get(f"chance_{metric}") for block in blocks]


def _models_in_rows(title: str, models: Results, columns: Sequence[Column], note: str) -> Table:
    cells = [_cells(models, column) for column in columns]
    rows = tuple((Cell(name), *(column[row] for column in cells)) for row, name in enumerate(models))
    heads = ("Model", *(column[0] for column in columns))
    return Table(title, heads, rows, note, with_intervals=True)


def _cells(models: Results, column: Column) -> list[Cell]:
    """A figure of all models, the best above chance marked, with intervals."""
    _, values, ends, chance = column
    return with_ranges(marked(values, competitors(models), above_chance(ends, chance)), ends)


def _labels(results: Results) -> Table | None:
    """AUC, mAP and precision by each set of labels, whole and under the labels' anatomies."""
    models = results["models"]
    k = results["protocol"].get("gold_k", 5)
    metrics = {AUC: "AUC", MAP: "mAP", precision_name(k): f"Precision@{k}"}
    rows: list[tuple[Cell, ...]] = []
    for label_set, title in _LABEL_SETS.items():
        for place, where in _PLACES.items():
            blocks = [block.get(label_set, {}).get(place) for block in models.values()]
            if (about := next((block for block in blocks if block), None)) is None:
                continue
            for metric, shown in metrics.items():
                column = _label_column(models, label_set, place, metric, "")
                head = (Cell(title), Cell(where), Cell(shown), Cell(f"{about['n_labels']:,}"))
                rows.append((*head, Cell(percent(about[f"chance_{metric}"])), *_cells(models, column)))
    note = (
        "Do neighbours share what was labelled? Means over labels of means over the images with the label. "
        "By anatomy: the labels that name one, asked under it where the model takes conditions."
    )
    heads = ("Labels", "Asked", "Metric", "#Labels", "chance", *models)
    return Table("Labels", heads, tuple(rows), note, text_columns=3, with_intervals=True) if rows else None


def _by_stratum(results: Results) -> Table | None:
    """Averages over anatomies of Recall and NDCG: all queries, by stratum, and by content."""
    models = results["models"]
    protocol = results["protocol"]
    rows: list[tuple[Cell, ...]] = []
    for title, own in _averages(models):
        for metric, shown in (("recall", "Recall"), ("ndcg", "NDCG")):
            for k in map(str, protocol["ks_conditional"]):
                blocks = [block.get(metric, {}).get(k) for block in own]
                ends = [block.get(f"{metric}_ci95", {}).get(k) for block in own]
                chance = [block.get(f"chance_{metric}", {}).get(k) for block in own]
                column = (shown, blocks, ends, chance)
                counts = Cell(f"{own[0].get('n_with_correct', 0):,}")
                by_chance = Cell(percent(next((value for value in chance if value is not None), None)))
                rows.append((Cell(title), Cell(f"{shown}@{k}"), counts, by_chance, *_cells(models, column)))
    heads = ("Queries", "Metric", "#Correct", "chance", *models)
    note = (
        "Averages over anatomies. By content: another relevance, which follows what the texts affirm and not "
        "how they word it. Chance: a random order in expectation, exact for each query. #Correct: queries "
        "that have a correct candidate, which Recall is of."
    )
    return Table("Conditional, by stratum and by content", heads, tuple(rows), note, 2) if rows else None


def _averages(models: Results) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The average over anatomies of each kind that all models have."""
    kinds = {ABNORMAL: "Abnormal", NORMAL: "Normal", CONTENT: "All, by content"}
    for key, title in kinds.items():
        own = [block.get(key, {}).get(MACRO) for block in models.values()]
        if all(own):
            yield title, own


def _by_level(results: Results) -> Table | None:
    """Recall by level of the ontology: exact, and with hits at a parent in part."""
    models = results["models"]
    levels = next(iter(models.values())).get(LEVELS, {})
    rows = []
    for level, about in levels.items():
        for kind, shown in ((EXACT, "exact"), (WITH_PARENTS, "with parents")):
            for k in dict.fromkeys((min(about[kind], key=int), max(about[kind], key=int))):
                own = [block[LEVELS][level] for block in models.values()]
                column = (
                    "",
                    [block[kind][k] for block in own],
                    [block[f"{kind}_ci95"][k] for block in own],
                    [block[f"chance_{kind}"][k] for block in own],
                )
                counts = (Cell(f"{about['n_anatomies']:,}"), Cell(f"{about['n_queries']:,}"))
                by_chance = Cell(percent(about[f"chance_{kind}"][k]))
                rows.append((Cell(level), Cell(f"{shown}@{k}"), *counts, by_chance, *_cells(models, column)))
    share = next((about["parent_credit"] for about in levels.values()), 0)
    note = (
        "Level 0 is part of nothing. With parents: a candidate that is correct only under an anatomy that "
        f"this one is part of counts {share:g}. Both over the same queries."
    )
    heads = ("Level", "Hits", "#Anatomies", "#Queries", "chance", *models)
    return Table("Recall by level of the ontology", heads, tuple(rows), note, 2) if rows else None


def _differences(results: Results) -> Table | None:
    """Who is ahead by the figures of the overview."""
    first, last = (str(results["protocol"]["ks_conditional"][at]) for at in (0, -1))
    wanted = {
        (f"{ABNORMAL}/{SKILL}", f"content ndcg@{last}"): ("Content skill", f"NDCG@{last}"),
        (f"{ABNORMAL}/{SKILL}", f"recall@{first}"): ("Abnormal skill", f"Recall@{first}"),
        (f"{NORMAL}/{SKILL}", f"recall@{first}"): ("Normal skill", f"Recall@{first}"),
        (SKILL, f"recall@{first}"): ("All skill", f"Recall@{first}"),
    } | {
        (f"{label_set}/{place}", metric): (f"{title}, {where}", shown)
        for label_set, title in _LABEL_SETS.items()
        for place, where in _PLACES.items()
        for metric, shown in ((AUC, "AUC"), (MAP, "mAP"))
    }
    rows = [
        {**row, "title": title, "metric": metric}
        for asked, (title, metric) in wanted.items()
        for row in results.get(FURTHER, ())
        if (row["task"], row["metric"]) == asked
    ]
    return differences(results, rows, "Paired differences beside the paper's figures")
