"""From a source's jobs to blocks on the disk: read, mined and written by worker processes, a block at a time.

A block is `_BLOCK` studies. Its images become one Parquet shard for each split, and what the later steps of a
build need of it (texts, findings, labels, what was left out) small files of their own. Its record in the
steps comes last: a block whose record holds is complete, and an interrupted build resumes after it. The
record names the jobs and the state of the files that these read, so that an image that came later is used.
Memory does not grow with the corpus, and neither the blocks nor their bytes depend on the number of
processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.building.layout import VOLUMES, studies_shard
from dataset_scripts.building.working_folder import WorkingFolder
from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import Ontology
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.processes import map_in_order
from dataset_scripts.plumbing.steps import digest_of
from dataset_scripts.sources.base import SPLITS, ImageRecord, Skipped, Source, inputs_of

_BLOCK = 128  # studies; a shard of full-size radiographs then stays below a gigabyte
_ROW_GROUP = 128  # images; bounds the memory of streaming readers

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
        working: where they lie: texts in `work`, images where the dataset has them.
        source: what is built.
        ontology: the anatomies to mine.
    """

    def __init__(self, working: WorkingFolder, source: Source, ontology: Ontology) -> None:
        self._working = working
        self._source = source
        self._ontology = ontology
        self._blocks: list[Block] = []

    def write(self, processes: int | None = None, progress: bool = True) -> None:
        """Read, mine and write all blocks that are not there yet, or not any more.

        Args:
            processes: how many; all cores by default.
            progress: show a progress bar.
        """
        writer = _BlockWriter(self._working, self._source, self._ontology)
        done = map_in_order(writer, enumerate(_batched(self._source.jobs())), processes)
        with progress_bar(desc="studies", unit="study", shown=progress) as bar:
            for block in done:
                self._blocks.append(block)
                bar.update(block.studies)

    @property
    def made_from(self) -> str:
        """A digest of what the source held; `source_state` gives the same as long as it still does."""
        return digest_of([block.made_from for block in self._blocks])

    @property
    def texts_digest(self) -> str:
        """A digest of all texts: what entities and relevance follow from."""
        return digest_of([block.files[_texts_name(n)] for n, block in enumerate(self._blocks)])

    @property
    def names(self) -> list[str]:
        """The images' files, named from the dataset."""
        return [name for block in self._blocks for name in self._working.in_dataset(block.files)]

    def studies(self) -> Iterator[Study]:
        """All studies with a usable image, in source order; their images are on the disk."""
        for number in range(len(self._blocks)):
            for row in pq.read_table(self._working.folder / _texts_name(number)).to_pylist():
                row["regional"] = {item["anatomy"]: item["text"] for item in row["regional"]}
                row["labels"] = {item["label"]: item["value"] for item in row["labels"]}
                yield Study(**row)

    def skipped(self) -> Iterator[Skipped]:
        """What was left out, in source order."""
        for number in range(len(self._blocks)):
            for row in pq.read_table(self._working.folder / _skipped_name(number)).to_pylist():
                yield Skipped(**row)


@dataclass(frozen=True)
class Block:
    """A block on the disk.

    Attributes:
        studies: with a usable image, how many.
        made_from: a digest of its jobs and of the files that these read.
        files: name from the working folder -> SHA-256.
    """

    studies: int
    made_from: str
    files: dict[str, str]


def source_state(source: Source) -> str:
    """A digest of what a source holds now, without reading any image: as `BlockStore.made_from`."""
    return digest_of([_made_from(source, jobs) for jobs in _batched(source.jobs())])


def _made_from(source: Source, jobs: list[Any]) -> str:
    return digest_of(jobs, [inputs_of(source, job) for job in jobs if not isinstance(job, Skipped)])


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

    def __init__(self, working: WorkingFolder, source: Source, ontology: Ontology) -> None:
        self._working, self._source, self._ontology = working, source, ontology
        self._miner: FindingsMiner | None = None

    def __call__(self, block: tuple[int, list[Any]]) -> Block:
        """Write a block, (number, jobs), if it is not there as it should be."""
        number, jobs = block
        made_from = _made_from(self._source, jobs)  # before anything is read: what comes later is seen later
        step = f"blocks/{number:05d}"
        files = self._working.steps.finished(step, made_from)
        texts = self._working.folder / _texts_name(number)
        if files is not None:
            return Block(pq.read_metadata(texts).num_rows, made_from, files)
        records, skipped = self._read(jobs)
        written = [path for split in SPLITS for path in self._write_images(split, number, records)]
        rows = [vars(item) for item in skipped]
        reasons = self._working.folder / _skipped_name(number)
        _write(reasons, pa.Table.from_pylist(rows, schema=_SKIPPED_SCHEMA))
        studies = self._studies(records)
        _write(texts, pa.Table.from_pylist(studies, schema=_TEXT_SCHEMA))
        files = self._working.steps.finish(step, made_from, [*written, reasons, texts])
        return Block(len(studies), made_from, files)

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

    def _write_images(self, split: str, number: int, records: list[ImageRecord]) -> list[Path]:
        """Write a block's images of one split; returns the files."""
        records = [record for record in records if record.split == split]
        if not records:
            return []
        features = study_features(self._source.volumes)
        rows = [self._row(record, features) for record in records]
        path = studies_shard(self._working.dataset, split, number)
        _write(path, pa.Table.from_pylist(rows, schema=features.arrow_schema))
        inside = [record for record in records if self._source.volumes and isinstance(record.image, bytes)]
        return [path, *(self._working.dataset / _volume_name(record) for record in inside)]

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
            row["image"] = _volume_name(record)
            with atomic_path(self._working.dataset / row["image"]) as path:
                path.write_bytes(record.image)
        return row | vars(record.geometry)


def _volume_name(record: ImageRecord) -> str:
    return f"{VOLUMES}/{record.image_id}.nii.gz"


def _texts_name(number: int) -> str:
    return f"work/blocks/{number:05d}.texts.parquet"


def _skipped_name(number: int) -> str:
    return f"work/blocks/{number:05d}.skipped.parquet"


def _write(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_ROW_GROUP)
