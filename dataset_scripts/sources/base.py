"""What a source of data offers and yields: jobs, one a study, and records, one an image."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

SPLITS = ("train", "validation", "test")


class Sharing(StrEnum):
    """Whether what is built from a source may leave the machine."""

    OPEN = "open"
    RESTRICTED = "restricted"  # the licence forbids redistribution
    CREDENTIALED = "credentialed"  # only people with signed access may hold it


@dataclass(frozen=True)
class Geometry:
    """How to read a volume: its voxel spacing, and what turns its stored values into Hounsfield units.

    `spacing_mm` is (slice, row, column) as the array's axes are (D, H, W). HU = slope * stored + intercept,
    where stored are the values on the disk before any scaling in the file's own header; (1, 0) for a file
    that holds HU.
    """

    spacing_mm: tuple[float, float, float]
    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0


@dataclass(frozen=True)
class ImageRecord:
    """One image with the report of its study.

    `image` holds the encoded file (PNG, JPEG; NIfTI for volumes) or, where it stays where it is, its path.
    `findings` is the text that is mined: the findings section, or what a source was asked to take for it.
    `labels` maps a label's name to 1 (present), 0 (absent) or -1 (uncertain); they are gold for the
    evaluation and nothing trains on them. `regional` maps anatomies to sentences that the source itself has
    tied to them; where it is not empty, findings are mined from these sentences instead of from `findings`.
    `geometry` is set for volumes.
    """

    study_id: str
    subject_id: str
    image_id: str
    image: bytes | str
    view: str
    report: str
    findings: str
    impression: str
    split: str
    labels: dict[str, int] = field(default_factory=dict)
    regional: dict[str, str] = field(default_factory=dict)
    geometry: Geometry | None = None


@dataclass(frozen=True)
class Skipped:
    """A source record left out of the dataset, with the reason in words, "reason" or "reason: details"."""

    record_id: str
    reason: str


class Source(Protocol):
    """What a builder is written for: a frozen, picklable dataclass whose fields are its options.

    `jobs` is cheap (tables, no images) and gives one picklable job a study, in a fixed order; `read` is
    costly and runs in worker processes, in any order.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    homepage: ClassVar[str]
    sharing: ClassVar[Sharing]
    volumes: ClassVar[bool]
    label_anatomies: ClassVar[dict[str, str]]  # where each label shows
    label_origin: ClassVar[str]  # who set the labels, for the card; empty without any

    def tables(self) -> list[Path]:
        """The files that say what the source holds; where one changes, cached results are made anew."""

    def jobs(self) -> Iterator[Any]:
        """One job a study, or `Skipped` for a row of the tables that leads to none.

        Raises:
            ValueError: a table is missing or lacks a column.
        """

    def read(self, job: Any) -> Sequence[ImageRecord | Skipped]:
        """The records of one study, or why there are none; all have the study's text and split."""

    # A source that reads files has `inputs`, too; see `inputs_of`.


def inputs_of(source: Source, job: Any) -> list[tuple[str, int, int] | tuple[str, None]]:
    """The files that a source reads for a job, as they are now: path, size and time of change, or None.

    A source names them by a method `inputs(job) -> Iterable[Path]`, those that are missing as well: where
    one changes or appears, the study is read again. One that reads no files has no such method.
    """
    named = getattr(source, "inputs", None)
    return [_state(os.path.abspath(path)) for path in named(job)] if named is not None else []


def _state(path: str) -> tuple[str, int, int] | tuple[str, None]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # missing, or no name of a file
        return path, None
    return path, found.st_size, found.st_mtime_ns


def option(help_text: str, **default: Any) -> Any:
    """Declare a source's field as an option of `radir build`, with its help.

    >>> @dataclass(frozen=True)
    ... class Example:
    ...     count: int = option("number of studies", default=2000)
    """
    return dataclasses.field(metadata={"help": help_text}, **default)


def skip_counts(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Number of skipped records for each reason, most frequent first; what follows a colon is detail."""
    return dict(Counter(item.reason.partition(":")[0] for item in skipped).most_common())
