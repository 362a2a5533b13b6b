"""Parquet files as one table in a memory map: any row at once, and nothing that others may read."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.private import private_folder

_ROWS = 128  # at once; with images inside, some MB


def mapped_rows(files: Sequence[Path]) -> datasets.Dataset:
    """The rows of Parquet files, in their order, from an uncompressed copy in `private_folder`.

    Parquet has no random access, which training needs; the copy has. It is made once a process.

    Args:
        files: one or more, all with the columns of the first.

    Returns:
        The rows; images as they are stored, not decoded: {"bytes", "path"}.

    Raises:
        ValueError: a file cannot be read, or has other columns; the sentence names it.
    """
    copy = private_folder() / f"{_key(files)}.arrow"
    with FileLock(copy.with_suffix(".lock")):
        if not copy.is_file():
            with atomic_path(copy) as temporary:
                _write(files, temporary)
    rows = datasets.Dataset.from_file(str(copy))
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _write(files: Sequence[Path], target: Path) -> None:
    with reading(files[0]):
        schema = pq.read_schema(files[0])
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for path in files:
            with reading(path):
                found = pq.ParquetFile(path)
                if not found.schema_arrow.equals(schema):
                    raise ValueError(
                        f"{path} has other columns than {files[0].name}: build the dataset again"
                    )
            batches = found.iter_batches(_ROWS)
            while (batch := _next(batches, path)) is not None:
                writer.write_batch(batch)


def _next(batches: Iterator[pa.RecordBatch], path: Path) -> pa.RecordBatch | None:
    with reading(path):
        return next(batches, None)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a sentence that names it.

    Raises:
        ValueError: it is missing, cannot be opened, or is damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: copy the dataset again, or build it again") from error
    except (pa.ArrowException, OSError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): copy the dataset again, or build it again"
        ) from error


def _key(files: Sequence[Path]) -> str:
    """A name that differs where the files do."""
    found = hashlib.sha256()
    for path in files:
        with reading(path):
            stat = path.stat()
        about = (os.path.realpath(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        found.update(repr(about).encode())
    return found.hexdigest()[:24]
