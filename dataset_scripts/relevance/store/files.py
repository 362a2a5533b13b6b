"""The files of an entity store: Arrow and safetensors, written in one pass, opened without reading them.

Text columns are uncompressed Arrow IPC files and numbers are safetensors, so both can be mapped into memory
as they are; any reader of these formats can open them without this code.
"""

import hashlib
import json
import math
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from dataset_scripts.relevance.entities import ENTITY_TYPES, EntityExtractor

FORMAT = "radir-entities"
FORMAT_VERSION = 3
READABLE = (2, 3)  # versions; 2 has neither reports nor severities of the entities
MANIFEST = "manifest.json"
ENTITIES, EMBEDDINGS, TEXTS = "entities.arrow", "embeddings.safetensors", "texts.arrow"
ROWS, KEYS = "rows.safetensors", "keys.arrow"
FILES = (ENTITIES, EMBEDDINGS, TEXTS, ROWS, KEYS)

DTYPES = ("float32", "float16")  # of the embeddings
_TEXT_AND_TYPE = {"text": pa.string(), "type": pa.dictionary(pa.int8(), pa.string())}
ENTITIES_SCHEMA = pa.schema({**_TEXT_AND_TYPE, "reports": pa.int32(), "severity": pa.float32()})
TEXTS_SCHEMA = pa.schema({"text": pa.string()})

_SAFETENSORS = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
_CODES = {np.dtype(dtype): code for code, dtype in _SAFETENSORS.items()}
_ALIGNMENT = 8  # of a safetensors header, and so of the widest number after it
_ZEROS_AT_ONCE = 2**20  # bytes
_HEADER_MAX_BYTES = 100_000_000  # the format's own limit


def create_tensors(path: Path, tensors: dict[str, tuple[Any, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Make a safetensors file of the given arrays, to be filled in place.

    Args:
        path: the file.
        tensors: name -> (dtype, shape).

    Returns:
        name -> array of zeros, mapped to the file: what is written to it is in the file.

    Raises:
        OSError: the disk is full; it is noticed here, not where the arrays are filled.
    """
    header: dict[str, Any] = {}
    offset = 0
    # Widest first, as safetensors itself orders them: then every array is aligned.
    for name in sorted(tensors, key=lambda name: (-np.dtype(tensors[name][0]).itemsize, name)):
        dtype, shape = np.dtype(tensors[name][0]), tensors[name][1]
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        _reserve(file, offset)
    return _arrays(path, np.memmap(path, dtype=np.uint8, mode="r+"))


def _reserve(file: BinaryIO, size: int) -> None:
    """Add zeros to a file, which have their place on the disk; to fill a hole of a full disk kills."""
    total = file.tell() + size
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, total)
        return
    for start in range(0, size, _ZEROS_AT_ONCE):
        file.write(bytes(min(_ZEROS_AT_ONCE, size - start)))


def write_tensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write whole arrays to a safetensors file."""
    created = create_tensors(path, {name: (array.dtype, array.shape) for name, array in arrays.items()})
    for name, array in arrays.items():
        created[name][...] = array


def open_tensors(path: Path, memory_map: bool = True) -> dict[str, np.ndarray]:
    """Open the arrays of a safetensors file; a mapped one is read only where it is looked at.

    Raises:
        ValueError: the file is damaged or holds other dtypes than the store's.
    """
    if not memory_map:
        return _arrays(path, np.fromfile(path, dtype=np.uint8))
    with path.open("rb") as file:
        # A private mapping: the arrays count as writable, so that compiled code needs no second version for
        # read-only ones; but the file never changes, and processes share its pages.
        return _arrays(path, np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8))


def _arrays(path: Path, data: np.ndarray) -> dict[str, np.ndarray]:
    """Cut the bytes of a safetensors file, (n,) uint8, into its arrays; nothing is copied."""
    try:
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        if start > min(data.size, _HEADER_MAX_BYTES):
            raise ValueError("the header is longer than the file")
        header = json.loads(data[8:start].tobytes())
        header.pop("__metadata__", None)
        return {name: _array(data[start:], **entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a safetensors file of a store ({error}): build it again") from error


def _array(data: np.ndarray, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    kind, (first, last) = np.dtype(_SAFETENSORS[dtype]), data_offsets
    if not 0 <= first <= last <= data.size or last - first != math.prod(shape) * kind.itemsize:
        raise ValueError(f"shape {shape} does not fit into bytes {first} to {last}")
    return data[first:last].view(kind).reshape(shape)


def write_table(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write an uncompressed Arrow IPC file."""
    with pa.ipc.new_file(str(path), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def open_table(path: Path, schema: pa.Schema, memory_map: bool = True) -> pa.Table:
    """Open an Arrow IPC file; a mapped one is read only where it is looked at.

    Raises:
        ValueError: the file is damaged or has other columns.
    """
    try:
        source = pa.memory_map(str(path)) if memory_map else pa.py_buffer(path.read_bytes())
        table = pa.ipc.open_file(source).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as an Arrow file ({error}): build it again") from error
    if not table.schema.equals(schema):
        columns = [f"{field.name}: {field.type}" for field in schema]
        raise ValueError(f"{path} must have the columns {columns}, it has {table.schema}: build it again")
    return table


def entities_schema(version: int) -> pa.Schema:
    """The columns of `entities.arrow` in a version of the format."""
    return pa.schema(_TEXT_AND_TYPE) if version == 2 else ENTITIES_SCHEMA


def entities_batch(
    texts: Sequence[str], types: np.ndarray, reports: np.ndarray | None, severities: np.ndarray
) -> pa.RecordBatch:
    """Entities as the rows of `entities.arrow`.

    Args:
        texts: V texts.
        types: (V,) int8.
        reports: (V,) int, the number of training reports that hold each; None where they were not counted.
        severities: (V,) float32.
    """
    named = pa.DictionaryArray.from_arrays(pa.array(types, pa.int8()), pa.array(ENTITY_TYPES))
    counted = np.zeros(len(texts), np.int32) if reports is None else reports
    columns = [pa.array(texts, pa.string()), named]
    columns += [pa.array(counted, pa.int32()), pa.array(severities, pa.float32())]
    return pa.record_batch(columns, schema=ENTITIES_SCHEMA)


def write_manifest(
    folder: Path, scorer: dict[str, Any], dtype: np.dtype, counts: dict[str, int], training: int | None
) -> None:
    """Record what the folder holds: scorer, dtype, counts, and each file's size and SHA-256.

    Args:
        folder: with all its files.
        scorer, dtype, counts: recorded as they are.
        training: the number of training reports that the entities were counted in; None where they were not.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scorer": scorer,
        "dtype": dtype.name,
        "counts": counts,
        "training_reports": training,
        "bytes": {name: (folder / name).stat().st_size for name in FILES},
        "sha256": {name: file_digest(folder / name) for name in FILES},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path, scorer: EntityExtractor | None = None) -> dict[str, Any]:
    """Read the manifest and check it against the sizes of the files; their content is not read.

    Raises:
        ValueError: the folder is no entity store, is of another format or version, is incomplete, or was
            built by another scorer.
    """
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is not an entity store: it has no {MANIFEST}; `radir build` writes one")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} is not JSON ({error}): build the store again") from error
    _check_format(folder, manifest)
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


def _check_format(folder: Path, manifest: Any) -> None:
    fields = manifest if isinstance(manifest, dict) else {}
    seen = (fields.get("format"), fields.get("format_version"))
    if seen[0] != FORMAT or seen[1] not in READABLE:
        raise ValueError(
            f"{folder} has format {seen[0]!r} version {seen[1]!r}, this code reads {FORMAT!r} version "
            f"{' and '.join(map(str, READABLE))}: build the dataset again"
        )
    expected = {"scorer", "dtype", "counts", "bytes", "sha256"}
    if not expected <= fields.keys() or any(set(fields[name]) != set(FILES) for name in ("bytes", "sha256")):
        raise ValueError(f"{folder / MANIFEST} lacks some of {sorted(expected)}: build the store again")
