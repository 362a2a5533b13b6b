"""A source as a builder of `datasets`: mined into the cache once, read by every config.

The work is that of `radir build` (blocks, tables, relevance), in the cache; what a config gives is what the
built folder's config gives.
"""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.fingerprint import Hasher
from filelock import FileLock

from dataset_scripts.building.build import build_dataset, mine_dataset
from dataset_scripts.building.layout import (
    ANATOMIES,
    FINDINGS,
    LABELS,
    RELEVANCE,
    STUDIES,
    studies_shards,
    table_path,
)
from dataset_scripts.building.study_blocks import study_features
from dataset_scripts.building.working_folder import open_working_folder
from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.plumbing.atomic import remove, remove_leftovers
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import SPLITS, Sharing, Source

_BATCH = 1024  # rows handed on at once
# Worker processes would run the user's script again, up to this very load_dataset, and wait for the lock that
# it holds. `radir build` uses all cores.
_PROCESSES = 1


class SourceBuilder(datasets.ArrowBasedBuilder):
    """Base of the registered builders; `class Name(SourceBuilder, source=Kind)` makes one.

    Every option of the source is a keyword of `load_dataset`; `data_dir` is its `source`.
    """

    SOURCE: ClassVar[type[Source]]
    DEFAULT_CONFIG_NAME = STUDIES

    def __init_subclass__(cls, source: type[Source], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        options = [
            (item.name, Any, dataclasses.field(default=None))
            for item in dataclasses.fields(source)  # type: ignore[arg-type]
            if item.name != "source"
        ]
        cls.SOURCE = source
        cls.BUILDER_CONFIG_CLASS = dataclasses.make_dataclass(
            "Config", options, bases=(datasets.BuilderConfig,), namespace={"__module__": cls.__module__}
        )
        version = datasets.Version("1.0.0")
        cls.BUILDER_CONFIGS = [
            cls.BUILDER_CONFIG_CLASS(name=name, version=version)
            for name in (STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS)
        ]

    def __init__(self, *args: Any, data_dir: str | None = None, hash: str | None = None, **kwargs: Any):
        """As DatasetBuilder; the hash that keys the cache is ours: of the source and its tables.

        Raises:
            ValueError: the source refuses its options, or `data_dir` is missing.
        """
        self._source = self._make_source(data_dir, kwargs)
        tables = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in self._source.tables()]
        hash = Hasher.hash([repr(self._source), tables, repr(list(default_ontology()))])
        super().__init__(*args, data_dir=data_dir, hash=hash, **kwargs)

    def _make_source(self, data_dir: str | None, kwargs: dict[str, Any]) -> Source:
        fields = {item.name: item for item in dataclasses.fields(self.SOURCE)}  # type: ignore[arg-type]
        options = {name: value for name, value in kwargs.items() if name in fields and value is not None}
        for name, value in options.items():
            if "Path" in str(fields[name].type):
                options[name] = Path(value).expanduser().absolute()
        if "source" in fields:
            if data_dir is None:
                raise ValueError(f"{self.SOURCE.name} is read from a local copy: give its root as data_dir")
            options["source"] = Path(data_dir).expanduser().absolute()
        return self.SOURCE(**options)

    def _info(self) -> datasets.DatasetInfo:
        is_studies = self.config.name == STUDIES
        features = study_features(self._source.volumes) if is_studies else None
        return datasets.DatasetInfo(features=features, license=self._source.licence)

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """As DatasetBuilder; what is written of a source that is not open is for this user alone."""
        with self._private():
            super().download_and_prepare(*args, **kwargs)

    def as_streaming_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """As DatasetBuilder; what is written of a source that is not open is for this user alone."""
        with self._private():
            return super().as_streaming_dataset(*args, **kwargs)

    @contextmanager
    def _private(self) -> Iterator[None]:
        """Let nobody else read what is written meanwhile, nor what earlier versions have written here.

        The umask is that of the whole process: other threads' files are private meanwhile, too.
        """
        if self._source.sharing == Sharing.OPEN:
            yield
            return
        Path(self._cache_dir_root).mkdir(parents=True, exist_ok=True)  # which others may share
        before = os.umask(0o077)
        try:
            for folder in (self._folder, Path(self._cache_dir)):
                if folder.is_dir():
                    folder.chmod(0o700)
            yield
        finally:
            os.umask(before)

    @property
    def _folder(self) -> Path:
        """Where the source is mined, for all configs."""
        return Path(self._cache_dir_root) / "radir" / f"{self.SOURCE.name}-{self.hash}"

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):  # another load waits, and finds the work done
            if dl_manager.download_config.force_download:
                for name in ("built", "mined"):
                    remove(self._folder / name)
                self.info.splits = None  # the sizes of the cached splits would be taken for the right ones
            folder = self._built() if self.config.name == RELEVANCE else self._mined()
        files = {split: self._files(folder, split) for split in SPLITS}
        if not any(files.values()):
            raise ValueError(f"{self.SOURCE.name} has no {self.config.name} here: the source brings none")
        return [
            datasets.SplitGenerator(split, gen_kwargs={"paths": paths})
            for split, paths in files.items()
            if paths
        ]

    def _built(self) -> Path:
        """The dataset with its relevance."""
        out = self._folder / "built"
        working = out.with_name(f".{out.name}.building")
        if not out.is_dir() or working.exists():
            build_dataset(self._source, out, LexicalExtractor(), processes=_PROCESSES)
        return out

    def _mined(self) -> Path:
        """The dataset without its relevance."""
        plan: dict[str, Any] = {
            "source": repr(self._source),
            "name": self.SOURCE.name,
            "version": version("radir"),
        }
        plan |= {"scorer": None, "ontology": None}  # the hash in the folder's name says which
        remove_leftovers(self._folder)
        working = open_working_folder(self._folder / "mined", plan)
        mined = mine_dataset(self._source, working, default_ontology(), processes=_PROCESSES)
        working.keep_only(mined.names)
        return working.dataset

    def _files(self, folder: Path, split: str) -> list[Path]:
        if self.config.name == STUDIES:
            return studies_shards(folder, split)
        path = table_path(folder, self.config.name, split)
        return [path] if path.is_file() else []

    def _generate_tables(self, paths: list[Path]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for shard, path in enumerate(paths):
            for number, batch in enumerate(pq.ParquetFile(path).iter_batches(_BATCH)):
                yield (shard, number), pa.Table.from_batches([batch])
