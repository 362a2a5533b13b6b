"""Building an entity store: records are read once, texts are scored in batches, and all goes to disk.

In memory stay the entities (text, type), a 16-byte hash of each unique text, each study's id, and numbers.
Texts and embeddings pass through.
"""

import hashlib
import pickle
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.processes import map_in_order
from dataset_scripts.relevance.entities import ENTITY_TYPES, EntityExtractor
from dataset_scripts.relevance.store import files as files
from dataset_scripts.relevance.store.keys import KEYS_SCHEMA, check_study_id, keys_batch, two_texts

TEXTS_AT_ONCE = 10_000
TEXT_BYTES_AT_ONCE = 64 * 2**20  # a batch ends here too, were its texts books
ENTITIES_AT_ONCE = 16_384
NORM_TOLERANCE = 1e-3  # of an embedding's length; float16 alone costs up to 5e-4

_TYPE_CODES = {name: code for code, name in enumerate(ENTITY_TYPES)}


def build_store(
    records: Iterable[tuple[str, str, str]],
    scorer: EntityExtractor,
    folder: Path,
    processes: int | None = 1,
    dtype: str = "float32",
    progress: bool = False,
    training: Iterable[str] | None = None,
) -> None:
    """Score each unique text once, embed each unique entity once, and write the store's folder.

    Args:
        records: (study_id, anatomy, text), iterated once; anatomy ``""`` is the whole report. A blank text
            is a text without entities, which scores 0.5 against everything. Two texts count as one if their
            128-bit BLAKE2b hashes agree; that any two of a million unlike texts do has a chance of 1e-27.
        scorer: what extracts and embeds entities; asked for 10,000 texts at a time.
        folder: written whole or not at all; an existing one is replaced.
        processes: for the extraction; None for all cores. More than 1 needs a scorer that can be pickled, and
            is meant for one without a model. The bytes do not depend on it.
        dtype: of the stored embeddings, "float32" or "float16".
        progress: show progress bars.
        training: ids of the studies of the training split, in whose whole reports each entity is counted;
            ids without a report do not count. None counts nothing.

    Raises:
        ValueError: two records have the same study and anatomy, an id or a text is not a string, or the
            scorer returned something else than lists of entities and finite unit vectors.
    """
    stored = check_dtype(dtype)
    _check_picklable(scorer, processes)
    keys, entities = _Keys(), _Entities()
    with atomic_path(Path(folder)) as temporary:
        temporary.mkdir()
        with pa.ipc.new_file(str(temporary / files.TEXTS), files.TEXTS_SCHEMA) as writer:
            batches = _written(_batches(keys.new_texts(records)), writer)
            with progress_bar(unit="text", desc="Entities", shown=progress) as bar:
                for found in map_in_order(_Extract(scorer), batches, processes):
                    entities.add(found)
                    bar.update(len(found.lengths))
        counted = None if training is None else keys.reports_of(training)
        entities.write(temporary, counted, severities_of(scorer, entities.texts))
        files.write_table(temporary / files.KEYS, KEYS_SCHEMA, [keys.batch()])
        _write_embeddings(temporary / files.EMBEDDINGS, entities.texts, scorer, stored, progress)
        shape = files.open_tensors(temporary / files.EMBEDDINGS)["embeddings"].shape
        counts = {"entities": shape[0], "dimension": shape[1], "texts": keys.texts}
        counts |= {"entity_ids": entities.ids, "keys": len(keys.rows)}
        origin = {"name": scorer.name, "parameters": scorer.parameters}
        total = None if counted is None else int(counted.sum())
        files.write_manifest(temporary, origin, stored, counts, total)


def check_dtype(dtype: str) -> np.dtype:
    """Return a dtype that embeddings may be stored in.

    Raises:
        ValueError: it is another.
    """
    if str(dtype) not in files.DTYPES:
        raise ValueError(f"Embeddings are stored as {' or '.join(files.DTYPES)}, not as {dtype!r}")
    return np.dtype(dtype)


def check_vectors(vectors: np.ndarray, count: int, origin: str) -> None:
    """Check that ``count`` embeddings, (n, D), are finite and of length 1, or 0 for a text without words.

    Raises:
        ValueError: they are not; the sentence starts with ``origin``.
    """
    if vectors.ndim != 2 or vectors.shape[0] != count or not np.isfinite(vectors).all():
        raise ValueError(
            f"{origin} {vectors.shape} for {count} entities: there must be one finite vector for each"
        )
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero((np.abs(norms - 1) > NORM_TOLERANCE) & (norms != 0))
    if len(wrong):
        raise ValueError(
            f"{origin} {vectors.shape}, one of them of length {norms[wrong[0]]:.4g}: a cosine needs vectors "
            "of length 1; divide each by its norm"
        )


def check_severities(values: np.ndarray, count: int, origin: str) -> None:
    """Check that ``count`` severities, (n,), are above 0 and at most 1.

    Raises:
        ValueError: they are not; the sentence starts with ``origin``.
    """
    if values.shape != (count,) or not ((values > 0) & (values <= 1)).all():
        seen = f" from {values.min()} to {values.max()}" if values.size else ""
        raise ValueError(
            f"{origin} {values.shape}{seen} for {count} entities: there must be one for each, above 0 and at "
            "most 1"
        )


def severities_of(scorer: EntityExtractor, entity_texts: Sequence[str]) -> np.ndarray:
    """Ask a scorer how severe entities are: (n,) float32, all 1 where it does not say.

    Raises:
        ValueError: it returns something else than one number above 0 and at most 1 for each.
    """
    known = getattr(scorer, "severities", None)
    if known is None:
        return np.ones(len(entity_texts), np.float32)
    found = np.asarray(known(entity_texts), dtype=np.float32)
    check_severities(found, len(entity_texts), f"Scorer {scorer.name!r} returned severities")
    return found


def _check_picklable(scorer: EntityExtractor, processes: int | None) -> None:
    if processes == 1:
        return
    try:
        pickle.dumps(scorer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Scorer {scorer.name!r} cannot be sent to other processes ({error}): give processes=1"
        ) from error


class _Keys:
    """The records' keys as numbers, and which of their texts are new."""

    def __init__(self) -> None:
        self.rows = array("q")
        self._studies: dict[str, int] = {}
        self._anatomies: dict[str, int] = {}
        self._study_codes, self._anatomy_codes = array("i"), array("i")
        self._rows: dict[bytes, int] = {}  # hash of a text -> its row

    @property
    def texts(self) -> int:
        """Number of unique texts so far."""
        return len(self._rows)

    def new_texts(self, records: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, int]]:
        """Note each record's key; yield its text and the text's size in bytes if no earlier one has it."""
        study, places = None, set[str]()
        for study_id, anatomy, text in records:
            encoded = _encoded(study_id, anatomy, text)
            if study_id != study:
                study, places = study_id, set()
                check_study_id(study_id)
            if anatomy in places:  # now, where the records of a study come together; else once all are sorted
                raise two_texts(study_id, anatomy)
            places.add(anatomy)
            digest = hashlib.blake2b(encoded, digest_size=16).digest()
            known = len(self._rows)
            row = self._rows.setdefault(digest, known)
            if row == known:
                yield text, len(encoded)
            self._study_codes.append(self._studies.setdefault(study_id, len(self._studies)))
            self._anatomy_codes.append(self._anatomies.setdefault(anatomy, len(self._anatomies)))
            self.rows.append(row)

    def reports_of(self, studies: Iterable[str]) -> np.ndarray:
        """How many of these studies have each text as their whole report: (texts,) int64."""
        chosen = np.zeros(len(self._studies), dtype=bool)
        chosen[[self._studies[study] for study in set(studies) if study in self._studies]] = True
        whole = np.asarray(self._anatomy_codes) == self._anatomies.get("", -1)
        counted = whole & chosen[np.asarray(self._study_codes)]
        return np.bincount(np.asarray(self.rows)[counted], minlength=self.texts)

    def batch(self) -> pa.RecordBatch:
        """The keys, sorted, as `keys.arrow` holds them."""
        columns = (self._study_codes, self._anatomy_codes, self.rows)
        return keys_batch(list(self._studies), list(self._anatomies), *(np.asarray(c) for c in columns))


def _encoded(study_id: str, anatomy: str, text: str) -> bytes:
    if not (isinstance(study_id, str) and isinstance(anatomy, str) and isinstance(text, str)):
        raise ValueError(
            "A record must be three strings (study_id, anatomy, text), got "
            f"{(study_id, anatomy, text)!r:.200}"
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text of study {study_id!r}, anatomy {anatomy!r}, is not valid Unicode: {error}"
        ) from error


def _batches(texts: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text, length in texts:
        batch.append(text)
        size += length
        if len(batch) == TEXTS_AT_ONCE or size >= TEXT_BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _written(batches: Iterable[list[str]], writer: pa.ipc.RecordBatchFileWriter) -> Iterator[list[str]]:
    for batch in batches:
        writer.write_batch(pa.record_batch([pa.array(batch, pa.string())], schema=files.TEXTS_SCHEMA))
        yield batch


@dataclass(frozen=True)
class _Found:
    """The entities of a batch of texts.

    Attributes:
        entities: the unique (text, type), in the order of their first appearance.
        lengths: (n,) int32, number of entities of each text.
        ids: (sum of lengths,) int32, positions in ``entities``, text after text.
    """

    entities: list[tuple[str, str]]
    lengths: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class _Extract:
    """Extraction of one batch, in this process or in another."""

    scorer: EntityExtractor

    def __call__(self, texts: list[str]) -> _Found:
        found = self.scorer.extract(texts)
        if len(found) != len(texts):
            raise ValueError(
                f"Scorer {self.scorer.name!r} returned entities of {len(found)} texts for {len(texts)}: it "
                "must return one list, perhaps empty, for each"
            )
        known: dict[tuple[str, str], int] = {}
        ids = [known.setdefault((entity.text, entity.type), len(known)) for row in found for entity in row]
        lengths = np.array([len(row) for row in found], dtype=np.int32)
        return _Found(list(known), lengths, np.array(ids, dtype=np.int32))


class _Entities:
    """Unique entities, numbered as they first appear, and the ids of each text."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self._lengths: list[np.ndarray] = []
        self._ids: list[np.ndarray] = []

    def add(self, found: _Found) -> None:
        ids = [self._known.setdefault(entity, len(self._known)) for entity in found.entities]
        self._ids.append(np.array(ids, dtype=np.int32)[found.ids])
        self._lengths.append(found.lengths)

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self._known]

    @property
    def ids(self) -> int:
        """Number of entities of all texts together."""
        return sum(map(len, self._ids))

    def write(self, folder: Path, reports: np.ndarray | None, severities: np.ndarray) -> None:
        """Write `rows.safetensors` and `entities.arrow`.

        Args:
            folder: where to.
            reports: (T,) int64, how many training reports each text is; None where they were not counted.
            severities: (V,) float32.
        """
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        ids = np.concatenate([np.zeros(0, np.int32), *self._ids])
        files.write_tensors(folder / files.ROWS, {"indptr": np.cumsum(lengths), "entity_ids": ids})
        unknown = [entity for entity in self._known if entity[1] not in _TYPE_CODES]
        if unknown:
            raise ValueError(
                f"The scorer returned entity {unknown[0][0]!r} of type {unknown[0][1]!r}: the types are "
                f"{', '.join(ENTITY_TYPES)}"
            )
        types = np.array([_TYPE_CODES[kind] for _, kind in self._known], dtype=np.int8)
        counted = None if reports is None else _holding(reports, lengths[1:], ids, len(types))
        batch = files.entities_batch(self.texts, types, counted, severities)
        files.write_table(folder / files.ENTITIES, files.ENTITIES_SCHEMA, [batch])


def _holding(reports: np.ndarray, lengths: np.ndarray, ids: np.ndarray, entities: int) -> np.ndarray:
    """In how many reports each entity is, (V,) int64, however often one names it.

    Args:
        reports: (T,) int64, how many reports each text is.
        lengths: (T,) int, the number of entities of each text.
        ids: (nnz,) int32, the entities of the texts, text after text.
        entities: V.
    """
    texts = np.repeat(np.arange(len(lengths)), lengths)
    kept = reports[texts] > 0
    once = np.unique(texts[kept] * np.int64(entities) + ids[kept])
    return np.bincount(once % entities, weights=reports[once // entities], minlength=entities).astype(
        np.int64
    )


def _write_embeddings(
    path: Path, texts: list[str], scorer: EntityExtractor, dtype: np.dtype, progress: bool
) -> None:
    """Embed each unique text once and write a row for each entity: the same text may have several types."""
    first: dict[str, int] = {}
    source = np.array([first.setdefault(text, i) for i, text in enumerate(texts)], dtype=np.int64)  # (V,)
    rows: np.ndarray | None = None
    for start in progress_bar(range(0, len(texts), ENTITIES_AT_ONCE), "Embeddings", shown=progress):
        ids = np.arange(start, min(start + ENTITIES_AT_ONCE, len(texts)))
        new, again = ids[source[ids] == ids], ids[source[ids] != ids]
        if len(new):
            vectors = np.asarray(scorer.embed([texts[i] for i in new]), dtype=np.float32)  # (n, D)
            check_vectors(vectors, len(new), f"Scorer {scorer.name!r} returned embeddings")
            if rows is None:
                shape = (len(texts), vectors.shape[1])
                rows = files.create_tensors(path, {"embeddings": (dtype, shape)})["embeddings"]
            rows[new] = vectors
        assert rows is not None  # the first batch has a new text
        rows[again] = rows[source[again]]
    if rows is None:
        files.create_tensors(path, {"embeddings": (dtype, (0, 0))})
