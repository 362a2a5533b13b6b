"""A built dataset: the object that reads its folder."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from dataset_scripts.building.contents import content_digest, own_files
from dataset_scripts.building.layout import (
    ANATOMIES,
    ENTITIES,
    FINDINGS,
    LABELS,
    STUDIES,
    studies_shards,
    table_path,
)
from dataset_scripts.building.rows import mapped_rows, reading
from dataset_scripts.plumbing.manifest import MANIFEST
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import EntityExtractor
from dataset_scripts.relevance.formulas import check_relevance
from dataset_scripts.relevance.store.store import EntityStore
from dataset_scripts.sources.base import SPLITS, Geometry

if TYPE_CHECKING:
    from dataset_scripts.building.build_info import BuildInfo


class BuiltDataset:
    """A built dataset, read from a local folder.

    Args:
        folder: a folder that `radir build` wrote.
        hub_id: of the dataset on the Hub (user/name) that the folder is a copy of, if it is one.

    Attributes:
        name: by which results refer to the dataset: the last part of its Hub id, else the folder's own.

    What is read is of one build: where the folder is replaced between two reads, the second one raises.

    Raises:
        ValueError: the folder is not a built dataset, or lacks a file that its manifest lists. All that read
            raise it as well: where a file is missing or damaged, and where the folder was replaced.
    """

    def __init__(self, folder: Path, hub_id: str | None = None) -> None:
        if not (folder / ENTITIES).is_dir() or not (folder / STUDIES).is_dir():
            raise ValueError(
                f"{folder} is not a built dataset: it has no {STUDIES}/ and {ENTITIES}/; "
                "make one with `radir build`"
            )
        self.folder, self.hub_id = folder, hub_id
        self.name = hub_id.split("/")[-1] if hub_id else folder.resolve().name
        self._identity = self._seen()
        self._engines: dict[str, RelevanceEngine] = {}
        self._files = frozenset(own_files(folder))
        if not self.splits:
            raise ValueError(f"{folder} is not a built dataset: {STUDIES}/ has no table of any split")

    @classmethod
    def open(cls, folder_or_hub_id: str | Path) -> "BuiltDataset":
        """Open a local folder or, if there is none of that name, a dataset repository on the Hub."""
        folder = Path(folder_or_hub_id)
        if folder.is_dir():
            return cls(folder)
        if folder.is_absolute() or str(folder_or_hub_id).count("/") != 1:
            raise ValueError(f"{folder} is neither a folder nor a Hub id (user/name) of a built dataset")
        try:
            snapshot = snapshot_download(str(folder_or_hub_id), repo_type="dataset")
            return cls(Path(snapshot), str(folder_or_hub_id))
        except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
            raise ValueError(
                f"{folder_or_hub_id} is neither a folder here nor a dataset that the Hub gave: {error}"
            ) from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tables, the entities and the images inside, see `content_digest`."""
        with self._reading():
            return content_digest(self.folder)

    @cached_property
    def facts(self) -> "BuildInfo":
        """What it was built from, and who may have it.

        Raises:
            ValueError: this version did not build it.
        """
        from dataset_scripts.building.build_info import (
            BuildInfo,  # which needs this module for the file's name
        )

        return BuildInfo.read(self.folder)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold studies, in the order train, validation, test."""
        return tuple(split for split in SPLITS if self._shards(split))

    def studies(self, split: str) -> datasets.Dataset:
        """The images of a split with their reports, one row an image; `image` decodes that of a row.

        The rows lie in a memory map of this process, and in no cache that others may read.

        Returns:
            The rows; `image` is as it is stored: {"bytes", "path"}, or the path of a volume.

        Raises:
            ValueError: the dataset has no such split, or a file of it is damaged.
        """
        shards = self._shards(split)
        if not shards:
            raise ValueError(f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}")
        with self._reading():
            return mapped_rows(shards)

    def _shards(self, split: str) -> list[Path]:
        """The tables of a split's `studies`, without files that are not the dataset's."""
        return [path for path in studies_shards(self.folder, split) if self._is_own(path)]

    def _is_own(self, path: Path) -> bool:
        return path.relative_to(self.folder).as_posix() in self._files

    @cached_property
    def holds_volumes(self) -> bool:
        """Whether its images are volumes, which the `studies` name by their paths."""
        shard = self._shards(self.splits[0])[0]
        with self._reading(shard):
            return dataclasses.fields(Geometry)[0].name in pq.read_schema(shard).names

    def image(self, row: dict[str, Any]) -> Any:
        """The image of one row of the `studies` as the image processors take it: a PIL image, or a Volume.

        Raises:
            ValueError: it is missing or damaged; the sentence names the image and the dataset.
        """
        try:
            if not self.holds_volumes:
                return _picture(row["image"], self.folder)
            from modeling_radir.volumes import read_volume  # imports torch, which building needs nowhere

            with self._reading():
                return read_volume(self.path(row["image"]), **dataclasses.asdict(self.geometry(row)))
        except ValueError as error:
            raise ValueError(f"image {row.get('image_id')} of {self.name} cannot be read: {error}") from error

    def path(self, image: str) -> Path:
        """Where a volume of the `studies` lies: inside the dataset, or in the tree it was built from."""
        return self.folder / image  # an absolute path stays what it is

    def geometry(self, row: dict[str, Any]) -> Geometry:
        """How to read the volume of one row of the `studies`."""
        return Geometry(*(row[item.name] for item in dataclasses.fields(Geometry)))

    def findings(self, split: str) -> dict[str, dict[str, str]]:
        """study_id -> anatomy -> the sentences about that anatomy; empty where no text names one."""
        path = table_path(self.folder, FINDINGS, split)
        nested: dict[str, dict[str, str]] = {}
        if not self._is_own(path) and not self._lacks_a_table(FINDINGS):
            return nested
        columns = self._table(path, ("study_id", "anatomy", "text")).to_pydict()
        for study, anatomy, text in zip(*columns.values(), strict=True):
            nested.setdefault(study, {})[anatomy] = text
        return nested

    def _lacks_a_table(self, config: str) -> bool:
        """Whether a config without a file should have one: an old dataset, without a manifest, cannot say."""
        return MANIFEST not in self._files and (self.folder / config).is_dir()

    def anatomies(self) -> list[dict[str, Any]]:
        """The ontology the dataset was mined with: name, parent (list), region, synonyms (list)."""
        path = table_path(self.folder, ANATOMIES)
        return self._table(path, ("name", "parent", "region", "synonyms")).to_pylist()

    def labels(self) -> pd.DataFrame | None:
        """Gold labels: study_id, label, value (1 yes, 0 no, -1 uncertain), anatomy; None without any."""
        path = table_path(self.folder, LABELS)
        if not self._is_own(path):
            return None
        return self._table(path, ("study_id", "label", "value", "anatomy")).to_pandas()

    def _table(self, path: Path, columns: tuple[str, ...]) -> pa.Table:
        with self._reading(path):
            table = pq.read_table(path)
        if missing := [name for name in columns if name not in table.column_names]:
            raise ValueError(f"{path} has no column {', '.join(missing)}: build the dataset again")
        return table.select(list(columns))

    @cached_property
    def engine(self) -> RelevanceEngine:
        """The paper's relevance between any two texts of the dataset, computed from `entities/`."""
        entities = self.folder / ENTITIES
        store = self.entities()
        with self._reading(entities):
            try:
                store.check_content()
            except ValueError as error:
                raise ValueError(f"{entities} is damaged: {error}; build the dataset again") from error
            return RelevanceEngine(store)

    def entities(self, scorer: EntityExtractor | None = None) -> EntityStore:
        """The entities of all texts; if a scorer is given, it must be the one that found them.

        Raises:
            ValueError: another scorer found them.
        """
        with self._reading(self.folder / ENTITIES):
            return EntityStore.load(self.folder / ENTITIES, scorer)

    def engine_for(self, relevance: str) -> RelevanceEngine:
        """The relevance of a name between any two texts of the dataset; all share one store and table.

        Args:
            relevance: "paper" or "content".

        Raises:
            ValueError: there is no such relevance, or the dataset is of a version that did not count in how
                many training reports each entity is, which `content` needs.
        """
        if relevance not in self._engines:
            check_relevance(relevance)
            own = relevance == self.engine.relevance
            self._engines[relevance] = self.engine if own else self.engine.also(relevance)
        return self._engines[relevance]

    def _seen(self) -> tuple[Any, ...]:
        """What tells this build's folder from one that takes its name."""
        found: list[Any] = []
        for path in (self.folder, self.folder / MANIFEST):
            try:
                stat = path.stat()
            except OSError:
                found.append(None)
                continue
            is_file = path.name == MANIFEST
            found.append((stat.st_dev, stat.st_ino, *((stat.st_size, stat.st_mtime_ns) if is_file else ())))
        return tuple(found)

    @contextmanager
    def _reading(self, path: Path | None = None) -> Iterator[None]:
        """Name the file in what goes wrong; refuse what was read where the folder is another by now."""
        try:
            with reading(path or self.folder):
                yield
        finally:
            if self._seen() != self._identity:
                raise ValueError(
                    f"{self.folder} was replaced or removed while it was being read: run the command again, "
                    "so that all is read of one build"
                )


def _picture(stored: dict[str, Any] | None, folder: Path) -> Any:
    """A picture as the `studies` store it, {"bytes", "path"}, as a PIL image."""
    from modeling_radir.pictures import read_picture

    stored = stored or {}
    if stored.get("bytes"):
        return read_picture(stored["bytes"], "the picture in the table")
    if not stored.get("path"):
        raise ValueError("the row has no picture: build the dataset again")
    return read_picture(folder / stored["path"])  # an absolute path stays what it is
