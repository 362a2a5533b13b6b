import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.sources.base import ImageRecord, Sharing, Skipped
from dataset_scripts.sources.ctrate import source as ctrate
from dataset_scripts.sources.ctrate.source import LABEL_ANATOMIES, CTRateSource
from dataset_scripts.sources.ctrate.tables import VolumeName
from tests.made_up.ctrate import (
    FINDINGS,
    IMPRESSION,
    MadeUpVolume,
    a_scan,
    ctrate_tree,
    read,
    region_table,
)
from tests.made_up.open_i import read_all

# ---- records and text


def test_a_scan_is_one_record_with_its_report_labels_and_split(tmp_path: Path) -> None:
    names = ("train_1_a_1", "train_1_a_2", "train_1_b_1", "valid_7_a_1")
    records, reasons = read(ctrate_tree(tmp_path, [MadeUpVolume(name) for name in names]))
    assert list(records) == ["train_1_a_1", "train_1_b_1", "valid_7_a_1"]
    assert reasons == {"train_1_a_2": "another reconstruction of the scan is taken"}
    record = records["train_1_b_1"]
    assert (record.study_id, record.subject_id, record.split) == ("train_1_b", "train_1", "train")
    assert (record.findings, record.impression, record.view) == (FINDINGS, IMPRESSION, "ct")
    assert record.report == f"FINDINGS: {FINDINGS}\nIMPRESSION: {IMPRESSION}"
    assert record.labels == {"Cardiomegaly": 1, "Pleural effusion": 1}
    assert Path(str(record.image)).is_absolute()
    assert records["valid_7_a_1"].split == "test"  # CT-RATE has no other official test split


def test_all_reconstructions_are_images_of_one_study_on_request(tmp_path: Path) -> None:
    names = ("train_1_a_1", "train_1_a_2", "train_1_a_10")
    tree = ctrate_tree(tmp_path, [MadeUpVolume(name) for name in names])
    records, reasons = read(tree, reconstructions="all")
    assert tuple(records) == names
    assert not reasons
    assert {record.study_id for record in records.values()} == {"train_1_a"}


def test_the_dataset_folder_itself_is_a_source_too(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path)
    assert read(tree / "dataset") == read(tree)


def test_a_placeholder_is_no_findings_section(tmp_path: Path) -> None:
    tree = ctrate_tree(
        tmp_path,
        [
            MadeUpVolume("train_1_a_1", findings="Not given."),
            MadeUpVolume("train_2_a_1", findings="not given", impression="Not given."),
        ],
    )
    records, reasons = read(tree)
    assert not records
    assert set(reasons.values()) == {"the report has no findings section"}
    records, reasons = read(tree, fallback="impression")
    assert {name: record.findings for name, record in records.items()} == {"train_1_a_1": IMPRESSION}
    assert records["train_1_a_1"].report == f"IMPRESSION: {IMPRESSION}"
    assert reasons == {"train_2_a_1": "the report has neither findings nor impression"}


def test_a_placeholder_row_takes_the_text_of_its_scan(tmp_path: Path) -> None:
    volumes = [MadeUpVolume("train_1_a_1", findings="Not given."), MadeUpVolume("train_1_a_2")]
    records, _ = read(ctrate_tree(tmp_path, volumes))
    assert records["train_1_a_1"].findings == FINDINGS


def test_a_reconstruction_with_another_report_is_quarantined(tmp_path: Path) -> None:
    volumes = [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_1_a_2", findings="The lungs are clear.")]
    records, reasons = read(ctrate_tree(tmp_path, volumes), reconstructions="all")
    assert list(records) == ["train_1_a_1"]
    assert reasons == {"train_1_a_2": "its report differs from that of another reconstruction of the scan"}


def test_labels_name_anatomies_that_mining_finds_for_them() -> None:
    miner = FindingsMiner()
    for label, anatomy in LABEL_ANATOMIES.items():
        assert default_ontology().resolve(anatomy) == anatomy
        if label != "Medical material":  # no report says it in these words
            assert anatomy in miner.mine(f"{label} is observed.")


def test_labels_of_the_shared_reports_are_the_ones_known_here(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "ct-reports" / "reports.csv", nrows=1)
    assert set(table.columns) - {"report_id", "findings"} == set(LABEL_ANATOMIES)


# ---- tables and options


@pytest.mark.parametrize("name", ["metadata/train_metadata.csv", "metadata/no_chest_train.txt"])
def test_a_missing_table_is_named(tmp_path: Path, name: str) -> None:
    tree, _ = a_scan(tmp_path)
    (tree / "dataset" / name).unlink()
    with pytest.raises(ValueError, match=Path(name).name):
        list(CTRateSource(tree).jobs())


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path)
    path = tree / "dataset" / "radiology_text_reports" / "train_reports.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Findings_EN", "Findings"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) Findings_EN"):
        list(CTRateSource(tree).jobs())


def test_a_copy_of_one_split_is_enough_and_the_other_is_listed(tmp_path: Path) -> None:
    tree = ctrate_tree(tmp_path, [MadeUpVolume("train_1_a_1"), MadeUpVolume("valid_1_a_1")])
    (tree / "dataset" / "radiology_text_reports" / "train_reports.csv").unlink()
    records, reasons = read(tree)
    assert list(records) == ["valid_1_a_1"]
    assert "train_reports.csv is missing" in reasons["train"]


def test_labels_are_optional(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path)
    (tree / "dataset" / "multi_abnormality_labels" / "train_predicted_labels.csv").unlink()
    assert read(tree)[0]["train_1_a_1"].labels == {}


def test_rows_that_lead_to_no_scan_are_listed(tmp_path: Path) -> None:
    tree = ctrate_tree(tmp_path, [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_2_a_1")])
    path = tree / "dataset" / "radiology_text_reports" / "train_reports.csv"
    text = path.read_text(encoding="utf-8").replace("train_2_a_1.nii.gz", "valid_2_a_1.nii.gz")
    path.write_text(text, encoding="utf-8")
    records, reasons = read(tree)
    assert list(records) == ["train_1_a_1"]
    assert reasons["train_2_a_1"] == "the scan has no report"
    assert "names no volume of its own" in reasons["valid_2_a_1.nii.gz"]


def test_choices_and_folders_are_checked(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path / "tree")
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tree": "v2"}, "auto, v1, fixed"),
        ({"reconstructions": "last"}, "first, all"),
        ({"fallback": "none of them"}, "none, impression"),
        ({"validation_percent": 60}, "from 0 to 50"),
        ({"radgenome": tmp_path / "absent.csv"}, "absent.csv is missing"),
    )
    for options, words in wrong:
        with pytest.raises(ValueError, match=words):
            CTRateSource(tree, **options)
    with pytest.raises(ValueError, match="no copy of CT-RATE"):
        CTRateSource(tmp_path)


def test_a_tree_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path, trees=("fixed",))
    with pytest.raises(ValueError, match=r"none of train, valid is there"):
        list(CTRateSource(tree, tree="v1").jobs())


def test_validation_is_taken_from_train_by_patient_and_only_on_request(tmp_path: Path) -> None:
    names = [f"{split}_{n}_{scan}_1" for split in ("train", "valid") for n in range(60) for scan in "ab"]
    tree = ctrate_tree(tmp_path, [MadeUpVolume(name, trees=()) for name in names])
    (tree / "dataset" / "train").mkdir()
    for percent, fewest, most in ((0, 0, 0), (25, 5, 25)):
        source = CTRateSource(tree, validation_percent=percent)
        jobs = [job for job in source.jobs() if not isinstance(job, Skipped)]
        splits: dict[str, set[str]] = {job.scan.subject: set() for job in jobs}
        for job in jobs:
            splits[job.scan.subject].add(job.split)
        assert all(len(found) == 1 for found in splits.values())
        assert all(found == {"test"} for subject, found in splits.items() if subject.startswith("valid"))
        assert fewest <= sum(found == {"validation"} for found in splits.values()) <= most


def test_source_and_jobs_travel_to_other_processes(tmp_path: Path) -> None:
    tree = ctrate_tree(tmp_path, [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_1_a_2")])
    source = CTRateSource(tree)
    sent, jobs = pickle.loads(pickle.dumps((source, list(source.jobs()))))
    assert [item for job in jobs for item in sent.read(job)] == list(read_all(source))


def test_jobs_touch_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, _ = a_scan(tmp_path)

    def refuse(_: Path) -> None:
        raise AssertionError("a volume was opened")

    monkeypatch.setattr(ctrate, "inspect_volume", refuse)
    assert len(list(CTRateSource(tree).jobs())) == 1


def test_the_source_says_that_it_is_not_to_be_shared() -> None:
    assert CTRateSource.sharing is Sharing.RESTRICTED
    assert CTRateSource.volumes


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train_1_a_2.nii.gz", ("train", "train_1", "train_1_a", 2)),
        (
            "dataset/valid_fixed/valid_9/valid_9_bc/valid_9_bc_11.nii.gz",
            ("valid", "valid_9", "valid_9_bc", 11),
        ),
        ("train_1_a", ("train", "train_1", "train_1_a", 0)),
    ],
)
def test_names_are_taken_apart(text: str, parts: tuple[str, str, str, int]) -> None:
    assert VolumeName.parse(text) == VolumeName(*parts)


@pytest.mark.parametrize("text", ["", "train_1", "test_1_a_1.nii.gz", "train_1_a_1.npz", "train_1_a_1_2"])
def test_other_names_are_none(text: str) -> None:
    assert VolumeName.parse(text) is None


# ---- RadGenome


def test_regional_sentences_arrive_with_their_scan(tmp_path: Path) -> None:
    volumes = [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_1_a_2"), MadeUpVolume("train_2_a_1")]
    tree = ctrate_tree(tmp_path, volumes)
    rows = [
        ("train_1_a_1.nii.gz", "heart", "It is enlarged."),
        ("train_1_a_1.nii.gz", "others", "Artefacts."),
        ("train_9_a_1.nii.gz", "lung", "Clear."),
    ]
    table = region_table(tmp_path / "train_region_report.csv", rows)
    items = list(read_all(CTRateSource(tree, radgenome=table, reconstructions="all")))
    records = [item for item in items if isinstance(item, ImageRecord)]
    assert [record.regional for record in records] == [{"heart": "It is enlarged."}] * 2 + [{}]
    assert records[0].findings == FINDINGS
    assert {item.reason for item in items if isinstance(item, Skipped)} == {
        "no anatomy of the ontology: 1 sentences of the region 'others'",
        "of a scan that the report tables lack: 1 region reports",
    }


def test_region_reports_of_other_scans_are_refused(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path)
    table = region_table(tmp_path / "a.csv", [("train_9_a_1.nii.gz", "lung", "Clear.")])
    with pytest.raises(ValueError, match=r"about no scan of .*: it names train_9_a"):
        list(CTRateSource(tree, radgenome=table).jobs())


def test_the_tables_are_named_so_that_a_change_of_them_is_seen(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path)
    table = region_table(
        tmp_path / "radgenome" / "train_region_report.csv", [("train_1_a_1", "lung", "Clear.")]
    )
    (tree / "dataset" / "multi_abnormality_labels" / "valid_predicted_labels.csv").unlink()
    assert len(CTRateSource(tree).tables()) == 7
    tables = CTRateSource(tree, radgenome=table.parent).tables()
    assert len(set(tables)) == 8
    assert all(path.is_file() for path in tables)
    assert table in tables
