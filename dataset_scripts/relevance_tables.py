"""The `relevance` config of a built dataset: each query's candidates in descending relevance.

One part a (split, anatomy) is written first, so that an interrupted build goes on; then they are joined.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dataset_scripts.folder import RELEVANCE, table_path
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.records import SPLITS
from dataset_scripts.relevance import RelevanceEngine

WHOLE_REPORT = ""  # the `anatomy` of a study's entire findings text
RELEVANCE_PARTS = "relevance-parts"  # where parts wait for the rest
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
    folder: Path, engine: RelevanceEngine, members: dict[str, dict[str, list[str]]], progress: bool = True
) -> None:
    """Write `relevance/{split}.parquet`: complete for validation and test, the best candidates for train.

    Args:
        folder: the dataset's folder.
        engine: over the dataset's entities.
        members: split -> anatomy -> the studies with findings there, in order.
        progress: show progress bars.
    """
    for split in SPLITS:
        path = table_path(folder, RELEVANCE, split)
        anatomies = {name: ids for name, ids in members.get(split, {}).items() if len(ids) > 1}
        if not anatomies or path.is_file():
            continue
        parts = folder / RELEVANCE_PARTS / split
        bar = tqdm(anatomies.items(), desc=f"relevance {split}", unit="anatomy", disable=not progress)
        for number, (anatomy, ids) in enumerate(bar):
            part = parts / f"{number:04d}.parquet"
            if not part.is_file():
                limit = TRAIN_CANDIDATES if split == "train" else len(ids)
                with atomic_path(part) as temporary:
                    pq.write_table(_table(anatomy, ids, engine, limit), temporary)
        _join(sorted(parts.iterdir()), path)
        shutil.rmtree(parts.parent)


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
