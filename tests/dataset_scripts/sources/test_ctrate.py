import dataclasses
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.sources.base import Geometry, ImageRecord
from dataset_scripts.sources.nifti_headers import inspect_volume
from modeling_radir.volumes import read_volume
from tests.made_up.ctrate import (
    FINDINGS,
    MadeUpVolume,
    a_scan,
    chest,
    ctrate_tree,
    read,
    save_nan_volume,
    save_volume,
    truncate,
)


def hu(record: ImageRecord) -> np.ndarray:
    assert isinstance(record.image, str) and record.geometry is not None
    return read_volume(record.image, **dataclasses.asdict(record.geometry)).hu


# ---- geometry, exactly once


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -8192), (2, -8192)])
def test_both_releases_of_a_volume_give_the_same_hu(tmp_path: Path, slope: int, intercept: int) -> None:
    tree, volume = a_scan(tmp_path, slope=slope, intercept=intercept, hu=chest() // 2 * 2)
    first, fixed = (read(tree, tree=name)[0]["train_1_a_1"] for name in ("v1", "fixed"))
    assert first.geometry == Geometry((3.0, 0.75, 0.75), slope, intercept)
    assert fixed.geometry == Geometry((3.0, 0.75, 0.75), 1.0, 0.0)  # the table's scale does not touch it
    assert first.image != fixed.image
    np.testing.assert_array_equal(hu(first), volume.hu)
    np.testing.assert_array_equal(hu(fixed), volume.hu)


def test_auto_takes_the_fixed_volume_where_it_is_there(tmp_path: Path) -> None:
    volumes = [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_2_a_1", trees=("v1",), intercept=-8192)]
    tree = ctrate_tree(tmp_path, volumes)
    records, _ = read(tree)
    assert records["train_1_a_1"].geometry == Geometry((3.0, 0.75, 0.75))
    assert records["train_2_a_1"].geometry == Geometry((3.0, 0.75, 0.75), 1.0, -8192.0)
    assert [hu(record).tolist() for record in records.values()] == [volumes[0].hu.tolist()] * 2


def test_a_fixed_volume_in_a_tree_of_the_first_release_is_not_scaled_again(tmp_path: Path) -> None:
    tree, volume = a_scan(tmp_path, trees=("v1",))
    save_volume(volume, volume.path(tree / "dataset", "v1"), fixed=True)
    records, reasons = read(tree)
    assert not records
    assert "already has the metadata's spacing" in reasons["train_1_a_1"]
    assert "rename train to train_fixed" in reasons["train_1_a_1"]


def test_a_blank_header_in_a_fixed_tree_is_quarantined(tmp_path: Path) -> None:
    tree, volume = a_scan(tmp_path, trees=("fixed",))
    save_volume(volume, volume.path(tree / "dataset", "fixed"), fixed=False)
    _, reasons = read(tree)
    assert "header 1 x 1 x 1, metadata 3 x 0.75 x 0.75 mm; a blank header" in reasons["train_1_a_1"]


@pytest.mark.parametrize("release", ["v1", "fixed"])
def test_a_spacing_that_contradicts_the_metadata_is_quarantined_with_both(
    tmp_path: Path, release: str
) -> None:
    tree, volume = a_scan(tmp_path, metadata={"XYSpacing": "[0.34, 0.34]"})
    save_volume(volume, volume.path(tree / "dataset", release), fixed=True)
    _, reasons = read(tree, tree=release)
    assert "header 3 x 0.75 x 0.75, metadata 3 x 0.34 x 0.34 mm" in reasons["train_1_a_1"]


def test_a_header_with_another_scale_than_the_metadata_is_quarantined(tmp_path: Path) -> None:
    tree, volume = a_scan(tmp_path, trees=("v1",))
    path = volume.path(tree / "dataset", "v1")
    content = bytearray(gzip.decompress(path.read_bytes()))
    for intercept, taken in ((-1024, True), (-8192, False)):
        content[112:120] = np.array([1, intercept], dtype="<f4").tobytes()  # scl_slope, scl_inter
        path.write_bytes(gzip.compress(bytes(content)))
        records, reasons = read(tree)
        assert bool(records) is taken
        if taken:
            np.testing.assert_array_equal(hu(records["train_1_a_1"]), volume.hu)
        else:
            assert "the scale: header (1.0, -8192.0), metadata (1.0, -1024.0)" in reasons["train_1_a_1"]


def test_spacing_that_differs_by_rounding_passes(tmp_path: Path) -> None:
    tree, _ = a_scan(tmp_path, metadata={"XYSpacing": "[0.75001,0.7499]", "ZSpacing": "2.9995"})
    assert list(read(tree, tree="fixed")[0]) == ["train_1_a_1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"XYSpacing": ""}, "no usable spacing: XYSpacing ''"),
        ({"XYSpacing": "[0.7]"}, "no usable spacing"),
        ({"XYSpacing": "[-0.7, 0.7]"}, "no usable spacing"),
        ({"ZSpacing": "nan"}, "no usable spacing"),
        ({"ZSpacing": "0"}, "ZSpacing '0'"),
        ({"RescaleSlope": "one"}, "no usable scale: RescaleSlope 'one'"),
        ({"RescaleSlope": "0"}, "no usable scale"),
        ({"RescaleIntercept": ""}, "RescaleIntercept ''"),
    ],
)
def test_metadata_that_cannot_be_are_a_reason_only_where_they_are_needed(
    tmp_path: Path, change: dict[str, str], words: str
) -> None:
    tree, _ = a_scan(tmp_path, metadata=change)
    records, reasons = read(tree, tree="v1")
    assert not records
    assert words in reasons["train_1_a_1"]
    assert list(read(tree, tree="fixed")[0]) == ["train_1_a_1"]  # its header says all


def test_a_volume_without_metadata_is_read_only_if_its_header_says_all(tmp_path: Path) -> None:
    tree, volume = a_scan(tmp_path, in_metadata=False)
    assert "no row" in read(tree, tree="v1")[1]["train_1_a_1"]
    assert list(read(tree, tree="fixed")[0]) == ["train_1_a_1"]
    save_volume(volume, volume.path(tree / "dataset", "fixed"), fixed=False)
    assert "neither header nor metadata" in read(tree, tree="fixed")[1]["train_1_a_1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"NumberofSlices": "300"}, "the slices: 10 and 300"), ({"Rows": "512"}, "16 x 20 and 512 x 20")],
)
@pytest.mark.parametrize("release", ["v1", "fixed"])
def test_another_number_of_slices_or_another_matrix_is_quarantined(
    tmp_path: Path, change: dict[str, str], words: str, release: str
) -> None:
    tree, _ = a_scan(tmp_path, metadata=change)
    assert words in read(tree, tree=release)[1]["train_1_a_1"]


# ---- quarantine


def test_defective_volumes_give_way_to_the_next_reconstruction_and_are_listed(tmp_path: Path) -> None:
    volumes = [MadeUpVolume(f"train_{scan}_a_{number}") for scan in (1, 2, 3) for number in (1, 2)]
    tree = ctrate_tree(tmp_path, volumes, no_chest=("train/train_3/train_3_a/train_3_a_1.nii.gz",))
    save_nan_volume(volumes[0], volumes[0].path(tree / "dataset", "fixed"))
    truncate(volumes[2].path(tree / "dataset", "fixed"))
    records, reasons = read(tree)
    assert list(records) == ["train_1_a_2", "train_2_a_2", "train_3_a_2"]
    assert reasons["train_1_a_1"] == "the volume holds NaN or infinite values"
    assert "truncated or damaged" in reasons["train_2_a_1"]
    assert reasons["train_3_a_1"] == "listed in no_chest_train.txt as another body part"


def test_a_scan_without_a_usable_volume_gives_no_record(tmp_path: Path) -> None:
    volumes = [MadeUpVolume("train_1_a_1", trees=()), MadeUpVolume("train_2_a_1")]
    records, reasons = read(ctrate_tree(tmp_path, volumes))
    assert list(records) == ["train_2_a_1"]
    assert reasons == {"train_1_a_1": "the volume is not in this copy"}


@pytest.mark.parametrize("line", ["train_1_a_1.nii.gz", "train_1_a_1", "train_1_a", "  train\\train_1_a_1 "])
def test_a_volume_of_another_body_part_is_left_out_however_it_is_listed(tmp_path: Path, line: str) -> None:
    tree = ctrate_tree(tmp_path, [MadeUpVolume("train_1_a_1"), MadeUpVolume("train_11_a_1")], (line,))
    assert list(read(tree)[0]) == ["train_11_a_1"]


def test_a_line_that_names_no_volume_is_reported(tmp_path: Path) -> None:
    tree = ctrate_tree(tmp_path, [MadeUpVolume("train_1_a_1")], ("train scans without a chest",))
    assert "names no volume" in read(tree)[1]["train scans without a chest"]


def test_every_volume_of_the_tables_is_a_record_or_listed_once(tmp_path: Path) -> None:
    volumes = [
        MadeUpVolume(
            f"{split}_{patient}_{scan}_{number}",
            findings="Not given." if patient == 2 else FINDINGS,
            trees=() if (patient, number) == (3, 1) else ("fixed",),
        )
        for split in ("train", "valid")
        for patient in (1, 2, 3)
        for scan in "ab"
        for number in (1, 2)
    ]
    records, reasons = read(ctrate_tree(tmp_path, volumes, no_chest=("valid_1_a_1.nii.gz",)))
    assert {*records, *reasons} == {volume.name for volume in volumes}
    assert len({record.study_id for record in records.values()}) == len(records) == 8
    assert Counter(reasons.values()) == {
        "the report has no findings section": 8,
        "the volume is not in this copy": 4,
        "another reconstruction of the scan is taken": 3,
        "listed in no_chest_valid.txt as another body part": 1,
    }


def test_links_of_a_download_cache_are_not_followed_to_nameless_files(tmp_path: Path) -> None:
    tree, volume = a_scan(tmp_path, trees=("fixed",))
    path = volume.path(tree / "dataset", "fixed")
    path.rename(tmp_path / "5e6f7a")
    path.symlink_to(tmp_path / "5e6f7a")
    records, _ = read(tree)
    np.testing.assert_array_equal(hu(records["train_1_a_1"]), volume.hu)


# ---- real volumes and reports


def test_real_volumes_in_both_releases_give_the_same_hu(shared_data: Path, tmp_path: Path) -> None:
    texts = pd.read_csv(shared_data / "ct-reports" / "reports.csv")["findings"]
    volumes = []
    for number, path in enumerate(sorted((shared_data / "ct-volumes").glob("*.nii.gz"))):
        header = inspect_volume(path)
        assert read_volume(path).spacing_mm == header.spacing_mm
        values = read_volume(path).hu[:, ::2, ::2]
        volumes.append(
            MadeUpVolume(
                f"train_{number}_a_1",
                values,
                (4.0, 4.0, 4.0),
                (-1024, -8192)[number % 2],
                findings=texts[number],
            )
        )
    tree = ctrate_tree(tmp_path, volumes)
    for release in ("v1", "fixed"):
        records, reasons = read(tree, tree=release)
        assert not reasons
        for volume, record in zip(volumes, records.values(), strict=True):
            assert record.geometry is not None
            assert record.geometry.spacing_mm == (4.0, 4.0, 4.0)
            np.testing.assert_array_equal(hu(record), volume.hu)
            assert FindingsMiner().mine(record.findings)
