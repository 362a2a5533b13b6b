"""The entities of a built dataset: each embedded once, looked up by study and anatomy.

The folder ``entities/`` of a built dataset holds

- ``entities.parquet``: text, type; one row for each unique (text, type);
- ``embeddings.safetensors``: ``embeddings`` (V, D) float32, rows L2-normalised;
- ``texts.parquet``: text; one row for each unique text;
- ``rows.safetensors``: ``indptr`` (T + 1,) int64 and ``entity_ids`` (nnz,) int32, the entities of each text;
- ``keys.parquet``: study_id, anatomy, row; anatomy ``""`` is the whole report;
- ``manifest.json``: format version, scorer and its parameters, counts, sizes, digest.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from dataset_scripts.atomic import atomic_path
from dataset_scripts.entities import ENTITY_TYPES, Entity

FORMAT = "radir-entities"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
FILES = ("entities.parquet", "embeddings.safetensors", "texts.parquet", "rows.safetensors", "keys.parquet")


class Scorer(Protocol):
    """What finds and embeds entities; its name and parameters are recorded, so that none are mixed."""

    name: str

    @property
    def parameters(self) -> dict[str, Any]: ...

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]: ...

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class EntityStore:
    """Unique entities, their embeddings, and unique texts as compressed rows of entity ids.

    Attributes:
        entity_texts: V entity texts.
        entity_types: (V,) int8, positions in ``ENTITY_TYPES``.
        embeddings: (V, D) float32, rows L2-normalised.
        texts: T unique texts.
        indptr: (T + 1,) int64; text t has the entities ``entity_ids[indptr[t]:indptr[t + 1]]``, in text
        order. entity_ids: (nnz,) int32.
        keys: Arrow table with study_id, anatomy (strings) and row (int64).
        scorer: {"name", "parameters"} of what found the entities.
    """

    entity_texts: list[str]
    entity_types: np.ndarray
    embeddings: np.ndarray
    texts: pa.ChunkedArray
    indptr: np.ndarray
    entity_ids: np.ndarray
    keys: pa.Table
    scorer: dict[str, Any]
    _rows_of: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def build(cls, records: Iterable[tuple[str, str, str]], scorer: Scorer) -> "EntityStore":
        """Score each unique text once and embed each unique entity once.

        Args:
            records: (study_id, anatomy, text); anatomy ``""`` is the whole report. A blank text is a text
                without entities, which scores 0.5 against everything.
            scorer: what extracts and embeds entities.

        Raises:
            ValueError: two records have the same study and anatomy, or an embedding is not finite.
        """
        text_rows: dict[str, int] = {}
        keys: dict[tuple[str, str], int] = {}
        for study_id, anatomy, text in records:
            if (study_id, anatomy) in keys:
                raise ValueError(f"Study {study_id!r} has two texts for anatomy {anatomy!r}: join them first")
            keys[study_id, anatomy] = text_rows.setdefault(text, len(text_rows))
        texts = list(text_rows)
        entities: dict[Entity, int] = {}
        ids = [[entities.setdefault(e, len(entities)) for e in found] for found in scorer.extract(texts)]
        return cls(
            entity_texts=[e.text for e in entities],
            entity_types=np.array([ENTITY_TYPES.index(e.type) for e in entities], dtype=np.int8),
            embeddings=_embed_entities([e.text for e in entities], scorer),
            texts=pa.chunked_array([pa.array(texts, pa.string())]),
            indptr=np.cumsum([0, *map(len, ids)], dtype=np.int64),
            entity_ids=np.array([i for row in ids for i in row], dtype=np.int32),
            keys=_keys_table(keys),
            scorer={"name": scorer.name, "parameters": scorer.parameters},
        )

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
        """
        if anatomy not in self._rows_of:
            part = self.keys.filter(pc.equal(self.keys["anatomy"], anatomy))
            self._rows_of[anatomy] = dict(
                zip(part["study_id"].to_pylist(), part["row"].to_pylist(), strict=True)
            )
        known = self._rows_of[anatomy]
        return np.array([known.get(study_id, -1) for study_id in study_ids], dtype=np.int64)

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
        ids = self.entity_ids[self.indptr[row] : self.indptr[row + 1]]
        return [Entity(self.entity_texts[i], ENTITY_TYPES[self.entity_types[i]]) for i in ids]

    def _checked(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise ValueError(f"There is no text row {row}: the store has rows 0 to {len(self) - 1}")
        return int(row)

    def save(self, folder: Path) -> None:
        """Write the store, whole or not at all; an existing folder is replaced."""
        with atomic_path(Path(folder)) as temporary:
            temporary.mkdir()
            types = [ENTITY_TYPES[t] for t in self.entity_types]
            entities = {
                "text": pa.array(self.entity_texts, pa.string()),
                "type": pa.array(types, pa.string()),
            }
            pq.write_table(pa.table(entities), temporary / "entities.parquet")
            save_file({"embeddings": self.embeddings}, temporary / "embeddings.safetensors")
            pq.write_table(pa.table({"text": self.texts}), temporary / "texts.parquet")
            rows = {"indptr": self.indptr, "entity_ids": self.entity_ids}
            save_file(rows, temporary / "rows.safetensors")
            pq.write_table(self.keys, temporary / "keys.parquet")
            (temporary / MANIFEST).write_text(
                json.dumps(self._manifest(temporary), indent=2, sort_keys=True) + "\n"
            )

    def _manifest(self, folder: Path) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scorer": self.scorer,
            "counts": {
                "entities": len(self.entity_texts),
                "dimension": self.embeddings.shape[1],
                "texts": len(self),
                "entity_ids": len(self.entity_ids),
                "keys": self.keys.num_rows,
            },
            "bytes": {name: (folder / name).stat().st_size for name in FILES},
            "digest": _digest(folder),
        }

    @classmethod
    def load(cls, folder: Path, scorer: Scorer | None = None) -> "EntityStore":
        """Read a store that ``save`` wrote.

        Args:
            folder: the folder.
            scorer: if given, the store must have been built by the same scorer with the same parameters.

        Raises:
            ValueError: the folder is no entity store, is of another format or version, is incomplete, or was
                built by another scorer.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder, scorer)
        entities = pq.read_table(folder / "entities.parquet")
        rows = load_file(folder / "rows.safetensors")
        store = cls(
            entity_texts=entities["text"].to_pylist(),
            entity_types=np.array(
                [ENTITY_TYPES.index(t) for t in entities["type"].to_pylist()], dtype=np.int8
            ),
            embeddings=load_file(folder / "embeddings.safetensors")["embeddings"],
            texts=pq.read_table(folder / "texts.parquet")["text"],
            indptr=rows["indptr"],
            entity_ids=rows["entity_ids"],
            keys=pq.read_table(folder / "keys.parquet"),
            scorer=manifest["scorer"],
        )
        counts = store._manifest(folder)["counts"]
        if counts != manifest["counts"]:
            raise ValueError(
                f"{folder} holds {counts}, its manifest says {manifest['counts']}: build it again"
            )
        return store


def _embed_entities(texts: list[str], scorer: Scorer) -> np.ndarray:
    """Embed each unique entity text once and spread the result over the (text, type) entities."""
    unique = list(dict.fromkeys(texts))
    position = {text: i for i, text in enumerate(unique)}
    vectors = np.asarray(scorer.embed(unique), dtype=np.float32)  # (unique, D)
    if vectors.shape[0] != len(unique) or not np.isfinite(vectors).all():
        raise ValueError(
            f"Scorer {scorer.name!r} returned embeddings {vectors.shape} for {len(unique)} entities: "
            "it must return one finite vector for each"
        )
    return vectors[[position[text] for text in texts]]  # (V, D)


def _keys_table(keys: dict[tuple[str, str], int]) -> pa.Table:
    return pa.table(
        {
            "study_id": pa.array([study_id for study_id, _ in keys], pa.string()),
            "anatomy": pa.array([anatomy for _, anatomy in keys], pa.string()),
            "row": pa.array(list(keys.values()), pa.int64()),
        }
    )


def _digest(folder: Path) -> str:
    """SHA-256 over the content of all files, in the order of ``FILES``."""
    digest = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def _read_manifest(folder: Path, scorer: Scorer | None) -> dict[str, Any]:
    """Read and check the manifest; the errors name what was seen and what to do."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is not an entity store: it has no {MANIFEST}; `radir build` writes one")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / MANIFEST} is not JSON ({error}): build the store again") from error
    seen = (manifest.get("format"), manifest.get("format_version"))
    if seen != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{folder} has format {seen[0]!r} version {seen[1]!r}, this code reads {FORMAT!r} version "
            f"{FORMAT_VERSION}: build the dataset again"
        )
    for name in FILES:
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != manifest["bytes"][name]:
            raise ValueError(
                f"{folder / name} has {'no' if size is None else size} bytes, the manifest says "
                f"{manifest['bytes'][name]}: the copy is incomplete, copy or build it again"
            )
    if scorer is not None:
        expected = json.loads(json.dumps({"name": scorer.name, "parameters": scorer.parameters}))
        if manifest["scorer"] != expected:
            raise ValueError(
                f"{folder} was built by scorer {manifest['scorer']}, this one is {expected}: relevances of "
                "different scorers do not compare; build the dataset again or use its own scorer"
            )
    return manifest
