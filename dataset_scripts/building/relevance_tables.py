"""The `relevance` config of a built dataset: each query's candidates in descending relevance.

One part a (split, anatomy) is written first, so that an interrupted build resumes; then they are joined: by
their names, never by a listing of the folder.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.building.layout import RELEVANCE, table_path
from dataset_scripts.building.working_folder import WorkingFolder
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.steps import digest_of
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.sources.base import SPLITS

WHOLE_REPORT = ""  # the `anatomy` of a study's entire findings text
_PARTS = "relevance"  # where parts wait for the rest
TRAIN_CANDIDATES = 50  # stored per training query; any other relevance follows from entities/

_SCHEMA = pa.schema(
    {
        "query_id": pa.string(),
        "anatomy": pa.string(),
        "candidate_ids": pa.list_(pa.string()),
        "relevance": pa.list_(pa.float32()),
    }
)


def write_relevance(
    working: WorkingFolder,
    engine: RelevanceEngine,
    members: dict[str, dict[str, list[str]]],
    made_from: str,
    progress: bool = True,
) -> list[str]:
    """Write `relevance/{split}.parquet`: complete for validation and test, the best candidates for train.

    Args:
        working: the build's folder.
        engine: over the dataset's entities.
        members: split -> anatomy -> the studies with findings there, in order.
        made_from: a digest of what the entities were made from; what follows from others is done again.
        progress: show progress bars.

    Returns:
        The files' names in the dataset.
    """
    names: list[str] = []
    for split in SPLITS:
        anatomies = {name: ids for name, ids in members.get(split, {}).items() if len(ids) > 1}
        if not anatomies:
            continue
        path, step = table_path(working.dataset, RELEVANCE, split), f"{RELEVANCE}/{split}"
        files = working.steps.finished(step, made_from)
        if files is None:
            parts = _write_parts(working, split, anatomies, engine, made_from, progress)
            _join(parts, path)
            files = working.steps.finish(step, made_from, [path])
        shutil.rmtree(working.work / _PARTS / split, ignore_errors=True)
        names += working.in_dataset(files)
    return names


def _write_parts(
    working: WorkingFolder,
    split: str,
    anatomies: dict[str, list[str]],
    engine: RelevanceEngine,
    made_from: str,
    progress: bool,
) -> list[Path]:
    """Write one part an anatomy, where it is not there; returns them in order."""
    limit = TRAIN_CANDIDATES if split == "train" else max(map(len, anatomies.values()))
    parts = []
    bar = progress_bar(anatomies.items(), desc=f"relevance {split}", unit="anatomy", shown=progress)
    for number, (anatomy, ids) in enumerate(bar):
        part = working.work / _PARTS / split / f"{number:04d}.parquet"
        step, of_part = f"{RELEVANCE}/{split}/{number:04d}", digest_of(made_from, anatomy)
        if working.steps.finished(step, of_part) is None:
            with atomic_path(part) as temporary:
                pq.write_table(_table(anatomy, ids, engine, min(limit, len(ids))), temporary)
            working.steps.finish(step, of_part, [part])
        parts.append(part)
    return parts


def _join(parts: list[Path], path: Path) -> None:
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, schema=_SCHEMA))


def _table(anatomy: str, members: list[str], engine: RelevanceEngine, limit: int) -> pa.Table:
    rows = engine.store.rows(members, anatomy)
    count = len(members)
    positions, values = engine.top_k(rows, rows, min(limit + 1, count))  # one more: the query itself
    others = positions != np.arange(count)[:, None]
    others[others.all(axis=1), -1] = False  # the query stands behind its equals: drop the last one instead
    per_query = positions.shape[1] - 1
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * per_query)
    ids = pa.array(members).take(pa.array(positions[others]))
    return pa.table(
        [
            pa.array(members),
            pa.array([anatomy] * count),
            pa.ListArray.from_arrays(offsets, ids),
            pa.ListArray.from_arrays(offsets, pa.array(values[others])),
        ],
        schema=_SCHEMA,
    )
