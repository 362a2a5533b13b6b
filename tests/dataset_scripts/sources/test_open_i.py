from pathlib import Path

import pandas as pd
import pytest

from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.sources.base import ImageRecord, Skipped, skip_counts
from dataset_scripts.sources.open_i import OpenISource
from tests.made_up.open_i import open_i_tree, read_all


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return open_i_tree(tmp_path / "open-i", studies=12)


def read(tree: Path, **options: str) -> tuple[list[ImageRecord], dict[str, int]]:
    items = list(read_all(OpenISource(tree, **options)))
    records = [item for item in items if isinstance(item, ImageRecord)]
    return records, skip_counts(item for item in items if isinstance(item, Skipped))


def test_frontal_views_by_default_and_lateral_ones_are_listed(tree: Path) -> None:
    records, skips = read(tree)
    assert [record.study_id for record in records] == [str(uid) for uid in range(1, 13)]
    assert {record.view for record in records} == {"frontal"}
    assert skips == {"projection is lateral, not frontal": 6}


def test_gold_labels_come_along(tree: Path) -> None:
    records, _ = read(tree)
    assert records[0].labels == {"Cardiomegaly": 1, "Effusion": 0}


def test_mesh_terms_that_enough_reports_have_come_along(tree: Path) -> None:
    cells = {str(uid): "Opacity/lung/base/left;Opacity/lung/apex;Cardiomegaly" for uid in range(1, 11)}
    cells |= {"11": "normal", "12": "No Indexing"}
    path = tree / "indiana_reports.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["MeSH"] = [cells[uid] for uid in table["uid"]]
    table.loc[table["uid"] == "1", "MeSH"] = "Opacity;Nodule"
    table.to_csv(path, index=False)
    records, _ = read(tree)
    found = {record.study_id: record.labels for record in records}
    assert found["2"] == {"Cardiomegaly": found["2"]["Cardiomegaly"], "Effusion": 0, "MeSH: Opacity": 1}
    assert found["11"]["MeSH: Opacity"] == 0
    assert "MeSH: Opacity" not in found["12"]
    table.drop(columns="MeSH").to_csv(path, index=False)
    assert all(len(record.labels) == 2 for record in read(tree)[0])


def test_labels_name_anatomies_of_the_ontology() -> None:
    assert set(OpenISource.label_anatomies.values()) <= {anatomy.name for anatomy in default_ontology()}


def test_unreadable_and_missing_images_are_skipped_with_their_reason(tree: Path) -> None:
    images = sorted((tree / "images").glob("*F001*"))
    images[0].write_bytes(b"no jpeg")
    images[1].unlink()
    images[2].write_bytes(images[2].read_bytes()[:200])
    records, skips = read(tree)
    assert len(records) == 9
    assert skips["the image file is unreadable"] == 2
    assert skips["the image file is missing"] == 1


def test_a_report_without_findings_is_skipped(tree: Path) -> None:
    path = tree / "indiana_reports.csv"
    path.write_text(
        path.read_text().replace("Mild cardiomegaly. No left pleural effusion. The lungs are clear.", " ")
    )
    records, skips = read(tree)
    assert "1" not in {record.study_id for record in records}
    assert skips["the report has no findings section"] == 1


@pytest.mark.parametrize("name", ["indiana_reports.csv", "indiana_projections.csv"])
def test_a_missing_file_is_named(tree: Path, name: str) -> None:
    (tree / name).unlink()
    with pytest.raises(ValueError, match=name):
        read(tree)


def test_a_missing_column_is_named(tree: Path) -> None:
    path = tree / "indiana_reports.csv"
    path.write_text(path.read_text().replace("findings,", "finding,", 1))
    with pytest.raises(ValueError, match=r"lacks the column\(s\) findings"):
        read(tree)


def test_an_unknown_view_is_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match="frontal, lateral, all"):
        OpenISource(tree, views="oblique")
