"""From (study, anatomy) to a text's row: sorted keys, looked up by binary search.

The keys are one table, sorted by anatomy and then by study, both in the order of their UTF-8 bytes. An
anatomy is a slice of it; within that slice the studies' numbers ascend. A lookup reads a few pages of the
file, keeps nothing in Python objects and costs the same in a fresh process.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

STUDY_ID_MAX_BYTES = 255  # ids are compared as rows of one byte matrix, as wide as the longest

_NAMES = pa.dictionary(pa.int32(), pa.string())
KEYS_SCHEMA = pa.schema(
    {"study_id": _NAMES, "anatomy": _NAMES, "row": pa.int64()}, metadata={"sorted_by": "anatomy, study_id"}
)


def keys_batch(
    study_ids: Sequence[str],
    anatomies: Sequence[str],
    study_codes: np.ndarray,
    anatomy_codes: np.ndarray,
    rows: np.ndarray,
) -> pa.RecordBatch:
    """Sort keys into the order of `keys.arrow`.

    Args:
        study_ids, anatomies: unique names, in any order.
        study_codes, anatomy_codes: (K,) int, each key's position in them.
        rows: (K,) int, each key's text row.

    Raises:
        ValueError: a study has two texts for one anatomy, or a study id is too long or holds a NUL.
    """
    for study_id in study_ids:
        check_study_id(study_id)
    study_ids, study_codes = _ranked(study_ids, study_codes)
    anatomies, anatomy_codes = _ranked(anatomies, anatomy_codes)
    order = np.lexsort((study_codes, anatomy_codes))
    study_codes, anatomy_codes = study_codes[order], anatomy_codes[order]
    twice = np.flatnonzero((np.diff(study_codes) == 0) & (np.diff(anatomy_codes) == 0))
    if len(twice):
        raise two_texts(study_ids[study_codes[twice[0]]], anatomies[anatomy_codes[twice[0]]])
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(study_codes, pa.int32()), pa.array(study_ids, pa.string())),
        pa.DictionaryArray.from_arrays(pa.array(anatomy_codes, pa.int32()), pa.array(anatomies, pa.string())),
        pa.array(np.asarray(rows)[order], pa.int64()),
    ]
    return pa.record_batch(columns, schema=KEYS_SCHEMA)


def two_texts(study_id: str, anatomy: str) -> ValueError:
    """The error about a place that is filled twice."""
    return ValueError(f"Study {study_id!r} has two texts for anatomy {anatomy!r}: join them first")


def check_study_id(study_id: str) -> None:
    """Raise ValueError if a study id is too long or holds a NUL."""
    if len(study_id.encode()) > STUDY_ID_MAX_BYTES or "\0" in study_id:
        raise ValueError(
            f"Study id {study_id[:60]!r} has {len(study_id.encode())} bytes: an id may have "
            f"{STUDY_ID_MAX_BYTES}, and no NUL among them"
        )


def _ranked(names: Sequence[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Sort names (Python's order of strings is that of their UTF-8) and renumber the codes."""
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return [names[i] for i in order], rank[np.asarray(codes, dtype=np.int64)]


def sorted_keys(table: pa.Table) -> pa.RecordBatch:
    """Return any table of study_id, anatomy and row as `keys_batch` would give it.

    Raises:
        ValueError: as `keys_batch`, or the columns are missing or of other types.
    """
    if table.schema.equals(KEYS_SCHEMA, check_metadata=True):
        batches = table.combine_chunks().to_batches()  # no copy of a single batch
        none = np.empty(0, dtype=np.int64)
        return batches[0] if batches else keys_batch([], [], none, none, none)
    try:
        studies, anatomies = (
            table[name].cast(pa.string()).combine_chunks().dictionary_encode()
            for name in ("study_id", "anatomy")
        )
        rows = table["row"].cast(pa.int64()).to_numpy()
        study_codes, anatomy_codes = studies.indices.to_numpy(), anatomies.indices.to_numpy()
    except (KeyError, pa.ArrowException) as error:
        raise ValueError(
            f"keys must have the string columns study_id and anatomy and the integer column row, they have "
            f"{table.schema.names} ({error})"
        ) from error
    names = studies.dictionary.to_pylist(), anatomies.dictionary.to_pylist()
    return keys_batch(*names, study_codes, anatomy_codes, rows)


class KeyIndex:
    """Lookup in sorted keys.

    Args:
        batch: what `keys_batch` returned, or its rows mapped from a file.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        studies, anatomies, rows = (batch.column(i) for i in range(3))
        names = anatomies.dictionary.to_pylist()
        self._anatomies = {name: i for i, name in enumerate(names)}
        # int32 like the keys, here and below: searchsorted would else copy all of them to the wider type
        edges = np.arange(len(names) + 1, dtype=np.int32)
        self._starts = np.searchsorted(anatomies.indices.to_numpy(), edges).tolist()
        self._studies = studies.indices.to_numpy()  # (K,) int32, ascending within an anatomy
        self._rows = rows.to_numpy()  # (K,) int64
        self._ids = _byte_rows(studies.dictionary)  # (S,) bytes of one width, ascending

    def codes(self, study_ids: Sequence[str]) -> np.ndarray:
        """Return each study's number, -1 for an unknown one: (n,) int64.

        Raises:
            ValueError: a study id is not a string.
        """
        width = self._ids.dtype.itemsize
        try:
            encoded = [study_id.encode() for study_id in study_ids]
        except AttributeError as error:
            wrong = next(study_id for study_id in study_ids if not isinstance(study_id, str))
            raise ValueError(f"Study ids are strings, got {wrong!r} of {type(wrong)}") from error
        if not len(self._ids):
            return np.full(len(encoded), -1, dtype=np.int64)
        # One that no key can have must not widen the comparison, nor be cut to a known one.
        possible = np.array([len(e) <= width and b"\0" not in e for e in encoded], dtype=bool)
        kept = [e if fits else b"" for e, fits in zip(encoded, possible.tolist(), strict=True)]
        queries = np.array(kept, dtype=self._ids.dtype)
        places = np.minimum(np.searchsorted(self._ids, queries), len(self._ids) - 1)
        return np.where((self._ids[places] == queries) & possible, places, -1)

    def rows(self, codes: np.ndarray, anatomy: str) -> np.ndarray:
        """Return the text row of each study number for one anatomy, -1 where there is none: (n,) int64.

        Ascending numbers are found fastest.
        """
        number = self._anatomies.get(anatomy, -1)
        part = slice(self._starts[number], self._starts[number + 1]) if number >= 0 else slice(0)
        studies, rows = self._studies[part], self._rows[part]
        if not len(studies):
            return np.full(len(codes), -1, dtype=np.int64)
        codes = codes.astype(np.int32, copy=False)
        places = np.minimum(np.searchsorted(studies, codes), len(studies) - 1)
        return np.where(studies[places] == codes, rows[places], -1)


def _byte_rows(names: pa.StringArray) -> np.ndarray:
    """Return strings as NumPy bytes of one width, (S,); without a copy where all have the same length."""
    if not len(names):
        return np.zeros(0, dtype="S1")
    offsets = np.frombuffer(names.buffers()[1], np.int32, len(names) + 1, 4 * names.offset)
    lengths = np.diff(offsets)
    if not lengths.any():
        return np.zeros(len(names), dtype="S1")
    data = np.frombuffer(names.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    width = int(lengths.max())
    if lengths.min() == width:
        return data.view(f"S{width}")
    padded = np.zeros((len(names), width), dtype=np.uint8)
    padded[np.arange(width) < lengths[:, None]] = data
    return padded.view(f"S{width}").ravel()
