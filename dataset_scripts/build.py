"""From a source to a built dataset: blocks, tables, entities, relevance, card.

Each step leaves files in the working folder `.NAME.building`, beside the dataset's own; the same command goes
on where an interrupted one stopped. The dataset appears under its name when all is there.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.blocks import BLOCKS, BlockStore, Study
from dataset_scripts.card import write_card
from dataset_scripts.entities import LexicalScorer
from dataset_scripts.facts import BuildFacts
from dataset_scripts.folder import (
    ANATOMIES,
    ENTITIES,
    FINDINGS,
    LABELS,
    RELEVANCE,
    SKIPPED,
    table_path,
)
from dataset_scripts.ontology import Ontology, default_ontology
from dataset_scripts.plumbing.atomic import atomic_path, replace
from dataset_scripts.plumbing.parquet_writer import TableWriter
from dataset_scripts.records import SPLITS, Source, skip_counts
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.relevance_tables import RELEVANCE_PARTS, WHOLE_REPORT, write_relevance
from dataset_scripts.store import EntityStore, Scorer

_PLAN = "plan.json"  # what the working folder is being built from

_FINDINGS_SCHEMA = pa.schema({"study_id": pa.string(), "anatomy": pa.string(), "text": pa.string()})
_LABELS_SCHEMA = pa.schema(
    {"study_id": pa.string(), "label": pa.string(), "value": pa.int8(), "anatomy": pa.string()}
)


@dataclass(frozen=True)
class Mined:
    """A source read and mined: its tables but `relevance` lie in the folder.

    Attributes:
        blocks: the texts.
        counts: images, studies, subjects -> split -> number.
        members: split -> anatomy -> studies with findings there, the whole report first.
        changed: whether the folder held something else before.
    """

    blocks: BlockStore
    counts: dict[str, dict[str, int]]
    members: dict[str, dict[str, list[str]]]
    changed: bool


def mine_dataset(
    source: Source, folder: Path, ontology: Ontology, processes: int | None = None, progress: bool = True
) -> Mined:
    """Read and mine a source into a folder: `studies`, `findings`, `labels`, `anatomies`; resumes.

    Args:
        source, ontology, processes, progress: as of `build_dataset`.
        folder: holds nothing, or what an interrupted call for the same source left.

    Raises:
        ValueError: as `build_dataset`.
    """
    blocks = BlockStore(folder, source, ontology)
    changed = blocks.write(processes, progress)
    counts = _check(blocks, source.name)
    members = _write_texts(folder, blocks)
    _write_labels(folder, blocks, source.label_anatomies)
    _write_anatomies(folder, ontology)
    return Mined(blocks, counts, members, changed)


def build_dataset(
    source: Source,
    out: Path,
    scorer: Scorer,
    ontology: Ontology | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> BuildFacts:
    """Build a dataset folder from a source; the folder appears whole or not at all.

    Args:
        source: the data.
        out: the folder to write; an earlier build there is replaced.
        scorer: extracts and embeds the entities behind every relevance.
        ontology: the anatomies to mine; the package's own by default.
        processes: worker processes; as many as there are cores by default. The bytes do not depend on it.
        progress: show progress bars.

    Returns:
        What was built and what was left out; the same facts stand in the folder's build.json.

    Raises:
        ValueError: if `out` is something else than an earlier build, no record is left, two images share an
            id, or a patient or a study is in two splits.
    """
    if out.exists() and not (out.is_dir() and ((out / ENTITIES).is_dir() or not any(out.iterdir()))):
        raise ValueError(f"{out} exists and is not a built dataset; give another --out or remove it")
    ontology = ontology or default_ontology()
    built_from = _built_from(source, scorer, ontology)
    folder = _working_folder(out, source, built_from)
    mined = mine_dataset(source, folder, ontology, processes, progress)
    if mined.changed:
        for later in (ENTITIES, RELEVANCE, RELEVANCE_PARTS):
            shutil.rmtree(folder / later, ignore_errors=True)
    engine = RelevanceEngine(_entities(folder, mined.blocks, scorer, processes))
    write_relevance(folder, engine, mined.members, progress)
    facts = BuildFacts(
        **built_from,
        licence=source.licence,
        homepage=source.homepage,
        sharing=source.sharing,
        label_origin=source.label_origin,
        images=mined.counts["images"],
        studies=mined.counts["studies"],
        subjects=mined.counts["subjects"],
        findings=_per_anatomy(mined.members),
        unique_entities=len(engine.store.entity_texts),
        skipped=_write_skipped(folder, mined.blocks),
    )
    facts.write(folder)
    write_card(folder, facts, ontology)
    shutil.rmtree(folder / BLOCKS)
    (folder / _PLAN).unlink()
    replace(folder, out)
    return facts


def _built_from(source: Source, scorer: Scorer, ontology: Ontology) -> dict[str, Any]:
    """What decides a build's content and is published with it: no path of this machine."""
    values = {item.name: getattr(source, item.name) for item in dataclasses.fields(source)}  # type: ignore[arg-type]
    return {
        "name": source.name,
        "version": version("radir"),
        "options": {name: "PATH" if isinstance(value, Path) else value for name, value in values.items()},
        "scorer": {"name": scorer.name, "parameters": scorer.parameters},
        "ontology": hashlib.sha256(repr(list(ontology)).encode()).hexdigest(),
    }


def _working_folder(out: Path, source: Source, built_from: dict[str, Any]) -> Path:
    """The folder of an interrupted build of the same things, or a new one."""
    folder = out.absolute().with_name(f".{out.name}.building")
    text = json.dumps({"source": repr(source), **built_from}, indent=1, sort_keys=True, default=str)
    if not (folder / _PLAN).is_file() or (folder / _PLAN).read_text(encoding="utf-8") != text:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        with atomic_path(folder / _PLAN) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder


def _check(blocks: BlockStore, name: str) -> dict[str, dict[str, int]]:
    """Count images, studies and subjects of each split; a patient in two splits ends the build."""
    split_of: dict[str, dict[str, str]] = {"study": {}, "patient": {}}
    images: set[str] = set()
    counts = {what: dict.fromkeys(SPLITS, 0) for what in ("images", "studies", "subjects")}
    for study in blocks.studies():
        for image in study.images:
            if image in images:
                raise ValueError(f"image_id {image!r} occurs twice; each image needs its own")
            images.add(image)
        counts["images"][study.split] += len(study.images)
        for what, key, counted in (
            ("study", study.study_id, "studies"),
            ("patient", study.subject_id, "subjects"),
        ):
            counts[counted][study.split] += key not in split_of[what]
            split = split_of[what].setdefault(key, study.split)
            if split != study.split:
                raise ValueError(
                    f"{name}: {what} {key} is in the splits {split} and {study.split}; what is trained on "
                    "would be tested on: correct the split of the source"
                )
    if not images:
        reasons = skip_counts(blocks.skipped())
        raise ValueError(f"{name}: no usable record; all were skipped because: {reasons}")
    return {what: {split: n for split, n in of.items() if n} for what, of in counts.items()}


def _write_texts(folder: Path, blocks: BlockStore) -> dict[str, dict[str, list[str]]]:
    """Write `findings`; return split -> anatomy -> studies, the whole report first."""
    members: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    tables = {split: TableWriter(table_path(folder, FINDINGS, split), _FINDINGS_SCHEMA) for split in SPLITS}
    for study in blocks.studies():
        of_split = members[study.split]
        of_split.setdefault(WHOLE_REPORT, []).append(study.study_id)
        for anatomy, text in study.regional.items():
            of_split.setdefault(anatomy, []).append(study.study_id)
            tables[study.split].add({"study_id": study.study_id, "anatomy": anatomy, "text": text})
    for table in tables.values():
        table.close()
    return {split: dict(sorted(of.items())) for split, of in members.items() if of}


def _per_anatomy(members: dict[str, dict[str, list[str]]]) -> dict[str, int]:
    """Number of studies with findings for each anatomy, over all splits."""
    mined = sorted({anatomy for of in members.values() for anatomy in of} - {WHOLE_REPORT})
    return {name: sum(len(of.get(name, ())) for of in members.values()) for name in mined}


def _write_labels(folder: Path, blocks: BlockStore, anatomies: dict[str, str]) -> None:
    table = TableWriter(table_path(folder, LABELS), _LABELS_SCHEMA)
    for study in blocks.studies():
        for label, value in study.labels.items():
            row = {"study_id": study.study_id, "label": label, "value": value}
            table.add(row | {"anatomy": anatomies.get(label)})
    table.close()


def _write_anatomies(folder: Path, ontology: Ontology) -> None:
    rows = [
        {
            "name": anatomy.name,
            "parent": list(anatomy.parents),
            "region": anatomy.region,
            "synonyms": list(anatomy.synonyms),
        }
        for anatomy in ontology
    ]
    path = table_path(folder, ANATOMIES)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_skipped(folder: Path, blocks: BlockStore) -> dict[str, int]:
    """List what was left out; return the number for each reason."""
    skipped = list(blocks.skipped())
    rows = [dataclasses.astuple(item) for item in skipped]
    pd.DataFrame(rows, columns=["record_id", "reason"]).to_csv(folder / SKIPPED, index=False)
    return skip_counts(skipped)


def _entities(folder: Path, blocks: BlockStore, scorer: Scorer, processes: int | None) -> EntityStore:
    if not (folder / ENTITIES).is_dir():
        # a scorer with models uses the cores, or the GPU, by itself
        workers = processes if isinstance(scorer, LexicalScorer) else 1
        EntityStore.build(_texts(blocks.studies()), scorer, folder / ENTITIES, workers)
    return EntityStore.load(folder / ENTITIES, scorer)


def _texts(studies: Iterator[Study]) -> Iterator[tuple[str, str, str]]:
    for study in studies:
        yield study.study_id, WHOLE_REPORT, study.findings
        for anatomy, text in study.regional.items():
            yield study.study_id, anatomy, text
