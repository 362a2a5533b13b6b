"""A built dataset as a folder: its layout, and the object that reads it.

README.md                      YAML `configs`, so that plain `load_dataset(folder, config)` works
build.json                     what was built from what, with which counts
studies/{split}-{n}.parquet    one row an image; shards in source order
findings/{split}.parquet       study_id, anatomy, text
anatomies/train.parquet        the ontology's anatomies
relevance/{split}.parquet      query_id, anatomy, candidate_ids, relevance
labels/train.parquet           gold labels, where the source brings them
volumes/                       the images of a dataset of volumes, where it brings them
entities/                      the entity store, from which every relevance follows
skipped.csv                    what the build left out, with its reason
"""

import dataclasses
import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import pandas as pd
import pyarrow.parquet as pq
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from dataset_scripts.records import SPLITS, Geometry
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.store import EntityStore

if TYPE_CHECKING:
    from dataset_scripts.facts import BuildFacts

STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS = "studies", "findings", "anatomies", "relevance", "labels"
ENTITIES, VOLUMES, SKIPPED, CARD, FACTS = "entities", "volumes", "skipped.csv", "README.md", "build.json"
UNSPLIT = "train"  # the split name of configs that have no splits, as the Hub has it


def table_path(folder: Path, config: str, split: str = UNSPLIT) -> Path:
    """Where a config's rows of one split lie in a built dataset; `studies` are sharded instead."""
    return folder / config / f"{split}.parquet"


def studies_shard(folder: Path, split: str, number: int) -> Path:
    """Where shard `number` of a split's `studies` lies; numbers without rows of the split are left out."""
    return folder / STUDIES / f"{split}-{number:05d}.parquet"


def studies_shards(folder: Path, split: str) -> list[Path]:
    """All shards of a split's `studies`, in source order."""
    return sorted((folder / STUDIES).glob(f"{split}-*.parquet"))


class BuiltDataset:
    """A built dataset, read from a local folder.

    Args:
        folder: a folder that `radir build` wrote.
        hub_id: of the dataset on the Hub (user/name) that the folder is a copy of, if it is one.

    Attributes:
        name: by which results refer to the dataset: the last part of its Hub id, else the folder's own.

    Raises:
        ValueError: if the folder is not a built dataset.
    """

    def __init__(self, folder: Path, hub_id: str | None = None) -> None:
        if not (folder / ENTITIES).is_dir() or not (folder / STUDIES).is_dir():
            raise ValueError(
                f"{folder} is not a built dataset: it has no {STUDIES}/ and {ENTITIES}/; "
                "make one with `radir build`"
            )
        self.folder, self.hub_id = folder, hub_id
        self.name = hub_id.split("/")[-1] if hub_id else folder.resolve().name

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

    @property
    def digest(self) -> str:
        """SHA-256 of the card, which holds the digests of all tables: equal for equal content."""
        return hashlib.sha256((self.folder / CARD).read_bytes()).hexdigest()

    @cached_property
    def facts(self) -> "BuildFacts":
        """What it was built from, and who may have it.

        Raises:
            ValueError: this version did not build it.
        """
        from dataset_scripts.facts import BuildFacts  # which needs this module for the file's name

        return BuildFacts.read(self.folder)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold studies, in the order train, validation, test."""
        return tuple(split for split in SPLITS if studies_shards(self.folder, split))

    def studies(self, split: str) -> datasets.Dataset:
        """The images of a split with their reports, one row an image.

        Raises:
            ValueError: if the dataset has no such split.
        """
        if split not in self.splits:
            raise ValueError(f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}")
        return datasets.load_dataset(str(self.folder), STUDIES, split=split)

    @cached_property
    def holds_volumes(self) -> bool:
        """Whether its images are volumes, which the `studies` name by their paths."""
        shard = studies_shards(self.folder, self.splits[0])[0]
        return dataclasses.fields(Geometry)[0].name in pq.read_schema(shard).names

    def image(self, row: dict[str, Any]) -> Any:
        """The image of one row of the `studies` as the image processors take it: a PIL image, or a Volume.

        Raises:
            ValueError: the volume is missing or damaged.
        """
        if not self.holds_volumes:
            return row["image"]
        from modeling_radir.volumes import read_volume  # imports torch, which building needs nowhere

        return read_volume(self.path(row["image"]), **dataclasses.asdict(self.geometry(row)))

    def path(self, image: str) -> Path:
        """Where a volume of the `studies` lies: inside the dataset, or in the tree it was built from."""
        return self.folder / image  # an absolute path stays what it is

    def geometry(self, row: dict[str, Any]) -> Geometry:
        """How to read the volume of one row of the `studies`."""
        return Geometry(*(row[item.name] for item in dataclasses.fields(Geometry)))

    def findings(self, split: str) -> dict[str, dict[str, str]]:
        """study_id -> anatomy -> the sentences about that anatomy."""
        nested: dict[str, dict[str, str]] = {}
        columns = pq.read_table(table_path(self.folder, FINDINGS, split)).to_pydict()
        for study, anatomy, text in zip(*columns.values(), strict=True):
            nested.setdefault(study, {})[anatomy] = text
        return nested

    def anatomies(self) -> list[dict[str, Any]]:
        """The ontology the dataset was mined with: name, parent (list), region, synonyms (list)."""
        return pq.read_table(table_path(self.folder, ANATOMIES)).to_pylist()

    def labels(self) -> pd.DataFrame | None:
        """Gold labels: study_id, label, value (1 yes, 0 no, -1 uncertain), anatomy; None without any."""
        path = table_path(self.folder, LABELS)
        return pd.read_parquet(path) if path.is_file() else None

    @cached_property
    def engine(self) -> RelevanceEngine:
        """The relevance between any two texts of the dataset, computed from `entities/`."""
        return RelevanceEngine(EntityStore.load(self.folder / ENTITIES))
