"""CSV tables of the sources: read whole and as text, or refused with a sentence that says where.

A cell is what stands in the file, whatever it is: "NA", "nan" and blanks stay text. Packed tables and a byte
order mark are seen by the first bytes; a row with another number of cells than the header, as a file that
broke off ends with, is refused, as are bytes that are not UTF-8.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa

_GZIP = b"\x1f\x8b"
_ROWS = 65536  # held as Python's strings at once, which weigh twice as much as Arrow's
_LONGEST_CELL = 2**31 - 1


def read_source_table(
    path: Path, columns: Sequence[str] | None = None, hint: str = "download it again"
) -> pd.DataFrame:
    """Read a CSV table, packed or not.

    Args:
        path: the file.
        columns: those wanted, in this order; all of them by default.
        hint: what to do about a table that cannot be used.

    Returns:
        The columns as strings, blanks as "".

    Raises:
        ValueError: the file is missing, damaged, cut off or not UTF-8, or lacks a column.
    """
    try:
        try:
            return _read(path, columns, strict=True)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise ValueError("it ends inside a quoted cell: it is cut off") from error
            return _read(path, columns, strict=False)  # text behind a closing quotation mark
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} cannot be used: its bytes are not UTF-8; {hint}, or save it as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{path} cannot be used: {reason}; {hint}") from error


def read_source_text(path: Path) -> str:
    """Read a text file, UTF-8 with or without a byte order mark.

    Raises:
        ValueError: it cannot be read, or is of another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be used: its bytes are not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error


def stays_below(name: str) -> bool:
    """Whether a file name of a table stays below the folder that it counts from, on any system.

    >>> [stays_below(name) for name in ("a/b.png", "../b.png", "/etc/b.png", "C:\\\\b.png", "")]
    [True, False, False, False, False]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    is_plain = bool(path.parts) and "\0" not in name and ":" not in path.parts[0]
    return is_plain and not path.is_absolute() and ".." not in path.parts


def is_blank(text: str) -> bool:
    """Whether a cell is empty, or what pandas writes for an empty one.

    >>> is_blank(" "), is_blank("nan"), is_blank("0")
    (True, True, False)
    """
    return text.strip().lower() in ("", "nan", "none", "<na>", "null")


def _read(path: Path, columns: Sequence[str] | None, strict: bool) -> pd.DataFrame:
    with _opened(path) as file, _long_cells():
        rows = csv.reader(file, strict=strict)
        header = next(rows, None)
        if header is None:
            raise ValueError("it is empty")
        header = [name.strip() for name in header]
        wanted = list(columns) if columns is not None else header
        if missing := [column for column in wanted if column not in header]:
            raise ValueError(f"it lacks the column(s) {', '.join(missing)}; found {', '.join(header)}")
        if twice := [column for column in wanted if header.count(column) > 1]:
            raise ValueError(f"it has the column {twice[0]!r} twice")
        places = [header.index(column) for column in wanted]
        schema = pa.schema([(name, pa.string()) for name in wanted])
        table = pa.Table.from_batches(_batches(rows, header, places, schema), schema)
    return table.to_pandas(types_mapper={pa.string(): pd.StringDtype(na_value=float("nan"))}.get)


def _batches(rows: Any, header: list[str], places: list[int], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    held: list[list[str]] = [[] for _ in places]
    for row in rows:
        if not row:
            continue  # a blank line
        if len(row) != len(header):
            raise ValueError(
                f"the row that ends in line {rows.line_num} has {len(row)} cells, the header has "
                f"{len(header)}: the table is cut off or damaged"
            )
        for cells, place in zip(held, places, strict=True):
            cells.append(row[place])
        if len(held[0]) == _ROWS:
            yield pa.record_batch([pa.array(cells, pa.string()) for cells in held], schema=schema)
            held = [[] for _ in places]
    yield pa.record_batch([pa.array(cells, pa.string()) for cells in held], schema=schema)


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as raw:
        is_packed = raw.read(2) == _GZIP
        raw.seek(0)
        plain: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
            yield text


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as reports can be; the limit is one for the whole process."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
