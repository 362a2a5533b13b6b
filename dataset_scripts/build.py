"""From a source's records to a built dataset: mining, entities, relevance, Parquet and a card."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dataset_scripts.atomic import atomic_path
from dataset_scripts.card import write_card
from dataset_scripts.entities import LexicalScorer
from dataset_scripts.findings import FindingsMiner
from dataset_scripts.folder import (
    ANATOMIES,
    ENTITIES,
    FINDINGS,
    LABELS,
    RELEVANCE,
    SKIPPED,
    STUDIES,
    table_path,
)
from dataset_scripts.ontology import Ontology, default_ontology
from dataset_scripts.records import SPLITS, ImageRecord, SkipList, Skipped
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.store import EntityStore

logger = logging.getLogger(__name__)

WHOLE_REPORT = ""  # the `anatomy` of a study's entire findings text
TRAIN_CANDIDATES = 50  # stored per training query; any other relevance follows from entities/
_ROW_GROUP = 128  # images; bounds the memory of the writer and of streaming readers

STUDY_FEATURES = datasets.Features(
    {
        "study_id": datasets.Value("string"),
        "subject_id": datasets.Value("string"),
        "image_id": datasets.Value("string"),
        "image": datasets.Image(),
        "view": datasets.Value("string"),
        "report": datasets.Value("string"),
        "findings": datasets.Value("string"),
        "impression": datasets.Value("string"),
    }
)


class Source(Protocol):
    """What a builder offers: a name, a licence, its records, and where each gold label shows."""

    name: str
    licence: str
    label_anatomies: dict[str, str]

    def records(self) -> Iterable[ImageRecord | Skipped]:
        """One item an image, in a fixed order."""


@dataclass
class BuildSummary:
    """What a build wrote and what it left out."""

    folder: Path
    images: dict[str, int] = field(default_factory=dict)
    findings: int = 0
    anatomies: int = 0
    unique_entities: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass
class _Studies:
    """The text of each study, in order of first appearance; images are already on the disk."""

    text: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, split: str) -> list[str]:
        return [study for study, its_split in self.split.items() if its_split == split]


def build_dataset(
    source: Source, out: Path, scorer: LexicalScorer, ontology: Ontology | None = None, progress: bool = True
) -> BuildSummary:
    """Build a dataset folder from a source; the folder appears whole or not at all.

    Args:
        source: the records.
        out: the folder to write; an earlier build there is replaced.
        scorer: extracts and embeds the entities behind every relevance.
        ontology: the anatomies to mine; the package's own by default.
        progress: show progress bars.

    Raises:
        ValueError: if `out` is something else than an earlier build, or no record is left.
    """
    if out.exists() and not (out.is_dir() and ((out / ENTITIES).is_dir() or not any(out.iterdir()))):
        raise ValueError(f"{out} exists and is not a built dataset; give another --out or remove it")
    ontology = ontology or default_ontology()
    skips = SkipList()
    with atomic_path(out) as folder:
        folder.mkdir(parents=True)
        studies = _write_studies(folder, skips.keep(source.records()), progress)
        if not studies.text:
            raise ValueError(f"{source.name}: no usable record; all were skipped because: {skips.counts()}")
        findings = _mine(studies, FindingsMiner(ontology), progress)
        _write_findings(folder, findings, studies)
        _write_table(table_path(folder, ANATOMIES), _anatomy_rows(ontology))
        _write_labels(folder, studies, source.label_anatomies)
        store = EntityStore.build(_texts(studies, findings), scorer)
        store.save(folder / ENTITIES)
        for split in SPLITS:
            _write_relevance(folder, split, studies.of(split), findings, RelevanceEngine(store), progress)
        pd.DataFrame([vars(item) for item in skips.items], columns=["record_id", "reason"]).to_csv(
            folder / SKIPPED, index=False
        )
        summary = BuildSummary(
            folder=out,
            images={split: _rows(folder, split) for split in SPLITS if _rows(folder, split)},
            findings=sum(map(len, findings.values())),
            anatomies=len({anatomy for texts in findings.values() for anatomy in texts}),
            unique_entities=len(store.entity_texts),
            skipped=skips.counts(),
        )
        write_card(folder, source.name, source.licence, summary, scorer)
    return summary


def _rows(folder: Path, split: str) -> int:
    path = table_path(folder, STUDIES, split)
    return pq.read_metadata(path).num_rows if path.is_file() else 0


class _SplitWriters:
    """One Parquet file a split, written in row groups as the records come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, record: ImageRecord) -> None:
        image = (
            {"bytes": record.image, "path": record.image_id}
            if isinstance(record.image, bytes)
            else {"bytes": None, "path": record.image}
        )
        row = {name: image if name == "image" else getattr(record, name) for name in STUDY_FEATURES}
        self._pending[record.split].append(row)
        if len(self._pending[record.split]) == _ROW_GROUP:
            self._flush(record.split)

    def _flush(self, split: str) -> None:
        if not self._pending[split]:
            return
        if split not in self._writers:
            path = table_path(self._folder, STUDIES, split)
            path.parent.mkdir(exist_ok=True)
            self._writers[split] = pq.ParquetWriter(path, STUDY_FEATURES.arrow_schema)
        self._writers[split].write_table(
            pa.Table.from_pylist(self._pending[split], schema=STUDY_FEATURES.arrow_schema)
        )
        self._pending[split].clear()

    def close(self) -> None:
        for split in SPLITS:
            self._flush(split)
        for writer in self._writers.values():
            writer.close()


def _write_studies(folder: Path, records: Iterable[ImageRecord], progress: bool) -> _Studies:
    """Stream the images to Parquet and keep the text; a second image adds no second text."""
    studies, writers, seen = _Studies(), _SplitWriters(folder), set()
    for record in tqdm(records, desc="studies", unit="image", disable=not progress):
        if record.image_id in seen:
            raise ValueError(f"image_id {record.image_id!r} occurs twice; each image needs its own")
        seen.add(record.image_id)
        writers.add(record)
        studies.text.setdefault(record.study_id, record.findings)
        studies.split.setdefault(record.study_id, record.split)
        studies.labels.setdefault(record.study_id, record.labels)
    writers.close()
    return studies


def _mine(studies: _Studies, miner: FindingsMiner, progress: bool) -> dict[str, dict[str, str]]:
    return {
        study: miner.mine(text)
        for study, text in tqdm(studies.text.items(), desc="findings", unit="report", disable=not progress)
    }


def _texts(studies: _Studies, findings: dict[str, dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    for study, text in studies.text.items():
        yield study, WHOLE_REPORT, text
        for anatomy, sentences in findings[study].items():
            yield study, anatomy, sentences


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_findings(folder: Path, findings: dict[str, dict[str, str]], studies: _Studies) -> None:
    for split in SPLITS:
        rows = [
            {"study_id": study, "anatomy": anatomy, "text": text}
            for study in studies.of(split)
            for anatomy, text in findings[study].items()
        ]
        if rows:
            _write_table(table_path(folder, FINDINGS, split), rows)


def _anatomy_rows(ontology: Ontology) -> list[dict[str, Any]]:
    return [
        {
            "name": anatomy.name,
            "parent": list(anatomy.parents),
            "region": anatomy.region,
            "synonyms": list(anatomy.synonyms),
        }
        for anatomy in ontology
    ]


def _write_labels(folder: Path, studies: _Studies, anatomies: dict[str, str]) -> None:
    rows = [
        {"study_id": study, "label": label, "value": value, "anatomy": anatomies.get(label)}
        for study, labels in studies.labels.items()
        for label, value in labels.items()
    ]
    if rows:
        _write_table(table_path(folder, LABELS), rows)


def _write_relevance(
    folder: Path,
    split: str,
    studies: list[str],
    findings: dict[str, dict[str, str]],
    engine: RelevanceEngine,
    progress: bool,
) -> None:
    """Each query's candidates in descending relevance: all of them, or the first ones for training."""
    if not studies:
        return
    path = table_path(folder, RELEVANCE, split)
    path.parent.mkdir(exist_ok=True)
    anatomies = [WHOLE_REPORT, *sorted({anatomy for study in studies for anatomy in findings[study]})]
    with pq.ParquetWriter(path, _RELEVANCE_SCHEMA) as writer:
        for anatomy in tqdm(anatomies, desc=f"relevance {split}", unit="anatomy", disable=not progress):
            members = [study for study in studies if not anatomy or anatomy in findings[study]]
            if len(members) > 1:
                limit = TRAIN_CANDIDATES if split == "train" else len(members)
                writer.write_table(_relevance_table(anatomy, members, engine, limit))


_RELEVANCE_SCHEMA = pa.schema(
    {
        "query_id": pa.string(),
        "anatomy": pa.string(),
        "candidate_ids": pa.list_(pa.string()),
        "relevance": pa.list_(pa.float32()),
    }
)


def _relevance_table(anatomy: str, members: list[str], engine: RelevanceEngine, limit: int) -> pa.Table:
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
        schema=_RELEVANCE_SCHEMA,
    )
