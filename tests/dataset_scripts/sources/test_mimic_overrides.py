"""Overrides rename or cut sections, and say what is wrong with their file."""

from pathlib import Path

import pytest

from dataset_scripts.sources.mimic.overrides import Override, apply_overrides, read_overrides

REPORT = " TECHNIQUE:  The lungs are clear.\n FINDINGS:  See above.\n"
SECTIONS = {"technique": "The lungs are clear.", "findings": "See above."}


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(("study_id,section,start,end,name", *rows)) + "\n")
    return path


def test_a_file_of_renamings_and_cuts_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", "s50000001,Technique,,,", "50000002,,3,10,Impression", "50000002,,0,0,")
    assert read_overrides(path) == {
        "50000001": (Override(section="technique"),),
        "50000002": (Override(start=3, end=10, name="impression"), Override()),
    }


def test_a_renamed_section_takes_the_place_of_the_old_one() -> None:
    assert apply_overrides(REPORT, SECTIONS, [Override(section="technique")]) == {
        "findings": "The lungs are clear."
    }
    assert SECTIONS["findings"] == "See above."


def test_a_cut_takes_the_characters_of_the_raw_report_and_an_empty_one_drops_the_section() -> None:
    start = REPORT.index("The lungs")
    cut = Override(start=start, end=start + 20, name="impression")
    assert apply_overrides(REPORT, SECTIONS, [cut])["impression"] == "The lungs are clear."
    assert apply_overrides(REPORT, SECTIONS, [Override()]) == {"technique": "The lungs are clear."}


def test_an_override_that_does_not_fit_the_report_is_refused() -> None:
    with pytest.raises(ValueError, match="'note', which the report lacks"):
        apply_overrides(REPORT, SECTIONS, [Override(section="note")])
    with pytest.raises(ValueError, match="beyond the end"):
        apply_overrides(REPORT, SECTIONS, [Override(start=0, end=1000)])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("50000001,findings,3,10,", "row 2.*either a section alone"),
        ("50000001,,10,3,", "start <= end"),
        ("50000001,,,,", "either a section alone"),
        ("p1,findings,,,", "study_id is 'p1'"),
    ],
)
def test_a_row_that_is_neither_is_refused_with_its_place(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_overrides(write(tmp_path / "o.csv", row))


def test_a_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("study,start,end\n")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) study_id, section, name"):
        read_overrides(tmp_path / "o.csv")
    with pytest.raises(ValueError, match="an overrides file"):
        read_overrides(tmp_path)
