"""Overrides: a reader's own corrections of reports that the section parser gets wrong.

A CSV file with a header and one row a correction: `study_id, section, start, end, name`.

- Renamed: `section` is filled, `start` and `end` are blank. The text that the report has under `section`
  is taken for section `name`.
- Cut by position: `start` and `end` are filled, `section` is blank. The characters start..end of the raw
  report (0 is the first, `end` is not included, a line break counts as one) are taken for section `name`.
  start = end says that the report has no such section.

`study_id` is the number with or without its `s`; a blank `name` is `findings`. A study may have several rows,
which are applied in order. The official code (MIT-LCP/mimic-cxr, txt/section_parser.py) lists 23 studies of
the first kind and 31 of the second; the lists are theirs, and a file in this form holds them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.sources.tables import read_source_table

OVERRIDE_COLUMNS = ("study_id", "section", "start", "end", "name")


@dataclass(frozen=True)
class Override:
    """One correction: section `name` is the text of `section` or, where that is empty, report[start:end]."""

    section: str = ""
    start: int = 0
    end: int = 0
    name: str = "findings"


def read_overrides(path: Path) -> dict[str, tuple[Override, ...]]:
    """Read an overrides file: study number (without its s) -> corrections in the file's order.

    Raises:
        ValueError: if a column is missing or a row is neither a renaming nor a cut.
    """
    expected = f"an overrides file (CSV) has the columns {', '.join(OVERRIDE_COLUMNS)}"
    table = read_source_table(path, OVERRIDE_COLUMNS, expected)
    overrides: dict[str, tuple[Override, ...]] = {}
    rows = table.to_numpy(dtype=object).tolist()
    for line, row in enumerate(rows, start=2):
        study_id, *cells = (cell.strip() for cell in row)
        number = study_id.removeprefix("s")
        if not number.isdecimal():
            raise ValueError(f"{path}, row {line}: study_id is {study_id!r}, expected a number like 50414267")
        overrides[number] = (*overrides.get(number, ()), _override(f"{path}, row {line}", *cells))
    return overrides


def _override(place: str, section: str, start: str, end: str, name: str) -> Override:
    name = name.lower() or "findings"
    if section and not start and not end:
        return Override(section=section.lower(), name=name)
    if not section and start.isdecimal() and end.isdecimal() and int(start) <= int(end):
        return Override(start=int(start), end=int(end), name=name)
    raise ValueError(
        f"{place}: section {section!r}, start {start!r}, end {end!r}; expected either a section alone "
        "(renamed) or start and end alone, two numbers with start <= end (cut by position)"
    )


def apply_overrides(report: str, sections: dict[str, str], overrides: Iterable[Override]) -> dict[str, str]:
    """Correct a report's sections.

    Args:
        report: the raw text, for cuts by position.
        sections: name -> text as `split_sections` gives them; left as they are.
        overrides: corrections, applied in order.

    Returns:
        The corrected sections.

    Raises:
        ValueError: if a correction names a section or a position that the report lacks.

    >>> apply_overrides("", {"technique": "Clear lungs."}, [Override(section="technique")])
    {'findings': 'Clear lungs.'}
    """
    sections = dict(sections)
    for override in overrides:
        if override.section:
            if override.section not in sections:
                raise ValueError(f"an override renames section {override.section!r}, which the report lacks")
            text = sections.pop(override.section)
        else:
            if override.end > len(report):
                raise ValueError("an override cuts beyond the end of the report")
            text = report[override.start : override.end].strip()
        sections.pop(override.name, None)
        if text:
            sections[override.name] = text
    return sections
