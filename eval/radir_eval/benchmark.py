"""`radir evaluate`: the paper's tables for any number of models on one split of a built dataset.

The folder it writes, each file whole or not at all:
    results.json        every figure with its interval, the comparisons and the protocol
    tables.md           Tables 1, 2 and 3 of the paper, and the statistics
    tables.tex          the same, for a paper of one's own
    per_query.parquet   model, task, anatomy, query_id, k, recall, ndcg; chance_ and content_ of both; affirms
    examples.json       retrieved images of some queries, for the report
    heat_maps.json      heat-maps of some of these, as pictures, of the first model that can draw them
    manifest.json       which of these files, and of report.html, are there
By two hidden folders beside them, an interrupted evaluation resumes and a later one reuses what is known:
    .tasks/             metrics of each model in each task, see `radir_eval.task_cache`
    .cache/             vectors of the models, see `radir_eval.rankers.vector_store`; or elsewhere
Both hold what follows from models and dataset, and may be deleted at any time.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.atomic import atomic_path
from radir_eval.labels.label_figures import score_labels
from radir_eval.protocol import Protocol
from radir_eval.rankers.encoder import open_all
from radir_eval.rankers.terms import terms_of
from radir_eval.rankers.vectors import Ranker, Ranking, check_names
from radir_eval.report.examples import MOST_HEAT_MAPS, collect_examples, draw_heat_maps
from radir_eval.results_folder import (
    CACHE,
    EXAMPLES,
    HEAT_MAPS,
    LATEX,
    PER_QUERY,
    REPORT,
    RESULTS,
    TABLES,
    TASKS,
    evaluation_folder,
    mark,
)
from radir_eval.retrieval_split import CONTENT, RetrievalSplit, unreadable
from radir_eval.statistics.strata import FURTHER, summarise_beside
from radir_eval.statistics.summary import summarise
from radir_eval.tables.latex import latex_tables
from radir_eval.tables.paper_tables import markdown_tables
from radir_eval.task_cache import TaskCache
from radir_eval.tasks import TaskScores, by_paper, score_tasks

logger = logging.getLogger(__name__)

FIGURES = ("recall", "ndcg", "chance_recall", "chance_ndcg", "content_recall", "content_ndcg")

__all__ = ["EXAMPLES", "PER_QUERY", "RESULTS", "TABLES", "Protocol", "evaluate_models"]


def evaluate_models(
    dataset: BuiltDataset,
    split: str,
    rankers: Sequence[Ranker],
    protocol: Protocol,
    out: Path,
    progress: bool = True,
    cache: Path | None = None,
    heat_maps: int = MOST_HEAT_MAPS,
    skip_unreadable: bool = False,
) -> dict[str, Any]:
    """Evaluate all rankers on the same queries and candidates, and write the results.

    Args:
        dataset, split: a built dataset, and one of its splits.
        rankers: what to compare; names must differ. The first that is no reference chooses the examples.
        protocol: the choices.
        out: folder for the files above; made if missing.
        progress: show progress bars.
        cache: folder for the vectors of models, which evaluations may share; `out`/.cache by default.
        heat_maps: at most so many are drawn; 0 for none. Each costs some passes of the model in both ways.
        skip_unreadable: leave images out that cannot be read, for all rankers, and list them in the results;
            by default the first one ends the evaluation.

    Returns:
        The content of results.json. An interrupted call resumes, to the same bytes.

    Raises:
        ValueError: no ranker, two of one name, no such split or one too small, an unfit ranker, an image that
            cannot be read; another process writes to `out`, or it holds what is none of an evaluation.
    """
    check_names(rankers)
    with evaluation_folder(Path(out)) as folder:
        left_out = unreadable(dataset, split, progress) if skip_unreadable else None
        items = RetrievalSplit(dataset, split, left_out)
        return _evaluate(items, rankers, protocol, folder, progress, cache or folder / CACHE, heat_maps)


def _evaluate(
    items: RetrievalSplit,
    rankers: Sequence[Ranker],
    protocol: Protocol,
    out: Path,
    progress: bool,
    cache: Path,
    heat_maps: int,
) -> dict[str, Any]:
    parts = TaskCache(out / TASKS, items, protocol, rankers)
    rankings = open_all(rankers, items, cache)
    scored = score_tasks(items, rankings, protocol, progress, parts)
    results = _results(items, rankers, rankings, scored, protocol, parts)
    shown = {ranker.name: rankings[ranker.name] for ranker in rankers if not ranker.reference} or rankings
    examples = collect_examples(items, shown, by_paper(scored), results["anatomies"], protocol)
    _write(out, results, examples, items, scored)
    drawn = draw_heat_maps(items, shown, examples, parts, progress, heat_maps)  # last: the figures are safe
    _write_text(out / HEAT_MAPS, json.dumps(drawn, indent=1) + "\n")
    parts.prune()
    mark(out)
    return results


def _results(
    items: RetrievalSplit,
    rankers: Sequence[Ranker],
    rankings: Mapping[str, Ranking],
    scored: Sequence[TaskScores],
    protocol: Protocol,
    parts: TaskCache,
) -> dict[str, Any]:
    references = [ranker.name for ranker in rankers if ranker.reference]
    summary = summarise(items, by_paper(scored), protocol, references)
    summary[FURTHER] = []
    for beside in (
        summarise_beside(items, scored, protocol, references),
        score_labels(items, rankings, protocol, parts),
    ):
        for name, block in beside.pop("models").items():
            summary["models"][name] |= block
        summary[FURTHER] += beside.pop("comparisons")
        summary |= beside
    for ranker in rankers:
        summary["models"][ranker.name] |= {
            "conditions": rankings[ranker.name].conditional,
            "reference": ranker.reference,
        }
    return {
        "dataset": items.dataset.name,
        "hub_dataset": items.dataset.hub_id,
        "split": items.split,
        "seed": protocol.seed,
        "protocol": protocol.to_dict(),
        "data": terms_of(items.dataset, rankers),
        "n_images": len(items),
        "left_out": [{"image_id": name, "reason": reason} for name, reason in items.left_out.items()],
        "n_subjects": int(items.subjects.max()) + 1,
        **summary,
    }


def _write(
    out: Path,
    results: dict[str, Any],
    examples: list[dict[str, Any]],
    items: RetrievalSplit,
    scored: Sequence[TaskScores],
) -> None:
    mark(out)
    for name in (HEAT_MAPS, REPORT):  # of an earlier evaluation, until these are drawn
        (out / name).unlink(missing_ok=True)
    texts = {
        RESULTS: json.dumps(results, indent=1, allow_nan=False) + "\n",
        TABLES: markdown_tables(results),
        LATEX: latex_tables(results),
        EXAMPLES: json.dumps(examples, indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        _write_text(out / name, text)
    with atomic_path(out / PER_QUERY) as path:
        _write_per_query(path, items, scored)
    logger.info("wrote %s, %s and %s to %s", RESULTS, TABLES, PER_QUERY, out)


def _write_text(target: Path, text: str) -> None:
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def _write_per_query(path: Path, items: RetrievalSplit, scored: Sequence[TaskScores]) -> None:
    """One row a query and cut-off; null where a metric is not defined. A task of a model is a row group."""
    text = pa.dictionary(pa.int32(), pa.string())
    fields = {"model": text, "task": text, "anatomy": text, "query_id": pa.string(), "k": pa.int32()}
    figures = [(name, pa.float64()) for name in FIGURES]
    schema = pa.schema([*fields.items(), *figures, ("affirms", pa.bool_())])
    content = {(t.model, t.task, t.anatomy): t for t in scored if t.relevance == CONTENT}
    with pq.ParquetWriter(path, schema) as writer:
        for task in by_paper(scored):
            count, cuts = task.recall.shape
            constant = {"model": task.model, "task": task.task, "anatomy": task.anatomy}
            columns: dict[str, Any] = {
                name: pa.DictionaryArray.from_arrays(np.zeros(count * cuts, dtype=np.int32), [value])
                for name, value in constant.items()
            }
            columns["query_id"] = pa.array(np.repeat(items.image_ids[task.queries], cuts), pa.string())
            columns["k"] = pa.array(np.tile(np.asarray(task.ks, dtype=np.int32), count))
            values = _figures(task, content.get((task.model, task.task, task.anatomy)))
            for name, found in zip(FIGURES, values, strict=True):
                columns[name] = (
                    pa.nulls(count * cuts, pa.float64())
                    if found is None
                    else pa.array(found.ravel(), from_pandas=True)
                )
            affirms = np.zeros(count, dtype=bool) if task.affirms is None else task.affirms
            columns["affirms"] = pa.array(np.repeat(affirms, cuts))
            writer.write_table(pa.table(columns, schema=schema))


def _figures(task: TaskScores, content: TaskScores | None) -> Iterator[np.ndarray | None]:
    """A task's metrics (Q, K) in the order of FIGURES; None for those that it lacks."""
    yield from (task.recall, task.ndcg, task.chance_recall, task.chance_ndcg)
    yield from (None, None) if content is None else (content.recall, content.ndcg)
