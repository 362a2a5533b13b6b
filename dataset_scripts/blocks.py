"""From a source's jobs to blocks on the disk: read, mined and written by worker processes, a block at a time.

A block is `_BLOCK` studies. Its images become one Parquet shard for each split, and what the later steps of a
build need of it (texts, findings, labels, what was left out) one small file of its own. That file is written
last, so a block whose file is there is complete: an interrupted build goes on after it. Memory does not grow
with the corpus, and neither the blocks nor their bytes depend on the number of processes.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dataset_scripts.findings import FindingsMiner
from dataset_scripts.folder import STUDIES, VOLUMES, studies_shard
from dataset_scripts.ontology import Ontology
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.processes import map_in_order
from dataset_scripts.records import SPLITS, ImageRecord, Skipped, Source

BLOCKS = "blocks"  # the folder of what is needed until the dataset is complete
_BLOCK = 128  # studies; a shard of full-size radiographs then stays below a gigabyte
_ROW_GROUP = 128  # images; bounds the memory of streaming readers
_NUMBER = re.compile(r"\d{5,}")  # of a block, in the names of its files
_JOBS = b"radir_jobs"  # the key in a block file's metadata that holds the digest of its jobs

_TEXT_SCHEMA = pa.schema(
    {
        "study_id": pa.string(),
        "subject_id": pa.string(),
        "split": pa.string(),
        "findings": pa.string(),
        "regional": pa.list_(pa.struct({"anatomy": pa.string(), "text": pa.string()})),
        "labels": pa.list_(pa.struct({"label": pa.string(), "value": pa.int8()})),
        "images": pa.list_(pa.string()),
    }
)
_SKIPPED_SCHEMA = pa.schema({"record_id": pa.string(), "reason": pa.string()})


def study_features(volumes: bool) -> datasets.Features:
    """The columns of the `studies` config; volumes have a path, and how to read what lies there."""
    string = datasets.Value("string")
    names = ("study_id", "subject_id", "image_id", "image", "view", "report", "findings", "impression")
    features = datasets.Features(dict.fromkeys(names, string))
    if not volumes:
        features["image"] = datasets.Image()
        return features
    features["spacing_mm"] = datasets.List(datasets.Value("float32"), length=3)
    features["rescale_slope"] = datasets.Value("float32")
    features["rescale_intercept"] = datasets.Value("float32")
    return features


@dataclass(frozen=True)
class Study:
    """What the later steps of a build need of one study."""

    study_id: str
    subject_id: str
    split: str
    findings: str
    regional: dict[str, str]  # anatomy -> sentences
    labels: dict[str, int]
    images: list[str]


class BlockStore:
    """The blocks of a build in progress.

    Args:
        folder: the build's working folder; blocks lie in `blocks/`, shards where the dataset has them.
        source: what is built.
        ontology: the anatomies to mine.
    """

    def __init__(self, folder: Path, source: Source, ontology: Ontology) -> None:
        self.folder = folder
        self._source = source
        self._ontology = ontology
        self._count = 0

    def write(self, processes: int | None = None, progress: bool = True) -> bool:
        """Read, mine and write all blocks that are not there yet.

        Args:
            processes: how many; all cores by default.
            progress: show a progress bar.

        Returns:
            Whether anything was written, so that later steps of an earlier try do not hold any more.
        """
        writer = _BlockWriter(self.folder, self._source, self._ontology)
        done = map_in_order(writer, enumerate(_batched(self._source.jobs())), processes)
        changed = False
        with tqdm(desc="studies", unit="study", disable=not progress) as bar:
            for studies, is_new in done:
                self._count += 1
                changed |= is_new
                bar.update(studies)
        return self._remove_rest() or changed

    def _remove_rest(self) -> bool:
        """Remove blocks beyond the last one, of a try when the source held more."""
        files = [*(self.folder / STUDIES).glob("*.parquet"), *(self.folder / BLOCKS).glob("*.parquet")]
        rest = [path for path in files if int(_NUMBER.findall(path.name)[0]) >= self._count]
        for path in rest:
            path.unlink()
        return bool(rest)

    def studies(self) -> Iterator[Study]:
        """All studies with a usable image, in source order; their images are on the disk."""
        for number in range(self._count):
            for row in pq.read_table(_texts_path(self.folder, number)).to_pylist():
                row["regional"] = {item["anatomy"]: item["text"] for item in row["regional"]}
                row["labels"] = {item["label"]: item["value"] for item in row["labels"]}
                yield Study(**row)

    def skipped(self) -> Iterator[Skipped]:
        """What was left out, in source order."""
        for number in range(self._count):
            for row in pq.read_table(_skipped_path(self.folder, number)).to_pylist():
                yield Skipped(**row)


def _batched(jobs: Iterator[Any]) -> Iterator[list[Any]]:
    """Jobs in lists of `_BLOCK`; rows that lead to no job ride along and do not count."""
    block: list[Any] = []
    counted = 0
    for job in jobs:
        block.append(job)
        counted += not isinstance(job, Skipped)
        if counted == _BLOCK or len(block) == 64 * _BLOCK:
            yield block
            block, counted = [], 0
    if block:
        yield block


class _BlockWriter:
    """Reads the jobs of a block, mines their texts and writes it; picklable."""

    def __init__(self, folder: Path, source: Source, ontology: Ontology) -> None:
        self._folder, self._source, self._ontology = folder, source, ontology
        self._miner: FindingsMiner | None = None

    def __call__(self, block: tuple[int, list[Any]]) -> tuple[int, bool]:
        """Write a block, (number, jobs), if it is not there; return (studies, whether it was written now)."""
        number, jobs = block
        digest = hashlib.sha256(repr(jobs).encode()).hexdigest().encode()
        texts_path = _texts_path(self._folder, number)
        if texts_path.is_file() and (pq.read_schema(texts_path).metadata or {}).get(_JOBS) == digest:
            return pq.read_metadata(texts_path).num_rows, False
        records, skipped = self._read(jobs)
        for split in SPLITS:
            self._write_shard(split, number, [record for record in records if record.split == split])
        studies = self._studies(records)
        rows = [vars(item) for item in skipped]
        _write(_skipped_path(self._folder, number), pa.Table.from_pylist(rows, schema=_SKIPPED_SCHEMA))
        _write(
            texts_path,
            pa.Table.from_pylist(studies, schema=_TEXT_SCHEMA).replace_schema_metadata({_JOBS: digest}),
        )
        return len(studies), True

    def _read(self, jobs: list[Any]) -> tuple[list[ImageRecord], list[Skipped]]:
        records: list[ImageRecord] = []
        skipped: list[Skipped] = []
        for job in jobs:
            for item in [job] if isinstance(job, Skipped) else self._source.read(job):
                skipped.append(item) if isinstance(item, Skipped) else records.append(item)
        return records, skipped

    def _studies(self, records: list[ImageRecord]) -> list[dict[str, Any]]:
        """One row a study; a second image adds no second text. What is inconsistent stays so, to be found."""
        miner = self._miner = self._miner or FindingsMiner(self._ontology)
        studies: dict[tuple[str, str, str], dict[str, Any]] = {}
        for record in records:
            key = (record.study_id, record.subject_id, record.split)
            if key not in studies:
                regional = miner.mine_regional(record.regional) if record.regional else None
                found = miner.mine(record.findings) if regional is None else regional
                studies[key] = {
                    "study_id": record.study_id,
                    "subject_id": record.subject_id,
                    "split": record.split,
                    "findings": record.findings,
                    "regional": [{"anatomy": name, "text": text} for name, text in found.items()],
                    "labels": [{"label": name, "value": value} for name, value in record.labels.items()],
                    "images": [],
                }
            studies[key]["images"].append(record.image_id)
        return list(studies.values())

    def _write_shard(self, split: str, number: int, records: list[ImageRecord]) -> None:
        path = studies_shard(self._folder, split, number)
        path.unlink(missing_ok=True)  # of an interrupted build whose source has changed since
        if records:
            features = study_features(self._source.volumes)
            rows = [self._row(record, features) for record in records]
            _write(path, pa.Table.from_pylist(rows, schema=features.arrow_schema))

    def _row(self, record: ImageRecord, features: datasets.Features) -> dict[str, Any]:
        row: dict[str, Any] = {name: getattr(record, name, None) for name in features}
        if not self._source.volumes:
            inside = isinstance(record.image, bytes)
            row["image"] = {
                "bytes": record.image if inside else None,
                "path": record.image_id if inside else record.image,
            }
            return row
        assert record.geometry is not None, "a source of volumes gives their geometry"
        if isinstance(record.image, bytes):
            row["image"] = f"{VOLUMES}/{record.image_id}.nii.gz"
            with atomic_path(self._folder / row["image"]) as path:
                path.write_bytes(record.image)
        return row | vars(record.geometry)


def _texts_path(folder: Path, number: int) -> Path:
    return folder / BLOCKS / f"{number:05d}.texts.parquet"


def _skipped_path(folder: Path, number: int) -> Path:
    return folder / BLOCKS / f"{number:05d}.skipped.parquet"


def _write(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_ROW_GROUP)
