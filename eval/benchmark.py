"""`radir evaluate`: the paper's tables for any number of models on one split of a built dataset.

The folder it writes, each file whole or not at all:
    results.json        every figure with its interval, the comparisons and the protocol
    tables.md           Tables 1 and 2 of the paper
    per_query.parquet   model, task, anatomy, query_id, k, recall, ndcg
    examples.json       retrieved images of some queries, for the report
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.atomic import atomic_path
from dataset_scripts.folder import BuiltDataset
from eval.embeddings import Ranking, Source
from eval.examples import collect_examples
from eval.gold import gold_precision
from eval.items import Items
from eval.protocol import Protocol
from eval.summary import summarise
from eval.tables import markdown_tables
from eval.tasks import TaskScores, score_tasks

logger = logging.getLogger(__name__)

RESULTS, TABLES, PER_QUERY, EXAMPLES = "results.json", "tables.md", "per_query.parquet", "examples.json"

__all__ = ["EXAMPLES", "PER_QUERY", "RESULTS", "TABLES", "Protocol", "evaluate_models"]


def evaluate_models(
    dataset: BuiltDataset,
    split: str,
    sources: Sequence[Source],
    protocol: Protocol,
    out: Path,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate all sources on the same queries and candidates, and write the results.

    Args:
        dataset: a built dataset.
        split: "train", "validation" or "test".
        sources: what to compare; names must differ. The first that is no reference chooses the examples.
        protocol: the choices.
        out: folder for the files above; made if missing.
        progress: show progress bars.

    Returns:
        The content of results.json.

    Raises:
        ValueError: no source, two of one name, a split that is not there or too small, or a source that does
            not fit the dataset.
    """
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the sources are named {names}: give at least one, and each its own name")
    items = Items(dataset, split)
    rankings = {source.name: source.open(items) for source in sources}
    scored = score_tasks(items, rankings, protocol, progress)
    results = _results(items, sources, rankings, scored, protocol)
    shown = {source.name: rankings[source.name] for source in sources if not source.reference} or rankings
    examples = collect_examples(items, shown, scored, results["anatomies"], protocol)
    _write(Path(out), results, examples, items, scored)
    return results


def _results(
    items: Items,
    sources: Sequence[Source],
    rankings: Mapping[str, Ranking],
    scored: Sequence[TaskScores],
    protocol: Protocol,
) -> dict[str, Any]:
    summary = summarise(items, scored, protocol)
    gold = gold_precision(items, rankings, protocol)
    for source in sources:
        name, block = source.name, summary["models"][source.name]
        block |= {"conditions": rankings[name].conditional, "reference": source.reference}
        if name in gold:
            block["gold_precision"] = gold[name]
    return {
        "dataset": items.dataset.name,
        "split": items.split,
        "seed": protocol.seed,
        "protocol": protocol.to_dict(),
        "n_images": len(items),
        "n_subjects": int(items.subjects.max()) + 1,
        **summary,
    }


def _write(
    out: Path,
    results: dict[str, Any],
    examples: list[dict[str, Any]],
    items: Items,
    scored: Sequence[TaskScores],
) -> None:
    texts = {
        RESULTS: json.dumps(results, indent=1, allow_nan=False) + "\n",
        TABLES: markdown_tables(results),
        EXAMPLES: json.dumps(examples, indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with atomic_path(out / name) as path:
            path.write_text(text, encoding="utf-8")
    with atomic_path(out / PER_QUERY) as path:
        _write_per_query(path, items, scored)
    logger.info("wrote %s, %s and %s to %s", RESULTS, TABLES, PER_QUERY, out)


def _write_per_query(path: Path, items: Items, scored: Sequence[TaskScores]) -> None:
    """One row a query and cut-off; null where a metric is not defined. A task of a model is a row group."""
    text = pa.dictionary(pa.int32(), pa.string())
    fields = {"model": text, "task": text, "anatomy": text, "query_id": pa.string(), "k": pa.int32()}
    schema = pa.schema([*fields.items(), ("recall", pa.float64()), ("ndcg", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for task in scored:
            count, cuts = task.recall.shape
            constant = {"model": task.model, "task": task.task, "anatomy": task.anatomy}
            columns: dict[str, Any] = {
                name: pa.DictionaryArray.from_arrays(np.zeros(count * cuts, dtype=np.int32), [value])
                for name, value in constant.items()
            }
            columns["query_id"] = pa.array(np.repeat(items.image_ids[task.queries], cuts), pa.string())
            columns["k"] = pa.array(np.tile(np.asarray(task.ks, dtype=np.int32), count))
            columns["recall"] = pa.array(task.recall.ravel(), from_pandas=True)
            columns["ndcg"] = pa.array(task.ndcg.ravel(), from_pandas=True)
            writer.write_table(pa.table(columns, schema=schema))
