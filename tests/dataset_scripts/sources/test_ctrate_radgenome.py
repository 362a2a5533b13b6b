from pathlib import Path

import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.sources.base import Skipped
from dataset_scripts.sources.ctrate.radgenome import read_region_reports
from tests.made_up.ctrate import region_table

ROWS = [
    ("train_1_a_1.nii.gz", "lung", "Nodule of 4 mm in the left upper lobe."),
    ("train_1_a_1.nii.gz", "heart", "Size is normal"),
    ("train_1_a_1.nii.gz", "lung", "No consolidation."),
    ("train_1_a_1.nii.gz", "trachea and bronchie", "Trachea is open."),
    ("train_1_a_1.nii.gz", "", "Correlation with clinic is recommended."),
    ("train_1_a_1.nii.gz", "others", "Image quality is limited."),
    ("train_2_b_1.nii.gz", "thyroid", "Nodules are seen."),
    ("train_2_b_1.nii.gz", "bone", ""),
]
REGIONS = (
    "abdomen",
    "bone",
    "breast",
    "esophagus",
    "heart",
    "lung",
    "mediastinum",
    "pleura",
    "thyroid",
    "trachea and bronchie",
)  # RadGenome's ten


def test_sentences_come_by_scan_and_anatomy_in_their_order(tmp_path: Path) -> None:
    reports = read_region_reports(region_table(tmp_path / "train_region_report.csv", ROWS))
    assert reports.by_scan == {
        "train_1_a": {
            "lungs": "Nodule of 4 mm in the left upper lobe. No consolidation.",
            "heart": "Size is normal.",
            "airway": "Trachea is open.",
        },
        "train_2_b": {"thyroid": "Nodules are seen."},
    }


def test_what_is_tied_to_no_anatomy_is_counted(tmp_path: Path) -> None:
    rows = [*ROWS, ("train_3_a_1.nii.gz", "Others", "Motion artefacts."), ("scan 7", "lung", "Clear.")]
    reports = read_region_reports(region_table(tmp_path / "train_region_report.csv", rows))
    assert (reports.unknown, reports.untied, reports.unnamed) == ({"others": 2}, 1, 1)
    assert list(reports.skipped()) == [
        Skipped("radgenome: others", "no anatomy of the ontology: 2 sentences of the region 'others'"),
        Skipped("radgenome", "tied to no region: 1 sentences"),
        Skipped("radgenome", "of no CT-RATE volume: 1 sentences"),
    ]


def test_all_regions_of_radgenome_are_anatomies(tmp_path: Path) -> None:
    rows = [("train_1_a_1.nii.gz", region, "Normal.") for region in REGIONS]
    reports = read_region_reports(region_table(tmp_path / "a.csv", rows))
    assert not reports.unknown
    assert len(reports.by_scan["train_1_a"]) == len(REGIONS)
    assert set(reports.by_scan["train_1_a"]) <= set(default_ontology().names)


def test_mining_takes_the_sentences_apart_again(tmp_path: Path) -> None:
    reports = read_region_reports(region_table(tmp_path / "a.csv", ROWS))
    found = FindingsMiner().mine_regional(reports.by_scan["train_1_a"])
    assert found["heart"] == "Size is normal."  # by the tie alone: the sentence names no anatomy
    assert found["trachea"] == "Trachea is open."
    assert "bronchi" not in found
    assert found["left upper lobe"] == "Nodule of 4 mm in the left upper lobe."
    assert "recommended" not in " ".join(found.values())


def test_a_sentence_of_several_reconstructions_counts_once(tmp_path: Path) -> None:
    rows = [(f"train_1_a_{number}.nii.gz", "lung", "Clear.") for number in (1, 2)]
    assert read_region_reports(region_table(tmp_path / "a.csv", rows)).by_scan == {
        "train_1_a": {"lungs": "Clear."}
    }


@pytest.mark.parametrize("place", ["", "radgenome_files", "dataset/radgenome_files"])
def test_a_folder_gives_the_tables_of_both_splits(tmp_path: Path, place: str) -> None:
    region_table(tmp_path / place / "train_region_report.csv", ROWS)
    rows = [("valid_1_a_1.nii.gz", "lung", "Clear.")]
    region_table(tmp_path / place / "validation_region_report.csv", rows)
    (tmp_path / place / "train_vqa_size.csv").write_text("Volumename,Question\n", encoding="utf-8")
    assert list(read_region_reports(tmp_path).by_scan) == ["train_1_a", "train_2_b", "valid_1_a"]


def test_column_names_may_be_written_in_any_case_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = region_table(tmp_path / "a.csv", ROWS)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Volumename,Anatomy", "VolumeName, anatomy", 1), encoding="utf-8")
    assert len(read_region_reports(path).by_scan) == 2
    path.write_text(text.replace("Anatomy", "Region", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"lacks the column\(s\) anatomy"):
        read_region_reports(path)


def test_a_folder_without_region_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no region reports"):
        read_region_reports(tmp_path)
