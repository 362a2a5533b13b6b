"""Tables that are damaged, packed, or contradict themselves are read right, counted or refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from dataset_scripts.sources.base import ImageRecord, Skipped, Source
from dataset_scripts.sources.ctrate.source import CTRateSource
from dataset_scripts.sources.mimic.source import MimicSource
from dataset_scripts.sources.open_i import OpenISource
from dataset_scripts.sources.tables import read_source_table
from tests.made_up.ctrate import MadeUpVolume, ctrate_tree
from tests.made_up.mimic import mimic_tree, phantom_contents
from tests.made_up.open_i import open_i_tree, read_all

SPLIT, METADATA, CHEXPERT = (f"mimic-cxr-2.0.0-{name}.csv.gz" for name in ("split", "metadata", "chexpert"))
REPORTS, PROJECTIONS, GOLD = "indiana_reports.csv", "indiana_projections.csv", "gold_labels.csv"
CT_REPORTS = "dataset/radiology_text_reports/train_reports.csv"
CT_METADATA = "dataset/metadata/train_metadata.csv"
CT_LABELS = "dataset/multi_abnormality_labels/train_predicted_labels.csv"
CT_LISTED = "dataset/metadata/no_chest_train.txt"


def open_i(folder: Path) -> Source:
    return OpenISource(open_i_tree(folder, studies=6, size=8))


def mimic(folder: Path) -> Source:
    return MimicSource(mimic_tree(folder, phantom_contents()).root)


def ctrate(folder: Path) -> Source:
    return CTRateSource(ctrate_tree(folder, [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_2_a_1")]))


def read(source: Source) -> tuple[list[ImageRecord], list[Skipped]]:
    items = list(read_all(source))
    return (
        [item for item in items if isinstance(item, ImageRecord)],
        [item for item in items if isinstance(item, Skipped)],
    )


def edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    packed = path.suffix == ".gz"
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(gzip.compress(change(content)) if packed else change(content))


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[bytes], bytes]:
    """A change of a table's rows, the header apart."""

    def changed(content: bytes) -> bytes:
        header, *rows = content.decode().splitlines()
        return "\r\n".join([header, *change(rows), ""]).encode()

    return changed


MADE = {open_i: (REPORTS, PROJECTIONS, GOLD), mimic: (SPLIT, METADATA, CHEXPERT)}
MADE[ctrate] = (CT_REPORTS, CT_METADATA, CT_LABELS)
TABLES = [(make, name) for make, names in MADE.items() for name in names]
DAMAGE = {
    "cut off in a row": (lambda c: c[: c.rstrip().rindex(b",")], "cut off or damaged"),
    "cut off in a cell": (lambda c: c + b'"the lungs are', "cut off"),
    "another encoding": (lambda c: c + c.splitlines()[-1].replace(b",", b"\xe9,", 1) + b"\r\n", "UTF-8"),
    "UTF-16": (lambda c: c.decode().encode("utf-16"), "UTF-8"),
    "other columns": (lambda c: c.replace(b"d,", b"x,", 1).replace(b"VolumeName", b"Volume", 1), "lacks the"),
    "nothing": (lambda c: b"", "empty"),
    "one field more": (lambda c: c + b"," * 40 + b"\r\n", "cells"),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize(("make", "name"), TABLES, ids=[name for _, name in TABLES])
def test_a_damaged_table_is_refused_by_its_name(tmp_path: Path, make, name: str, how: str) -> None:
    source = make(tmp_path / "tree")
    change, reason = DAMAGE[how]
    if how == "other columns" and name == GOLD:
        reason, change = "lacks the", lambda c: c.replace(b"uid", b"id", 1)
    edit(tmp_path / "tree" / name, change)
    with pytest.raises(ValueError, match=f"{name}.* {reason}|{name}.*{reason}"):
        read(source)


@pytest.mark.parametrize(("make", "name"), TABLES, ids=[name for _, name in TABLES])
def test_packed_tables_and_a_byte_order_mark_change_nothing(tmp_path: Path, make, name: str) -> None:
    source = make(tmp_path / "tree")
    expected = read(source)
    path = tmp_path / "tree" / name
    edit(path, lambda content: b"\xef\xbb\xbf" + content)
    assert read(source) == expected
    path.write_bytes(path.read_bytes() if name.endswith(".gz") else gzip.compress(path.read_bytes()))
    assert read(source) == expected


def test_a_packed_table_that_broke_off_is_refused(tmp_path: Path) -> None:
    source = mimic(tmp_path / "tree")
    path = tmp_path / "tree" / SPLIT
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=f"{SPLIT} cannot be used"):
        read(source)


CASES = {
    # table, change of its rows, what is said about it
    "two reports of one uid": (
        open_i,
        REPORTS,
        lambda r: [*r, r[0].replace("See", "No")],
        "two different",
    ),
    "a uid without image": (open_i, REPORTS, lambda r: [*r, r[0].replace("1,", "99,", 1)], "has no image"),
    "an absolute file name": (open_i, PROJECTIONS, lambda r: [*r, "1,/etc/passwd,Frontal"], "leads outside"),
    "a file name above": (
        open_i,
        PROJECTIONS,
        lambda r: [*r, "1,../gold_labels.csv,Frontal"],
        "leads outside",
    ),
    "one with backslashes": (open_i, PROJECTIONS, lambda r: [*r, "1,..\\x.png,Frontal"], "leads outside"),
    "an image twice": (open_i, PROJECTIONS, lambda r: [*r, r[0]], "second row for this image"),
    "no uid": (open_i, PROJECTIONS, lambda r: [*r, "nan,x.png,Frontal"], "no uid"),
    "labels of nobody": (open_i, GOLD, lambda r: [*r, "77,1,0"], "unknown uid"),
    "metadata of no volume": (
        ctrate,
        CT_METADATA,
        lambda r: [*r, r[0].replace("train_1_a_1", "nan")],
        "names no",
    ),
    "metadata twice": (ctrate, CT_METADATA, lambda r: [*r, r[0] + "9"], "different row"),
    "labels of no volume": (ctrate, CT_LABELS, lambda r: [*r, r[0].replace("train_1_a_1", "x")], "names no"),
    "labels of no scan": (
        ctrate,
        CT_LABELS,
        lambda r: [*r, r[0].replace("n_1_a", "n_8_a")],
        "without report",
    ),
    "labels that differ": (ctrate, CT_LABELS, lambda r: [*r, r[0].replace(",1", ",0")], "labels differ"),
    "a report of no volume": (
        ctrate,
        CT_REPORTS,
        lambda r: [*r, r[0].replace("train_1_a_1", "")],
        "names no",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_row_that_leads_nowhere_is_counted(tmp_path: Path, case: str) -> None:
    make, name, change, reason = CASES[case]
    source = make(tmp_path / "tree")
    records, before = read(source)
    edit(tmp_path / "tree" / name, lines(change))
    kept, skipped = read(source)
    assert len(skipped) == len(before) + 1
    assert any(reason in item.reason for item in skipped)
    outside = [record.image for record in kept if record not in records]
    assert outside == []


REFUSED = {
    "a gold label of 7": (open_i, GOLD, lambda r: [r[0][:-1] + "7", *r[1:]], "has the label '7'"),
    "two rows of gold labels": (
        open_i,
        GOLD,
        lambda r: [*r, r[0][:-1] + "-1"],
        "two rows of different labels",
    ),
    "a label of 2 in CT-RATE": (ctrate, CT_LABELS, lambda r: [r[0][:-1] + "2", *r[1:]], "has the label '2'"),
    "a dicom_id with slashes": (
        mimic,
        SPLIT,
        lambda r: ["../" + r[0], *r[1:]],
        "expected the name of a file",
    ),
    "an absolute dicom_id": (mimic, SPLIT, lambda r: ["/" + r[0], *r[1:]], "expected the name of a file"),
    "a blank dicom_id": (mimic, SPLIT, lambda r: ["," + r[0].split(",", 1)[1], *r[1:]], "expected the name"),
    "an image twice": (mimic, SPLIT, lambda r: [*r, r[0]], "twice"),
    "an image of two patients": (
        mimic,
        METADATA,
        lambda r: [r[0].replace("10000032", "10000099"), *r[1:]],
        "subject_id 10000032 in the split table",
    ),
    "labels of another patient": (
        mimic,
        CHEXPERT,
        lambda r: [r[0].replace("10000032", "10000099"), *r[1:]],
        "of patient '10000099'",
    ),
    "a blank patient": (
        mimic,
        SPLIT,
        lambda r: [r[0].replace(",10000032", ","), *r[1:]],
        "expected 8 digits",
    ),
    "labels twice": (mimic, CHEXPERT, lambda r: [*r, r[0].replace("1.0", "0.0")], "two rows of different"),
    "a label of 3": (mimic, CHEXPERT, lambda r: [r[0].replace("1.0", "3.0"), *r[1:]], "has the label '3.0'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tables_that_contradict_themselves_are_refused(tmp_path: Path, case: str) -> None:
    make, name, change, reason = REFUSED[case]
    source = make(tmp_path / "tree")
    edit(tmp_path / "tree" / name, lines(change))
    with pytest.raises(ValueError, match=reason):
        read(source)


def test_a_list_of_another_encoding_is_refused(tmp_path: Path) -> None:
    source = ctrate(tmp_path / "tree")
    (tmp_path / "tree" / CT_LISTED).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"no_chest_train\.txt cannot be used"):
        read(source)


def test_cells_are_kept_as_they_are(tmp_path: Path) -> None:
    long = "x" * 300_000
    (tmp_path / "t.csv").write_text(f'a,b\n1,NA\n\n2,"x\0y"\n3,{long}\n4,"a ""b"" c" d\n', encoding="utf-8")
    table = read_source_table(tmp_path / "t.csv", ["b"])
    assert table["b"].tolist() == ["NA", "x\0y", long, 'a "b" c d']
    with pytest.raises(ValueError, match=r"nowhere\.csv cannot be used: No such file"):
        read_source_table(tmp_path / "nowhere.csv")
