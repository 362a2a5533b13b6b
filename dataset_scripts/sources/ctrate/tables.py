"""CT-RATE's tables (reports, metadata, labels, lists of other body parts) as scans, one report each.

The report table has a row for each reconstruction of a scan, all with the same text; here a scan is one item
with the reconstructions that it has. Nothing here touches a volume.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dataset_scripts.sources.base import Geometry, Skipped
from dataset_scripts.sources.tables import is_blank, read_source_table, read_source_text

OFFICIAL_SPLITS = ("train", "valid")
_LONG = {"train": "train", "valid": "validation"}  # as some of the tables are named
_NAME = re.compile(r"((train|valid)_\d+)_([a-z]+)(?:_(\d+))?(?:\.nii(?:\.gz)?)?", re.ASCII)
_VOLUME = re.compile(r"(?:train|valid)_\d+_[a-z]+_\d+", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PLACEHOLDERS = ("", "not given", "nan")
_REPORT_COLUMNS = ("VolumeName", "Findings_EN", "Impressions_EN")
_METADATA_COLUMNS = ("VolumeName", "XYSpacing", "ZSpacing", "RescaleSlope", "RescaleIntercept")
_SIZE_COLUMNS = ("NumberofSlices", "Rows", "Columns")


@dataclass(frozen=True)
class VolumeName:
    """The parts of a name such as `train_1_a_2.nii.gz`.

    `reconstruction` is 0 where a name stops at the scan.
    """

    split: str
    subject: str
    scan: str
    reconstruction: int

    @classmethod
    def parse(cls, text: str) -> "VolumeName | None":
        """The parts of a volume's name, with or without folders before and a suffix behind it, or None."""
        match = _NAME.fullmatch(text.strip().replace("\\", "/").rsplit("/", 1)[-1])
        if match is None:
            return None
        subject, split, letters, number = match.groups()
        return cls(split, subject, f"{subject}_{letters}", int(number or 0))

    def __str__(self) -> str:
        return f"{self.scan}_{self.reconstruction}"


@dataclass(frozen=True)
class Volume:
    """One reconstruction: its metadata as the table has them, and why it must not be used, if so."""

    name: VolumeName
    metadata: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Scan:
    """One scan with its report, its automatic labels and its reconstructions, in their order."""

    name: str
    subject: str
    findings: str
    impression: str
    labels: dict[str, int]
    volumes: tuple[Volume, ...]


def table_paths(dataset: Path, split: str) -> dict[str, Path]:
    """Where CT-RATE's folder `dataset/` has an official split's tables, whether they are there or not."""
    long = _LONG[split]
    return {
        "reports": dataset / "radiology_text_reports" / f"{long}_reports.csv",
        "metadata": dataset / "metadata" / f"{long}_metadata.csv",
        "no_chest": dataset / "metadata" / f"no_chest_{split}.txt",
        "labels": dataset / "multi_abnormality_labels" / f"{split}_predicted_labels.csv",
    }


def read_scans(dataset: Path, split: str) -> Iterator[Scan | Skipped]:
    """The scans of one official split, in the order in which the report table first names them.

    A scan's text is that of its first reconstruction with findings (else with an impression). A
    reconstruction whose row has another text is marked as a problem: which of the two belongs to the scan
    cannot be told.

    Args:
        dataset: CT-RATE's folder `dataset/`.
        split: "train" or "valid".

    Raises:
        ValueError: a table is missing or lacks a column.
    """
    paths = table_paths(dataset, split)
    reports = _read_csv(paths["reports"], _REPORT_COLUMNS)
    metadata, unused = _metadata(paths["metadata"])
    labels, unlabelled = _labels(paths["labels"])
    no_chest, unread = _no_chest(paths["no_chest"])
    yield from (*unused, *unlabelled)
    yield from (Skipped(line, f"this line of {paths['no_chest'].name} names no volume") for line in unread)
    scans: dict[str, dict[VolumeName, tuple[str, str]]] = {}
    for text, *sections in reports[list(_REPORT_COLUMNS)].itertuples(index=False, name=None):
        name = VolumeName.parse(text)
        if name is None or name.split != split or not name.reconstruction:
            yield Skipped(text, f"{paths['reports'].name} names no volume of its own here")
        elif name in scans.setdefault(name.scan, {}):
            yield Skipped(text, "a second row for this volume; the first one counts")
        else:
            scans[name.scan][name] = (given(sections[0]), given(sections[1]))
    for scan, volumes in metadata.items():
        if scan not in scans:
            yield from (Skipped(str(name), "the scan has no report") for name in volumes)
    yield from (Skipped(scan, "labels of a scan without report") for scan in labels if scan not in scans)
    for scan, rows in scans.items():
        yield _scan(scan, rows, metadata.get(scan, {}), no_chest, labels.get(scan, {}))


def given(text: str) -> str:
    """A section's text, "" for the placeholder "Not given."."""
    text = text.strip()
    return "" if text.rstrip(" .").lower() in _PLACEHOLDERS else text


def table_geometry(metadata: dict[str, str]) -> Geometry:
    """Spacing and scale from the metadata table, the only source of them for the first release's volumes.

    Raises:
        ValueError: a value is missing, no number, or cannot be one of a volume.
    """
    slope, intercept = (_number(metadata, column) for column in ("RescaleSlope", "RescaleIntercept"))
    if not slope > 0 or not math.isfinite(slope) or not math.isfinite(intercept):
        seen = ", ".join(f"{column} {metadata.get(column, '')!r}" for column in _METADATA_COLUMNS[3:])
        raise ValueError(f"the metadata have no usable scale: {seen}")
    return Geometry(table_spacing(metadata), slope, intercept)


def table_spacing(metadata: dict[str, str]) -> tuple[float, float, float]:
    """(slice, row, column) spacing in mm; XYSpacing is a text such as "[0.34, 0.34]".

    Raises:
        ValueError: a value is missing, no number, or not positive.
    """
    plane = [float(number) for number in _NUMBER.findall(metadata.get("XYSpacing", ""))]
    spacing = (_number(metadata, "ZSpacing"), *plane)
    if len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        seen = ", ".join(f"{column} {metadata.get(column, '')!r}" for column in _METADATA_COLUMNS[1:3])
        raise ValueError(f"the metadata have no usable spacing: {seen}")
    return spacing[0], spacing[1], spacing[2]


def table_shape(metadata: dict[str, str]) -> tuple[int | None, ...]:
    """(slices, rows, columns), None for one that the table does not give."""
    sizes = (_number(metadata, column) for column in _SIZE_COLUMNS)
    return tuple(int(size) if math.isfinite(size) and size > 0 else None for size in sizes)


def _scan(
    scan: str,
    rows: dict[VolumeName, tuple[str, str]],
    metadata: dict[VolumeName, dict[str, str]],
    no_chest: frozenset[str],
    labels: dict[str, int],
) -> Scan:
    # Reconstructions may be in the metadata alone; without a row of their own the scan's text is theirs.
    names = sorted(rows | metadata, key=lambda name: name.reconstruction)
    texts = [rows[name] for name in names if name in rows]
    text = next((t for t in texts if t[0]), None) or next((t for t in texts if t[1]), ("", ""))
    volumes = []
    for name in names:
        problem = ""
        if str(name) in no_chest or scan in no_chest:
            problem = f"listed in no_chest_{name.split}.txt as another body part"
        elif any(map(_differ, rows.get(name, ("", "")), text)):
            problem = "its report differs from that of another reconstruction of the scan"
        volumes.append(Volume(name, metadata.get(name, {}), problem))
    return Scan(scan, names[0].subject, *text, labels, tuple(volumes))


def _read_csv(path: Path, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing; CT-RATE has it at dataset/{path.parent.name}/{path.name}: download it"
        )
    return read_source_table(path, columns, "download it again from CT-RATE")


def _require(path: Path, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; found {', '.join(table.columns)}")


def _differ(text: str, other: str) -> bool:
    return bool(text and other) and text != other and text.split() != other.split()


def _metadata(path: Path) -> tuple[dict[str, dict[VolumeName, dict[str, str]]], list[Skipped]]:
    """Scan -> volume -> the columns that matter, as texts; and the rows that are left out."""
    table = _read_csv(path)
    _require(path, table, _METADATA_COLUMNS)
    table = table[[column for column in (*_METADATA_COLUMNS, *_SIZE_COLUMNS) if column in table.columns]]
    found: dict[str, dict[VolumeName, dict[str, str]]] = {}
    skipped: list[Skipped] = []
    for row in table.to_dict("records"):
        values = {str(column): str(value) for column, value in row.items()}
        text = values.pop("VolumeName")
        name = VolumeName.parse(text)
        if name is None or not name.reconstruction:
            skipped.append(Skipped(text, f"this row of {path.name} names no volume"))
        elif found.setdefault(name.scan, {}).setdefault(name, values) != values:
            skipped.append(Skipped(text, "a second, different row of metadata; the first one counts"))
    return found, skipped


def _no_chest(path: Path) -> tuple[frozenset[str], list[str]]:
    """Names of volumes (or scans) of other body parts, however a line writes them, and lines without one."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing, and head CTs could not be told from chest CTs: download it, or put an empty "
            "file there if your copy holds none"
        )
    names: list[str] = []
    unread: list[str] = []
    for line in filter(str.strip, read_source_text(path).splitlines()):
        scan = VolumeName.parse(line)
        names += _VOLUME.findall(line) or ([scan.scan] if scan else [])
        if not _VOLUME.search(line) and not scan:
            unread.append(line.strip())
    return frozenset(names), unread


def _labels(path: Path) -> tuple[dict[str, dict[str, int]], list[Skipped]]:
    """Scan -> label -> 0 or 1, from its first row, blanks left out; and the rows that are left out.

    Empty where the copy has no such table.

    Raises:
        ValueError: a value is something else.
    """
    if not path.is_file():
        return {}, []
    table = _read_csv(path)
    _require(path, table, ("VolumeName",))
    found: dict[str, dict[str, int]] = {}
    skipped: list[Skipped] = []
    for row in table.to_dict("records"):
        text = str(row.pop("VolumeName"))
        name = VolumeName.parse(text)
        given = {str(label): str(value) for label, value in row.items() if not is_blank(str(value))}
        values = {label: _float(value) for label, value in given.items()}
        if wrong := [label for label, value in values.items() if value not in (0, 1)]:
            raise ValueError(
                f"{path}: {text} has the label {given[wrong[0]]!r} for {wrong[0]}, expected 0, 1 or blank; "
                "download it again from CT-RATE"
            )
        labels = {label: int(value) for label, value in values.items()}
        if name is None:
            skipped.append(Skipped(text, f"this row of {path.name} names no volume"))
        elif found.setdefault(name.scan, labels) != labels:
            skipped.append(Skipped(text, "its labels differ from those of the scan's first row, which count"))
    return found, skipped


def _number(row: dict[str, str], column: str) -> float:
    return _float(row.get(column, ""))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
