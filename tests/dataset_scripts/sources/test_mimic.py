"""MIMIC-IR from a made-up tree with MIMIC-CXR's names, headings, line breaks and defects."""

import gzip
import io
import itertools
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.sources.base import Sharing, Skipped, skip_counts
from dataset_scripts.sources.mimic import source as mimic
from dataset_scripts.sources.mimic.source import LABEL_ANATOMIES, MimicSource
from dataset_scripts.sources.mimic.tables import LABELS
from tests.made_up.mimic import (
    CASES,
    DEFECTS,
    USABLE,
    Content,
    enough_contents,
    mimic_tree,
    phantom_contents,
    plain,
    read_images,
)
from tests.made_up.open_i import read_all


@pytest.fixture(scope="module", params=[pytest.param("open-i", marks=pytest.mark.shared), "phantoms"])
def contents(request: pytest.FixtureRequest) -> list[Content]:
    shared = request.getfixturevalue("shared_data") if request.param == "open-i" else None
    return enough_contents(shared)


def test_a_jpg_tree_gives_every_whole_frontal_study_and_a_reason_for_every_other_image(
    tmp_path: Path, contents: list[Content]
) -> None:
    tree = mimic_tree(tmp_path / "jpg", iter(contents))
    records, reasons = read_images(MimicSource(tree.root))
    assert list(records) == [tree.frontal[case] for case in USABLE]
    assert {case: reasons[tree.frontal[case]] for case in DEFECTS} == DEFECTS
    assert {reasons[dicom_id] for dicom_id in tree.lateral.values()} == {"view is LATERAL, not frontal"}
    assert len(records) + len(reasons) == len(CASES) + len(tree.lateral)
    for case in USABLE:
        record, content = records[tree.frontal[case]], tree.contents[case]
        assert plain(record.findings) == plain(content.findings)
        assert plain(record.impression) in (plain(content.impression), plain(content.impression[:50]))
        assert record.report == tree.text[case]
        assert (record.study_id, record.subject_id) == (tree.study[case], tree.subject[case])
        assert record.image == str(tree.image(case))
        assert record.view == {"portable": "ap", "validation": "ap"}.get(case, "pa")


def test_the_official_split_is_kept_and_validate_is_validation(
    tmp_path: Path, contents: list[Content]
) -> None:
    tree = mimic_tree(tmp_path, iter(contents))
    records, _ = read_images(MimicSource(tree.root))
    splits = {case: records[tree.frontal[case]].split for case in USABLE}
    assert Counter(splits.values()) == {"train": 9, "validation": 1, "test": 1}
    assert splits["test"] == "test"
    assert splits["validation"] == "validation"


def test_a_dicom_tree_is_rendered_as_the_window_says_with_tables_beside_the_reports(
    tmp_path: Path, contents: list[Content]
) -> None:
    tree = mimic_tree(tmp_path / "dicom", iter(contents), ".dcm", reports=tmp_path / "other")
    for table in ("split", "metadata", "chexpert"):
        name = f"mimic-cxr-2.0.0-{table}.csv.gz"
        shutil.move(tree.root / name, tree.reports / name)
    records, reasons = read_images(MimicSource(tree.root, reports=tree.reports))
    assert list(records) == [tree.frontal[case] for case in USABLE]
    assert "cannot be decoded" in reasons.pop(tree.frontal["truncated image"])
    assert "not a readable DICOM" in reasons.pop(tree.frontal["garbage image"])
    kept = {
        case: reason for case, reason in DEFECTS.items() if case not in ("truncated image", "garbage image")
    }
    assert {case: reasons[tree.frontal[case]] for case in kept} == kept
    for case in USABLE:
        record = records[tree.frontal[case]]
        seen = pixels(record.image)
        assert np.abs(seen - tree.contents[case].pixels.astype(int)).max() <= 1
        assert record.labels == (
            {} if case == "wet read" else {"Atelectasis": 0, "Cardiomegaly": 1, "Edema": -1}
        )


def pixels(encoded: bytes | str) -> np.ndarray:
    assert isinstance(encoded, bytes)
    with Image.open(io.BytesIO(encoded)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("suffix", [".jpg", ".dcm"])
def test_a_size_scales_the_shorter_side_and_never_up(tmp_path: Path, suffix: str) -> None:
    ramp = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[:, None], 60, axis=1)
    tree = mimic_tree(tmp_path, itertools.repeat(Content(ramp, "Clear.", "Normal.")), suffix)
    small = pixels(read_images(MimicSource(tree.root, size=20))[0][tree.frontal["usual"]].image)
    assert small.shape == (30, 20)
    assert np.abs(small[:, 10] - np.linspace(0, 255, 90).reshape(30, 3).mean(axis=1)).max() < 4
    assert pixels(read_images(MimicSource(tree.root, size=80))[0][tree.frontal["usual"]].image).shape == (
        90,
        60,
    )
    reasons = read_images(MimicSource(tree.root, size=20))[1]
    assert "truncated" in reasons[tree.frontal["truncated image"]] or suffix == ".dcm"


@pytest.mark.parametrize(
    ("views", "cases", "lateral"),
    [
        ("lateral", (), True),
        ("all", (*USABLE, "view unknown", "other view"), True),
        ("AP,ap axial", ("portable", "validation", "other view"), False),
    ],
)
def test_views_are_selectable(tmp_path: Path, views: str, cases: tuple[str, ...], lateral: bool) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    records, reasons = read_images(MimicSource(tree.root, views=views))
    wanted = {tree.frontal[case] for case in cases} | ({tree.lateral["with lateral"]} if lateral else set())
    assert set(records) == wanted
    assert ("the report is not in this (partial) download" in reasons.values()) == lateral
    if views == "all":
        assert records[tree.frontal["view unknown"]].view == "unknown"
        assert records[tree.frontal["other view"]].view == "ap axial"
        assert (
            records[tree.lateral["with lateral"]].study_id == records[tree.frontal["with lateral"]].study_id
        )


def test_no_folder_is_ever_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a folder was listed")

    with monkeypatch.context() as patch:
        for name in ("walk", "scandir", "listdir"):
            patch.setattr(os, name, refuse)
        for name in ("glob", "rglob", "iterdir", "walk"):
            patch.setattr(Path, name, refuse, raising=False)
        records, _ = read_images(MimicSource(tree.root))
    assert len(records) == len(USABLE)


def test_jobs_and_source_travel_to_worker_processes(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path / "jpg", phantom_contents(), reports=tmp_path / "cxr", zipped=True)
    source = MimicSource(tree.root, reports=tree.reports, views="all")
    here = list(read_all(source))
    jobs = list(source.jobs())
    assert repr(jobs) == repr(list(source.jobs())), "a block is known again by its jobs"
    elsewhere, sent = pickle.loads(pickle.dumps((source, jobs)))
    there = [item for job in sent for item in ([job] if isinstance(job, Skipped) else elsewhere.read(job))]
    assert there == here


def test_a_study_whose_rows_lie_apart_is_one_job(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    path = tree.root / "mimic-cxr-2.0.0-split.csv.gz"
    table = pd.read_csv(path, dtype=str)
    table[::-1].sort_values("dicom_id", kind="stable").to_csv(path, index=False)
    jobs = [job for job in MimicSource(tree.root, views="all").jobs() if not isinstance(job, Skipped)]
    assert len({job.study.study_id for job in jobs}) == len(jobs) == len(CASES)
    both = next(job for job in jobs if job.study.study_id == tree.study["with lateral"])
    assert {view for _, view in both.study.images} == {"PA", "LATERAL"}
    ids = [dicom_id for dicom_id, _ in both.study.images]
    assert ids == sorted(ids), "in the table's order"


def test_unpacked_tables_and_rows_of_one_table_only_are_told(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    ids = {}
    for name, dropped in (("split", "usual"), ("metadata", "portable")):
        path = tree.root / f"mimic-cxr-2.0.0-{name}.csv.gz"
        table = pd.read_csv(path, dtype=str)
        ids[name] = tree.frontal[dropped]
        table[table["dicom_id"] != ids[name]].to_csv(path.with_suffix(""), index=False)
        path.unlink()
    (tree.root / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    records, reasons = read_images(MimicSource(tree.root))
    assert reasons[ids["split"]] == mimic.NO_SPLIT
    assert reasons[ids["metadata"]] == mimic.NO_METADATA
    assert len(records) == len(USABLE) - 2
    assert not any(record.labels for record in records.values())


def test_a_partial_download_is_found_wherever_it_starts_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataset_scripts.sources.mimic.reports._PROBES", 3)
    tree = mimic_tree(tmp_path, phantom_contents())
    for case in CASES:
        if case != "test":
            shutil.rmtree(tree.image(case).parent, ignore_errors=True)
            (tree.reports / f"{tree.folder(case)}.txt").unlink(missing_ok=True)
    records, reasons = read_images(MimicSource(tree.root))
    assert list(records) == [tree.frontal["test"]]
    counts = skip_counts(Skipped(key, reason) for key, reason in reasons.items())
    assert counts[mimic.NO_IMAGE] == len(CASES) - 3  # less the test study and two whose view is not frontal
    shutil.rmtree(tree.image("test").parent)
    with pytest.raises(ValueError, match=r"no image of the split table: expected files such as files/p10/"):
        read_images(MimicSource(tree.root))


@pytest.mark.parametrize("name", ["split", "metadata"])
def test_a_missing_table_is_named_with_where_it_comes_from(tmp_path: Path, name: str) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    (tree.root / f"mimic-cxr-2.0.0-{name}.csv.gz").unlink()
    with pytest.raises(ValueError, match=rf"mimic-cxr-2.0.0-{name}.csv.gz is missing.*MIMIC-CXR-JPG"):
        read_images(MimicSource(tree.root))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("split", "train", "dev", "has the split 'dev': expected train, validate, test"),
        ("split", "study_id", "study", r"lacks the column\(s\) study_id"),
        ("split", "10000032", "p10000032", "subject_id 'p10000032': expected 8 digits"),
        ("metadata", "ViewPosition", "View", r"lacks the column\(s\) ViewPosition"),
        ("chexpert", "-1.0", "2.0", "has the label '2.0', expected 1.0, 0.0, -1.0 or blank"),
    ],
)
def test_a_wrong_table_is_refused_in_words(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    path = tree.root / f"mimic-cxr-2.0.0-{name}.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(old.encode(), new.encode())))
    with pytest.raises(ValueError, match=words):
        read_images(MimicSource(tree.root))


def test_damaged_tables_and_contradictions_are_refused(tmp_path: Path) -> None:
    tree = mimic_tree(tmp_path, phantom_contents())
    path = tree.root / "mimic-cxr-2.0.0-split.csv.gz"
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(ValueError, match=r"cannot be used.*SHA256SUMS"):
        read_images(MimicSource(tree.root))
    row = whole.splitlines()[1]
    path.write_bytes(gzip.compress(whole + row + b"\n"))
    with pytest.raises(ValueError, match=r"names .* twice"):
        read_images(MimicSource(tree.root))
    path.write_bytes(
        gzip.compress(whole + row.replace(b"train", b"test").replace(row[:8], b"00000000") + b"\n")
    )
    with pytest.raises(ValueError, match="has two patients or splits"):
        read_images(MimicSource(tree.root))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": "oblique"}, "views names 'OBLIQUE'; give frontal, lateral, all"),
        ({"fallback": "findings"}, "fallback must be one of none, impression, last-paragraph"),
        ({"size": 0}, "size must be 1 pixel or more, got 0"),
        ({"reports": Path("/nowhere")}, "reports: /nowhere does not exist"),
        ({"overrides": Path("/nowhere")}, "overrides: /nowhere does not exist"),
        ({"source": Path("/nowhere")}, "/nowhere is no folder; give the root of MIMIC-CXR-JPG"),
    ],
)
def test_a_wrong_option_is_refused_in_words(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MimicSource(**{"source": tmp_path, **options})


def test_the_source_says_what_it_is_and_its_labels_show_on_known_anatomies() -> None:
    assert MimicSource.sharing is Sharing.CREDENTIALED
    assert not MimicSource.volumes
    assert "Credentialed Health Data License" in MimicSource.licence
    assert set(LABEL_ANATOMIES) == set(LABELS) - {"No Finding"}
    known = {anatomy.name for anatomy in default_ontology()}
    assert set(LABEL_ANATOMIES.values()) <= known
