"""MIMIC-IR's texts: files, zip and the official CSV give the same, with fallbacks and overrides."""

import csv
import gzip
import io
from pathlib import Path

import pytest

from dataset_scripts.sources.mimic import source as mimic
from dataset_scripts.sources.mimic.source import MimicSource
from tests.made_up.mimic import (
    DEFECTS,
    NO_TEXT,
    USABLE,
    Content,
    MimicTree,
    enough_contents,
    mimic_tree,
    phantom_contents,
    plain,
    read_images,
    wrapped,
)


@pytest.fixture(scope="module", params=[pytest.param("open-i", marks=pytest.mark.shared), "phantoms"])
def contents(request: pytest.FixtureRequest) -> list[Content]:
    shared = request.getfixturevalue("shared_data") if request.param == "open-i" else None
    return enough_contents(shared)


@pytest.mark.parametrize("place", ["zip in the root", "zip by name", "folder", "zip elsewhere"])
def test_reports_are_found_in_a_zip_and_beside_the_images(tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "cxr" if place in ("folder", "zip elsewhere", "zip by name") else None
    tree = mimic_tree(tmp_path / "jpg", phantom_contents(), reports=elsewhere, zipped=place != "folder")
    path = {"zip in the root": None, "zip by name": tree.reports / "mimic-cxr-reports.zip"}.get(
        place, elsewhere
    )
    records, reasons = read_images(MimicSource(tree.root, reports=path))
    assert list(records) == [tree.frontal[case] for case in USABLE]
    assert {case: reasons[tree.frontal[case]] for case in DEFECTS} == DEFECTS


def write_sectioned(path: Path, tree: MimicTree) -> Path:
    """Write by hand what the official code makes of the reports: the rows of `tree` that it would have."""
    rule = f"\n {'_' * 78}\n ADDENDUM\n \n Discussed with Dr. ___ by telephone."
    rows = []
    for case, content in tree.contents.items():
        findings, impression, last = "", "", ""
        bodies = [text.lstrip(" ") for text in (wrapped(content.findings), wrapped(content.impression))]
        if case not in ("missing report", "empty report", "no headings", "impression only", "last paragraph"):
            findings, impression = bodies
        if case == "addendum":
            impression += rule
        if case == "addendum inside":
            findings, impression = findings + rule, content.impression[:50].strip()
        if case in ("impression only", "test without findings"):
            findings, impression = "", bodies[1]
        if case in ("last paragraph", "no headings"):
            last = bodies[0]
        if case != "missing report":
            rows.append((f"s{tree.study[case]}", impression, findings, last, "___ at 10:22."))
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("study", "impression", "findings", "last_paragraph", "comparison"), *rows])
    encoded = text.getvalue().encode()
    path.write_bytes(gzip.compress(encoded) if path.suffix == ".gz" else encoded)
    return path


@pytest.mark.parametrize("name", ["mimic_cxr_sectioned.csv", "mimic_cxr_sectioned.csv.gz"])
@pytest.mark.parametrize("fallback", ["none", "impression", "last-paragraph"])
def test_raw_reports_and_the_official_csv_give_the_same_texts(
    tmp_path: Path, contents: list[Content], name: str, fallback: str
) -> None:
    tree = mimic_tree(tmp_path / "jpg", iter(contents), reports=tmp_path / "cxr")
    path = write_sectioned(tmp_path / name, tree)
    raw, raw_reasons = read_images(MimicSource(tree.root, reports=tree.reports, fallback=fallback))
    cut, cut_reasons = read_images(MimicSource(tree.root, reports=path, fallback=fallback))
    texts = [{key: (item.findings, item.impression) for key, item in seen.items()} for seen in (raw, cut)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(USABLE) + {"none": 0, "impression": 2, "last-paragraph": 4}[fallback]
    assert cut_reasons.pop(tree.frontal["missing report"]) == mimic.NOT_SECTIONED
    assert "54" in mimic.NOT_SECTIONED
    raw_reasons.pop(tree.frontal["missing report"])
    assert raw_reasons.pop(tree.frontal["empty report"]) == mimic.EMPTY_REPORT
    assert cut_reasons.pop(tree.frontal["empty report"]) in mimic._NO_TEXT.values()
    assert raw_reasons == cut_reasons


def test_a_csv_in_the_root_is_taken_where_files_holds_images_only(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path / "jpg", phantom_contents(), reports=tmp_path / "cxr")
    with pytest.raises(ValueError, match=r"no reports found.*--reports"):
        read_images(MimicSource(tree.root))
    write_sectioned(tree.root / "mimic_cxr_sectioned.csv", tree)
    records, _ = read_images(MimicSource(tree.root))
    assert list(records) == [tree.frontal[case] for case in USABLE]


def test_a_fallback_mines_what_it_names_and_says_what_was_missing(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    records, reasons = read_images(MimicSource(tree.root, fallback="impression"))
    record = records[tree.frontal["impression only"]]
    assert record.findings == record.impression
    assert plain(record.findings) == plain(tree.contents["impression only"].impression)
    assert reasons[tree.frontal["last paragraph"]] == "the report has neither findings nor impression"
    assert tree.frontal["test without findings"] in records
    records, _ = read_images(MimicSource(tree.root, fallback="last-paragraph"))
    for case in ("last paragraph", "no headings"):
        assert plain(records[tree.frontal[case]].findings) == plain(tree.contents[case].findings)


def test_overrides_mend_reports_that_the_parser_gets_wrong(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    text = tree.text["no headings"]
    start = text.index("Portable")
    rows = [
        f"s{tree.study['impression only']},impression,,,findings",
        f"{tree.study['no headings']},,{start},{start + 15},",
        f"{tree.study['usual']},,0,0,findings",
        f"{tree.study['portable']},technique,,,findings",
    ]
    path = tmp_path / "overrides.csv"
    path.write_text("study_id,section,start,end,name\n" + "\n".join(rows) + "\n")
    records, reasons = read_images(MimicSource(tree.root, overrides=path))
    renamed = records[tree.frontal["impression only"]]
    assert plain(renamed.findings) == plain(tree.contents["impression only"].impression)
    assert renamed.impression == ""
    assert records[tree.frontal["no headings"]].findings == "Portable chest."
    assert reasons[tree.frontal["usual"]] == NO_TEXT
    assert "renames section 'technique', which the report lacks" in reasons[tree.frontal["portable"]]
    sectioned = write_sectioned(tmp_path / "mimic_cxr_sectioned.csv", tree)
    with pytest.raises(ValueError, match="overrides need raw reports"):
        read_images(MimicSource(tree.root, reports=sectioned, overrides=path))


def test_a_broken_zip_is_refused_and_a_broken_member_is_counted(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents(), zipped=True)
    path = tree.root / "mimic-cxr-reports.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="broke off while downloading"):
        read_images(MimicSource(tree.root))
    copy = tmp_path / "copy.zip"
    name = f"{tree.folder('usual')}.txt".encode()
    start = whole.index(name) + len(name)
    copy.write_bytes(whole[:start] + bytes(20) + whole[start + 20 :])
    records, reasons = read_images(MimicSource(tree.root, reports=copy))
    assert reasons[tree.frontal["usual"]] == mimic.UNREADABLE_REPORT
    assert len(records) == len(USABLE) - 1
