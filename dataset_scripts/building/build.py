"""From a source to a built dataset: blocks, tables, entities, relevance, card.

Each step leaves files in the working folder `.NAME.building` (see `working_folder`), and the same command
resumes an interrupted one. The dataset appears under its name when all is there.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.card import write_card
from dataset_scripts.building.layout import (
    ANATOMIES,
    CARD,
    ENTITIES,
    FACTS,
    FINDINGS,
    LABELS,
    SKIPPED,
    table_path,
)
from dataset_scripts.building.relevance_tables import WHOLE_REPORT, write_relevance
from dataset_scripts.building.study_blocks import BlockStore, Study, source_state
from dataset_scripts.building.working_folder import (
    WorkingFolder,
    check_output,
    open_working_folder,
    reopen,
    switch,
    switched_from,
)
from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.plumbing.atomic import atomic_path, remove
from dataset_scripts.plumbing.manifest import files_below
from dataset_scripts.plumbing.outputs import claim
from dataset_scripts.plumbing.parquet_writer import writing_table
from dataset_scripts.plumbing.steps import digest_of
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import EntityExtractor
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.store.store import FORMAT_VERSION, EntityStore
from dataset_scripts.sources.base import SPLITS, Source, skip_counts

_WRITERS = ("pyarrow", "datasets", "numpy", "nibabel")  # another version may write other bytes

_FINDINGS_SCHEMA = pa.schema({"study_id": pa.string(), "anatomy": pa.string(), "text": pa.string()})
_LABELS_SCHEMA = pa.schema(
    {"study_id": pa.string(), "label": pa.string(), "value": pa.int8(), "anatomy": pa.string()}
)


@dataclass(frozen=True)
class Mined:
    """A source read and mined: its tables but `relevance` lie in the dataset to be.

    Attributes:
        blocks: the texts.
        counts: images, studies, subjects -> split -> number.
        members: split -> anatomy -> studies with findings there, the whole report first.
        names: the files, named from the dataset.
    """

    blocks: BlockStore
    counts: dict[str, dict[str, int]]
    members: dict[str, dict[str, list[str]]]
    names: list[str]


def mine_dataset(
    source: Source,
    working: WorkingFolder,
    ontology: Ontology,
    processes: int | None = None,
    progress: bool = True,
) -> Mined:
    """Read and mine a source: `studies`, `findings`, `labels`, `anatomies` of the dataset to be; resumes.

    Args:
        source, ontology, processes, progress: as of `build_dataset`.
        working: holds nothing, or what an interrupted call for the same source left.

    Raises:
        ValueError: as `build_dataset`.
    """
    blocks = BlockStore(working, source, ontology)
    blocks.write(processes, progress)
    counts = _check(blocks, source.name)
    members = _write_texts(working.dataset, blocks)
    _write_labels(working.dataset, blocks, source.label_anatomies)
    _write_anatomies(working.dataset, ontology)
    tables = [table_path(working.dataset, FINDINGS, split) for split in SPLITS]
    tables += [table_path(working.dataset, config) for config in (LABELS, ANATOMIES)]
    names = [path.relative_to(working.dataset).as_posix() for path in tables if path.is_file()]
    return Mined(blocks, counts, members, [*blocks.names, *names])


def build_dataset(
    source: Source,
    out: Path,
    scorer: EntityExtractor,
    ontology: Ontology | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> BuildInfo:
    """Build a dataset folder from a source; the folder is written atomically.

    Args:
        source: the data.
        out: the folder to write; an earlier build there is replaced. A link stands for its target.
        scorer: extracts and embeds the entities behind every relevance.
        ontology: the anatomies to mine; the package's own by default.
        processes: worker processes; as many as there are cores by default. The bytes do not depend on it.
        progress: show progress bars.

    Returns:
        What was built and what was left out; the same facts stand in the folder's build.json.

    Raises:
        ValueError: if `out` is something else than an earlier build, cannot be written or is being written
            by another process, no record is left, two images share an id, or a patient or a study is in two
            splits.
    """
    ontology = ontology or default_ontology()
    built_from = _built_from(source, scorer, ontology)
    with claim(out) as out:
        check_output(out)
        working = _working_folder(out, source, built_from)
        if (state := switched_from(working, out)) is not None:  # killed when only the clean-up was left
            is_current = state == source_state(source)
            remove(working.folder)
            if is_current:
                return BuildInfo.read(out)
            working = _working_folder(out, source, built_from)
        reopen(working)
        mined = mine_dataset(source, working, ontology, processes, progress)
        facts, names = _complete(source, working, mined, scorer, built_from, processes, progress)
        write_card(working.dataset, facts, ontology)
        switch(working, out, [*names, CARD], mined.blocks.made_from)
    return facts


def _complete(
    source: Source,
    working: WorkingFolder,
    mined: Mined,
    scorer: EntityExtractor,
    built_from: dict[str, Any],
    processes: int | None,
    progress: bool,
) -> tuple[BuildInfo, list[str]]:
    """Write all that follows from the mined texts but the card; returns the facts and the files' names."""
    store, entities = _entities(working, mined, scorer, processes)
    engine = RelevanceEngine(store)
    relevance = write_relevance(working, engine, mined.members, mined.blocks.texts_digest, progress)
    facts = BuildInfo(
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
        skipped=_write_skipped(working.dataset, mined.blocks),
    )
    facts.write(working.dataset)
    names = [*mined.names, *entities, *relevance, SKIPPED, FACTS]
    working.keep_only(names)
    return facts, names


def _built_from(source: Source, scorer: EntityExtractor, ontology: Ontology) -> dict[str, Any]:
    """What decides a build's content and is published with it: no path of this machine."""
    values = {item.name: getattr(source, item.name) for item in dataclasses.fields(source)}  # type: ignore[arg-type]
    return {
        "name": source.name,
        "version": version("radir"),
        "options": {name: "PATH" if isinstance(value, Path) else value for name, value in values.items()},
        "scorer": {"name": scorer.name, "parameters": scorer.parameters},
        "ontology": hashlib.sha256(repr(list(ontology)).encode()).hexdigest(),
    }


def _working_folder(out: Path, source: Source, built_from: dict[str, Any]) -> WorkingFolder:
    """The folder of an interrupted build of the same things, or a new one."""
    writers = {name: version(name) for name in _WRITERS if find_spec(name)}
    plan = {"source": repr(source), "writers": writers, **built_from}
    return open_working_folder(out.with_name(f".{out.name}.building"), plan)


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
    with ExitStack() as stack:
        tables = {
            split: stack.enter_context(writing_table(table_path(folder, FINDINGS, split), _FINDINGS_SCHEMA))
            for split in SPLITS
        }
        for study in blocks.studies():
            of_split = members[study.split]
            of_split.setdefault(WHOLE_REPORT, []).append(study.study_id)
            for anatomy, text in study.regional.items():
                of_split.setdefault(anatomy, []).append(study.study_id)
                tables[study.split].add({"study_id": study.study_id, "anatomy": anatomy, "text": text})
    return {split: dict(sorted(of.items())) for split, of in members.items() if of}


def _per_anatomy(members: dict[str, dict[str, list[str]]]) -> dict[str, int]:
    """Number of studies with findings for each anatomy, over all splits."""
    mined = sorted({anatomy for of in members.values() for anatomy in of} - {WHOLE_REPORT})
    return {name: sum(len(of.get(name, ())) for of in members.values()) for name in mined}


def _write_labels(folder: Path, blocks: BlockStore, anatomies: dict[str, str]) -> None:
    with writing_table(table_path(folder, LABELS), _LABELS_SCHEMA) as table:
        for study in blocks.studies():
            for label, value in study.labels.items():
                row = {"study_id": study.study_id, "label": label, "value": value}
                table.add(row | {"anatomy": anatomies.get(label)})


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
    with atomic_path(table_path(folder, ANATOMIES)) as path:
        pq.write_table(pa.Table.from_pylist(rows), path)


def _write_skipped(folder: Path, blocks: BlockStore) -> dict[str, int]:
    """List what was left out; return the number for each reason."""
    skipped = list(blocks.skipped())
    rows = [dataclasses.astuple(item) for item in skipped]
    with atomic_path(folder / SKIPPED) as path:
        pd.DataFrame(rows, columns=["record_id", "reason"]).to_csv(path, index=False)
    return skip_counts(skipped)


def _entities(
    working: WorkingFolder, mined: Mined, scorer: EntityExtractor, processes: int | None
) -> tuple[EntityStore, list[str]]:
    """The entities of all texts, and the names of their files in the dataset."""
    folder, blocks = working.dataset / ENTITIES, mined.blocks
    made_from = digest_of(blocks.texts_digest, FORMAT_VERSION)
    files = working.steps.finished(ENTITIES, made_from)
    if files is None:
        # a scorer with models uses the cores, or the GPU, by itself
        workers = processes if isinstance(scorer, LexicalExtractor) else 1
        training = mined.members.get(SPLITS[0], {}).get(WHOLE_REPORT, [])
        EntityStore.build(_texts(blocks.studies()), scorer, folder, workers, training=training)
        written = [folder / name for name in files_below(folder)]
        files = working.steps.finish(ENTITIES, made_from, written)
    return EntityStore.load(folder, scorer), working.in_dataset(files)


def _texts(studies: Iterator[Study]) -> Iterator[tuple[str, str, str]]:
    for study in studies:
        yield study.study_id, WHOLE_REPORT, study.findings
        for anatomy, text in study.regional.items():
            yield study.study_id, anatomy, text
