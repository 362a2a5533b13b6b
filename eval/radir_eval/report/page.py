"""report.html: one self-contained page of the results, with the retrieved images to look at.

Written from what `evaluate_models` left in its folder and the local dataset; nothing is ranked again and
nothing is loaded from a network: the page's own security policy forbids it. The page holds images and report
text, and says at its head who may see them. Equal results give equal bytes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.sources.base import Sharing
from radir_eval.report.contact_sheets import contact_sheets
from radir_eval.report.pictures import volume_note
from radir_eval.report.plots import gains, head_to_tail, looks
from radir_eval.results_folder import EXAMPLES, HEAT_MAPS, REPORT, RESULTS, evaluation_folder, mark
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.statistics.summary import MACRO
from radir_eval.tables.paper_tables import (
    TASK_TITLES,
    Table,
    introduction,
    paper_tables,
    percent,
    summary,
    with_interval,
)
from radir_eval.tables.strata_tables import strata_tables

_TEMPLATE = "page.html.j2"
_FORBIDDEN = {
    Sharing.RESTRICTED: "their licence ({licence}) does not allow passing them on",
    Sharing.CREDENTIALED: "only people with signed access to the source may hold them ({licence})",
}
_COLUMNS = 16  # of a table at most; more, where groups of columns can stand alone, become several tables
_FIGURES_ONLY = "results.json and tables.md hold figures only."


def write_report(dataset: BuiltDataset, out: Path, progress: bool = False) -> Path:
    """Write report.html beside the results.

    Args:
        dataset: the dataset that was evaluated, for its images and texts.
        out: the folder that `evaluate_models` wrote.
        progress: show a progress bar over the queries.

    Returns:
        The path of the page.

    Raises:
        ValueError: the folder holds no results, or those of another dataset; another process writes to it.
    """
    with evaluation_folder(Path(out)) as folder:
        results, examples = (_read(folder / name) for name in (RESULTS, EXAMPLES))
        heat_maps = _read(folder / HEAT_MAPS) if (folder / HEAT_MAPS).is_file() else []
        if results["dataset"] != dataset.name:
            raise ValueError(
                f"{out} holds the results of {results['dataset']}, not of {dataset.name}: open that dataset"
            )
        left_out = {one["image_id"]: one["reason"] for one in results.get("left_out", ())}
        items = RetrievalSplit(dataset, results["split"], left_out)
        page = render(results, examples, heat_maps, items, progress)
        with atomic_path(folder / REPORT) as path:
            path.write_text(page, encoding="utf-8")
        mark(folder)
    return Path(out) / REPORT


def render(
    results: Mapping[str, Any],
    examples: Sequence[Mapping[str, Any]],
    heat_maps: Sequence[Mapping[str, Any]],
    items: RetrievalSplit,
    progress: bool = False,
) -> str:
    """The page as one string.

    Args:
        results: the content of results.json.
        examples: the content of examples.json.
        heat_maps: the content of heat_maps.json; none where no model can draw any.
        items: the split, for thumbnails and texts.
        progress: show a progress bar over the queries.

    Raises:
        ValueError: the examples name an image that the split does not have.
    """
    sheets = contact_sheets(results, examples, heat_maps, items, progress)
    template = _environment().get_template(_TEMPLATE)
    return template.render(
        results=results,
        introduction=introduction(results),
        notice=sharing_notice(items.dataset),
        looks=looks(results),
        strata=[part for table in strata_tables(results) for part in _parts(table)],
        notes=results.get("notes", ()),
        headline=_headline(results),
        summary=summary(results),
        tables=[part for table in paper_tables(results) for part in _parts(table)],
        head_to_tail=head_to_tail(results),
        gains=gains(results),
        sheets=sheets,
        has_heat_maps=bool(heat_maps),
        volume_note=volume_note() if items.dataset.holds_volumes else "",
        protocol=_plain(results["protocol"]),
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "place": "{:.2f}%".format,
        "points": _points,
        "runs": _runs,
    }
    return environment


def sharing_notice(dataset: BuiltDataset) -> str:
    """Why the page must not be passed on; empty where the dataset is open."""
    holds = f"it holds images and report text of {dataset.name}"
    try:
        facts = dataset.facts
    except ValueError:  # of another version: what may be done with it is not known
        return f"Do not share this page before you know who may see it: {holds}. {_FIGURES_ONLY}"
    if facts.sharing == Sharing.OPEN:
        return ""
    why = _FORBIDDEN[facts.sharing].format(licence=facts.licence)
    return f"Do not share this page: {holds}, and {why}. {_FIGURES_ONLY}"


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is missing: run `radir evaluate` into {path.parent} first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): run `radir evaluate` again") from error


def _points(value: float) -> str:
    """A difference in percentage points with its sign; none before a zero."""
    return f"{value:+.2f}" if round(value, 2) else "0.00"


def _plain(protocol: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in protocol.items()}


def _parts(table: Table) -> list[Table]:
    """A table, or one for each group of its columns where they are too many for a page."""
    titles = list(dict.fromkeys(title for title, _ in table.groups if title))
    if len(table.heads) <= _COLUMNS or len(titles) < 2:
        return [table]
    parts = []
    for title in titles:
        kept = [column for column, (group, _) in enumerate(table.groups) if group in ("", title)]
        rows = tuple(tuple(row[column] for column in kept) for row in table.rows)
        groups = tuple(table.groups[column] for column in kept)
        heads = tuple(table.heads[column] for column in kept)
        note = table.note if title == titles[-1] else ""
        title = f"{table.title}, {title}"
        parts.append(replace(table, title=title, heads=heads, rows=rows, note=note, groups=groups))
    return parts


def _runs(groups: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Neighbouring columns of one group together: (group, their names)."""
    return [(title, [name for _, name in run]) for title, run in groupby(groups, key=itemgetter(0))]


def _headline(results: Mapping[str, Any]) -> list[str]:
    """One sentence for each pair of competing models and overall task, at the first cut-off."""
    sentences = []
    first_metric = {task: f"recall@{_first_k(results, task)}" for task in TASK_TITLES}
    for row in results["comparisons"]:
        references = [results["models"][row[side]]["reference"] for side in ("a", "b")]
        if any(references) or row["metric"] != first_metric[row["task"]] or row["difference"] is None:
            continue
        what = f"{row['metric'].capitalize()}, {TASK_TITLES[row['task']].lower()}"
        if row["better"] is None:
            sentences.append(f"{what}: no clear difference between {row['a']} and {row['b']}.")
            continue
        other = row["b"] if row["better"] == row["a"] else row["a"]
        bounds = row["ci95"] if row["difference"] > 0 else [-row["ci95"][1], -row["ci95"][0]]
        shown = with_interval(abs(row["difference"]), bounds)
        sentences.append(f"{what}: {row['better']} is ahead of {other} by {shown} points.")
    return sentences


def _first_k(results: Mapping[str, Any], task: str) -> int:
    ks = "ks_conditional" if task == MACRO else "ks_unconditional"
    return int(results["protocol"][ks][0])
