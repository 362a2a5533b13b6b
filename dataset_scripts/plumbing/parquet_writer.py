"""A Parquet file written row by row, in bounded memory, whole or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.plumbing.atomic import atomic_path

_ROWS = 65536  # held at once


class TableWriter:
    """Takes the rows of a table; `writing_table` makes one."""

    def __init__(self, path: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self._path, self._schema, self._stack = path, schema, stack
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no row has come yet."""
        return self._writer is None and not self._rows

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held."""
        if not self._rows:
            return
        if self._writer is None:
            temporary = self._stack.enter_context(atomic_path(self._path))
            self._writer = self._stack.enter_context(pq.ParquetWriter(temporary, self._schema))
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()


@contextmanager
def writing_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write a Parquet file row by row; it appears at the end of the block. Without rows there is no file.

    Args:
        path: the file; an earlier one is replaced, or removed where no row comes.
        schema: of its rows.

    Raises:
        ValueError: the disk refused; what was at ``path`` is still there.
    """
    with ExitStack() as stack:
        table = TableWriter(path, schema, stack)
        yield table
        table.flush()
    if table.is_empty:
        path.unlink(missing_ok=True)
