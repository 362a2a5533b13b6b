"""MIMIC-CXR's reports: text files below a folder, the zip of them, or the official code's CSV of sections."""

import functools
import itertools
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dataset_scripts.sources.mimic.tables import MimicStudy, read_csv

ZIP_NAME = "mimic-cxr-reports.zip"
SECTIONED_NAMES = ("mimic_cxr_sectioned.csv", "mimic_cxr_sectioned.csv.gz")
SECTION_COLUMNS = ("impression", "findings", "last_paragraph", "comparison")
_PROBES = 2000  # studies tried, evenly over the table, before another place or the whole table is


class Kind(StrEnum):
    """The three forms in which the reports come."""

    FILES = "files"
    ZIP = "zip"
    SECTIONED = "sectioned"


@dataclass(frozen=True)
class Reports:
    """Where the reports are, and in which form."""

    kind: Kind
    path: Path

    def inputs(self, study: MimicStudy) -> list[Path]:
        """The file that holds a study's report, if it is not read in the parent process."""
        if self.kind is Kind.SECTIONED:
            return []
        return [self.path if self.kind is Kind.ZIP else self.path / study.report]

    def read(self, study: MimicStudy) -> str | None:
        """The raw text of a study's report with its line breaks as "\\n", None where there is none.

        Not for `Kind.SECTIONED`, which `read_sectioned` reads whole.

        Raises:
            OSError, zipfile.BadZipFile: if the report is there and cannot be read.
        """
        if self.kind is Kind.ZIP:
            encoded = _read_member(self.path, study.report)
        else:
            path = self.path / study.report
            encoded = path.read_bytes() if path.is_file() else None
        # The reports are ASCII; a stray byte is no reason to lose one.
        return None if encoded is None else encoded.decode("utf-8", "replace").replace("\r\n", "\n")


def report_files(path: Path) -> list[Path]:
    """The one file that holds the reports, where there is one; a folder of report files is not listed."""
    names = [path] if path.is_file() else [path / name for name in (ZIP_NAME, *SECTIONED_NAMES)]
    return [name for name in names if name.is_file()][:1]


def find_reports(path: Path, studies: Sequence[MimicStudy]) -> Reports:
    """Tell in which form `path` holds the reports: the file itself, or what the folder has.

    A folder is searched for the zip, then for report files of `studies`, then for the CSV.

    Raises:
        ValueError: if there are none.
    """
    if path.is_file():
        if zipfile.is_zipfile(path):
            return Reports(Kind.ZIP, path)
        if path.name.endswith((".csv", ".csv.gz")):
            return Reports(Kind.SECTIONED, path)
        raise ValueError(
            f"{path} holds no reports: expected a folder with files/, {ZIP_NAME} or {SECTIONED_NAMES[0]}; "
            "a zip that broke off while downloading is refused as well"
        )
    if (path / ZIP_NAME).is_file():
        return find_reports(path / ZIP_NAME, studies)
    in_files = Reports(Kind.FILES, path)
    if _has_report(path, itertools.islice(spread(studies), _PROBES)):
        return in_files
    for name in SECTIONED_NAMES:
        if (path / name).is_file():
            return Reports(Kind.SECTIONED, path / name)
    if _has_report(path, iter(studies)):
        return in_files
    raise ValueError(
        f"no reports found: {path} has neither {ZIP_NAME}, nor files/p10/p1*/s*.txt of a study in the "
        f"tables, nor {SECTIONED_NAMES[0]}. MIMIC-CXR-JPG comes without reports: give the folder or zip of "
        "MIMIC-CXR's with --reports"
    )


def read_sectioned(path: Path) -> Callable[[str], tuple[tuple[str, str], ...] | None]:
    """Read `mimic_cxr_sectioned.csv`; gives a function from a study's number to its (section, text) or None.

    Raises:
        ValueError: if the file is damaged or lacks a column.
    """
    table = read_csv(path, ("study", *SECTION_COLUMNS))
    numbers = table["study"].str.strip().str.removeprefix("s").to_list()
    row_of: dict[str, int] = {}
    for row, number in enumerate(numbers):
        first = row_of.setdefault(number, row)
        if first != row and not table.iloc[first, 1:].equals(table.iloc[row, 1:]):
            raise ValueError(f"{path} has two different reports of study {number}: expected one")
    columns = [
        table[name].array for name in SECTION_COLUMNS
    ]  # packed; as Python strings they weigh twice as much

    def sections(number: str) -> tuple[tuple[str, str], ...] | None:
        if (row := row_of.get(number)) is None:
            return None
        texts = (column[row] for column in columns)
        return tuple((name, text) for name, text in zip(SECTION_COLUMNS, texts, strict=True) if text)

    return sections


def spread(studies: Sequence[MimicStudy]) -> Iterator[MimicStudy]:
    """Some studies from all over the table: a partial download rarely starts at its first row."""
    return iter(studies[:: max(1, len(studies) // _PROBES)])


def _has_report(root: Path, studies: Iterator[MimicStudy]) -> bool:
    return any(os.path.isfile(f"{root}/{study.report}") for study in studies)


def _read_member(path: Path, name: str) -> bytes | None:
    archive, members = _opened(path, os.getpid())
    member = members.get(name)
    return None if member is None else archive.read(member)


@functools.lru_cache(maxsize=2)
def _opened(path: Path, _process: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The zip, open once in each process (a fork must not share the file's position), and its reports.

    Names count from `files/` on, so that a zip with a folder above it reads as well.
    """
    archive = zipfile.ZipFile(path)
    return archive, {
        item.filename[max(0, item.filename.find("files/")) :]: item
        for item in archive.infolist()
        if item.filename.endswith(".txt")
    }
