"""The entities of a built dataset: each embedded once, looked up by study and anatomy.

The folder ``entities/`` of a built dataset holds

- ``entities.arrow``: text, type, reports, severity; one row for each unique (text, type); ``reports`` is the
  number of training reports that hold it, 0 throughout where they were not counted;
- ``embeddings.safetensors``: ``embeddings`` (V, D) float32 or float16, rows L2-normalised;
- ``texts.arrow``: text; one row for each unique text;
- ``rows.safetensors``: ``indptr`` (T + 1,) int64 and ``entity_ids`` (nnz,) int32, the entities of each text;
- ``keys.arrow``: study_id, anatomy, row; anatomy ``""`` is the whole report; sorted by anatomy and study;
- ``manifest.json``: format version, scorer and its parameters, dtype, counts, number of training reports,
  sizes, SHA-256 of each file.

Version 2 of the format has neither reports nor severity; it serves the relevance `paper`.

All of it is mapped into memory as it lies on disk: opening reads a few pages, and what is looked at stays in
the page cache that all processes share.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity, EntityExtractor
from dataset_scripts.relevance.ratescore import EntityEmbeddings
from dataset_scripts.relevance.store import files as files
from dataset_scripts.relevance.store.build import (
    ENTITIES_AT_ONCE,
    build_store,
    check_dtype,
    check_severities,
    check_vectors,
)
from dataset_scripts.relevance.store.files import FILES, FORMAT, FORMAT_VERSION, MANIFEST
from dataset_scripts.relevance.store.keys import KEYS_SCHEMA, KeyIndex, sorted_keys

__all__ = [
    "FILES",
    "FORMAT",
    "FORMAT_VERSION",
    "MANIFEST",
    "EntityExtractor",
    "EntityStore",
    "LazyTexts",
    "build_store",
]

_STRINGS_AT_ONCE = 65_536  # of an iteration over an Arrow column


class LazyTexts(Sequence[str]):
    """Strings in Arrow memory, made into Python's one by one.

    Args:
        chunks: an Arrow column of strings.

    Example:
        >>> LazyTexts(pa.chunked_array([["effusion", "edema"]]))[1]
        'edema'
    """

    def __init__(self, chunks: pa.ChunkedArray) -> None:
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one string, or those of a slice as a list."""
        found = self.chunks[index]
        return found.to_pylist() if isinstance(index, slice) else found.as_py()

    def __iter__(self) -> Iterator[str]:
        for batch in pa.table({"text": self.chunks}).to_batches(_STRINGS_AT_ONCE):
            yield from batch.column(0).to_pylist()


@dataclass(frozen=True, eq=False)
class EntityStore:
    """Unique entities, their embeddings, and unique texts as compressed rows of entity ids.

    A loaded store is memory-mapped: it may be read by any number of processes, is fork-safe, and pickles as
    its folder. Similarities are computed, in float32 or float64, from the values as they are stored: with
    float16 they differ from those of float32 by up to about 1e-4, also those of an entity with itself.

    Attributes:
        entity_texts: V entity texts.
        entity_types: (V,) int8, positions in ``ENTITY_TYPES``.
        embeddings: (V, D) float32 or float16, rows L2-normalised.
        texts: T unique texts.
        indptr: (T + 1,) int64; text t has the entities ``entity_ids[indptr[t]:indptr[t + 1]]``, in text
        order. entity_ids: (nnz,) int32.
        keys: Arrow table with study_id, anatomy (strings) and row (int64).
        scorer: {"name", "parameters"} of what found the entities.
        document_frequencies: (V,) int32, the number of training reports that hold each entity; None where
            they were not counted. training_reports: the number of all of them.
        severities: (V,) float32, above 0 and at most 1; all 1 where the scorer knows none.
        origin: of a memory-mapped store its folder and the SHA-256 of its manifest.

    Raises:
        ValueError: the shapes do not belong together.
    """

    entity_texts: Sequence[str]
    entity_types: np.ndarray
    embeddings: np.ndarray
    texts: pa.ChunkedArray
    indptr: np.ndarray
    entity_ids: np.ndarray
    keys: pa.Table
    scorer: dict[str, Any]
    document_frequencies: np.ndarray | None = None
    training_reports: int | None = None
    severities: np.ndarray = field(default_factory=lambda: np.ones(0, np.float32))
    origin: tuple[Path, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        entities, texts = len(self.entity_texts), len(self.texts)
        if not len(self.severities):
            object.__setattr__(self, "severities", np.ones(entities, np.float32))
        counted = self.document_frequencies
        if (
            self.entity_types.shape != (entities,)
            or self.embeddings.ndim != 2
            or len(self.embeddings) != entities
            or self.indptr.shape != (texts + 1,)
            or self.entity_ids.shape != (self.indptr[-1],)
            or self.severities.shape != (entities,)
            or (counted is None) != (self.training_reports is None)
            or (counted is not None and counted.shape != (entities,))
        ):
            raise ValueError(
                f"{entities} entity texts, types {self.entity_types.shape}, embeddings "
                f"{self.embeddings.shape}, severities {self.severities.shape}, {texts} texts, indptr "
                f"{self.indptr.shape}, entity_ids {self.entity_ids.shape} and document frequencies "
                f"{None if counted is None else counted.shape} do not belong together: see EntityStore's "
                "attributes"
            )

    @classmethod
    def build(
        cls,
        records: Iterable[tuple[str, str, str]],
        scorer: EntityExtractor,
        folder: Path | None = None,
        processes: int | None = 1,
        dtype: str = "float32",
        progress: bool = False,
        training: Iterable[str] | None = None,
    ) -> "EntityStore":
        """Score each unique text once and embed each unique entity once.

        Args:
            records, scorer, processes, dtype, progress, training: as of ``build_store``.
            folder: where to write the store, which is then mapped; by default it is held in memory.

        Raises:
            ValueError: as ``build_store``.
        """
        if folder is not None:
            build_store(records, scorer, folder, processes, dtype, progress, training)
            return cls.load(folder, scorer)
        with tempfile.TemporaryDirectory() as temporary:
            inner = Path(temporary) / "entities"
            build_store(records, scorer, inner, processes, dtype, progress, training)
            return cls.load(inner, scorer, memory_map=False)

    def __len__(self) -> int:
        """Return the number of unique texts."""
        return len(self.texts)

    def rows(self, study_ids: Sequence[str], anatomy: str) -> np.ndarray:
        """Return the text row of each study for one anatomy.

        Args:
            study_ids: n study ids.
            anatomy: an anatomy's name, or ``""`` for the whole report.

        Returns:
            (n,) int64, -1 where the study has no text there.

        Raises:
            ValueError: a study id is not a string.
        """
        return self._index.rows(self._index.codes(study_ids), anatomy)

    def row_table(self, study_ids: Sequence[str], anatomies: Sequence[str]) -> np.ndarray:
        """Return the text row of each study for each anatomy; the studies are looked up once.

        Args:
            study_ids: n study ids.
            anatomies: a names of anatomies, ``""`` for the whole report.

        Returns:
            (a, n) int64, -1 where the study has no text there.
        """
        codes, inverse = np.unique(self._index.codes(study_ids).astype(np.int32), return_inverse=True)
        rows = [self._index.rows(codes, anatomy) for anatomy in anatomies]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(codes))[:, inverse]

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex(sorted_keys(self.keys))

    def text(self, row: int) -> str:
        """Return the text of one row.

        Raises:
            ValueError: there is no such row.
        """
        return self.texts[self._checked(row)].as_py()

    def entities(self, row: int) -> list[Entity]:
        """Return the entities of one row, in text order.

        Raises:
            ValueError: there is no such row.
        """
        row = self._checked(row)
        ids = self.entity_ids[self.indptr[row] : self.indptr[row + 1]].tolist()
        return [Entity(self.entity_texts[i], ENTITY_TYPES[self.entity_types[i]]) for i in ids]

    def entity_embeddings(self, row: int) -> EntityEmbeddings:
        """Return the entities of one row as `ratescore.rate_score` takes them, in text order.

        Raises:
            ValueError: there is no such row.
        """
        row = self._checked(row)
        ids = self.entity_ids[self.indptr[row] : self.indptr[row + 1]]
        return EntityEmbeddings(self.embeddings[ids], self.entity_types[ids].astype(np.int64))

    def reports_with(self) -> tuple[np.ndarray, int]:
        """Return the number of training reports that hold each entity, (V,) int32, and that of all.

        Raises:
            ValueError: they were not counted.
        """
        if self.document_frequencies is None or self.training_reports is None:
            raise ValueError(
                "the entity store does not hold how many training reports hold each entity, which the "
                "relevance `content` needs: build the dataset again with `radir build`, or take `paper`"
            )
        return self.document_frequencies, self.training_reports

    def _checked(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise ValueError(f"There is no text row {row}: the store has rows 0 to {len(self) - 1}")
        return int(row)

    def save(self, folder: Path, dtype: str | None = None) -> None:
        """Write the store, whole or not at all; an existing folder is replaced.

        Args:
            folder: the folder.
            dtype: "float32" or "float16"; by default that of the embeddings.

        Raises:
            ValueError: ids, rows or embeddings are out of range.
        """
        stored = check_dtype(dtype or self.embeddings.dtype.name)
        self.check_content()
        with atomic_path(Path(folder)) as temporary:
            temporary.mkdir()
            columns = (self.entity_types, self.document_frequencies, self.severities)
            entities = files.entities_batch(list(self.entity_texts), *columns)
            files.write_table(temporary / files.ENTITIES, files.ENTITIES_SCHEMA, [entities])
            shape = {"embeddings": (stored, self.embeddings.shape)}
            vectors = files.create_tensors(temporary / files.EMBEDDINGS, shape)["embeddings"]
            for part in self._parts():
                vectors[part] = self.embeddings[part]
            texts = pa.table({"text": self.texts}, schema=files.TEXTS_SCHEMA).to_batches()
            files.write_table(temporary / files.TEXTS, files.TEXTS_SCHEMA, texts)
            rows = {"indptr": self.indptr, "entity_ids": self.entity_ids}
            files.write_tensors(temporary / files.ROWS, rows)
            files.write_table(temporary / files.KEYS, KEYS_SCHEMA, [sorted_keys(self.keys)])
            files.write_manifest(temporary, self.scorer, stored, self._counts(), self.training_reports)

    def _parts(self) -> Iterator[slice]:
        """Runs of entities that fit into memory."""
        for start in range(0, len(self.embeddings), ENTITIES_AT_ONCE):
            yield slice(start, start + ENTITIES_AT_ONCE)

    def _counts(self) -> dict[str, int]:
        return {
            "entities": len(self.entity_texts),
            "dimension": self.embeddings.shape[1],
            "texts": len(self),
            "entity_ids": len(self.entity_ids),
            "keys": self.keys.num_rows,
        }

    @classmethod
    def load(
        cls, folder: Path, scorer: EntityExtractor | None = None, memory_map: bool = True
    ) -> "EntityStore":
        """Open a store; only its manifest and the sizes of its files are checked, not their content.

        Args:
            folder: the folder.
            scorer: if given, the store must have been built by the same scorer with the same parameters.
            memory_map: leave the content on disk until it is looked at; otherwise read all of it now.

        Raises:
            ValueError: the folder is no entity store, is of another format or version, is incomplete, or was
                built by another scorer.
        """
        folder = Path(folder).resolve()
        manifest = files.read_manifest(folder, scorer)
        schema = files.entities_schema(manifest["format_version"])
        entities = files.open_table(folder / files.ENTITIES, schema, memory_map)
        types = entities["type"].combine_chunks()
        if types.dictionary.to_pylist() != list(ENTITY_TYPES):
            raise ValueError(
                f"{folder / files.ENTITIES} has the types {types.dictionary.to_pylist()}, this code knows "
                f"{list(ENTITY_TYPES)}: build the dataset again"
            )
        rows = files.open_tensors(folder / files.ROWS, memory_map)
        store = cls(
            entity_texts=LazyTexts(entities["text"]),
            entity_types=types.indices.to_numpy().copy(),  # V bytes, writable like the other arrays
            embeddings=files.open_tensors(folder / files.EMBEDDINGS, memory_map)["embeddings"],
            texts=files.open_table(folder / files.TEXTS, files.TEXTS_SCHEMA, memory_map)["text"],
            indptr=rows["indptr"],
            entity_ids=rows["entity_ids"],
            keys=files.open_table(folder / files.KEYS, KEYS_SCHEMA, memory_map),
            scorer=manifest["scorer"],
            **_training_columns(entities, manifest.get("training_reports")),
            origin=(folder, _identity(folder)) if memory_map else None,
        )
        seen = (store._counts(), store.embeddings.dtype.name)
        if seen != (manifest["counts"], manifest["dtype"]):
            raise ValueError(
                f"{folder} holds {seen}, its manifest says {(manifest['counts'], manifest['dtype'])}: "
                "build it again"
            )
        return store

    def check_content(self) -> None:
        """Read everything and check it: ids and rows in range, embeddings finite and of length 1.

        Raises:
            ValueError: something is not; the kernels would read beside the arrays, or score NaN.
        """
        rows = sorted_keys(self.keys).column("row").to_numpy()
        if self.indptr[0] != 0 or (np.diff(self.indptr) < 0).any():
            raise ValueError("indptr must start at 0 and never fall: build the store again")
        counted = self.document_frequencies if self.document_frequencies is not None else np.zeros(0, int)
        for name, values, count in (
            ("document frequencies", counted, (self.training_reports or 0) + 1),
            ("entity_types", self.entity_types, len(ENTITY_TYPES)),
            ("entity_ids", self.entity_ids, len(self.entity_texts)),
            ("rows of keys", rows, len(self)),
        ):
            if values.size and not (values.min() >= 0 and values.max() < count):
                raise ValueError(
                    f"{name} must be 0 to {count - 1}, they are {values.min()} to {values.max()}: build the "
                    "store again"
                )
        check_severities(self.severities, len(self.entity_texts), "The store has severities")
        for part in self._parts():
            vectors = self.embeddings[part]
            check_vectors(vectors, len(vectors), "The store has embeddings")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle a mapped store as its folder, so that workers map it too; any other one as its content."""
        return super().__reduce_ex__(protocol) if self.origin is None else (_reopen, self.origin)


def _training_columns(entities: pa.Table, total: int | None) -> dict[str, Any]:
    """What an `entities.arrow` holds beside texts and types, by the store's attributes."""
    if "severity" not in entities.column_names:
        return {}
    found, severities = (
        entities[name].combine_chunks().to_numpy(zero_copy_only=False) for name in ("reports", "severity")
    )
    counted = {} if total is None else {"document_frequencies": found, "training_reports": total}
    return {"severities": severities, **counted}


def _identity(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _reopen(folder: Path, identity: str) -> EntityStore:
    """Open a pickled store again.

    Raises:
        ValueError: another one has taken its place.
    """
    store = EntityStore.load(folder)
    if store.origin != (folder, identity):
        raise ValueError(f"{folder} has been built again since this store was pickled: load it anew")
    return store
