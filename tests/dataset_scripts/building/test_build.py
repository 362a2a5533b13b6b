"""A built dataset keeps the contract of the design: configs, columns, splits, sorted relevance."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.open_i import OpenISource
from tests.made_up.open_i import built_open_i, open_i_tree


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("build"))


def test_plain_load_dataset_reads_every_config(built: Path) -> None:
    studies = datasets.load_dataset(str(built))
    assert set(studies) == {"train", "validation", "test"}
    assert studies["train"].column_names == [
        "study_id", "subject_id", "image_id", "image", "view", "report", "findings", "impression",
    ]  # fmt: skip
    assert studies["train"][0]["image"].size == (32, 32)
    columns = {
        "findings": ["study_id", "anatomy", "text"],
        "anatomies": ["name", "parent", "region", "synonyms"],
        "relevance": ["query_id", "anatomy", "candidate_ids", "relevance"],
        "labels": ["study_id", "label", "value", "anatomy"],
    }
    for config, names in columns.items():
        assert datasets.load_dataset(str(built), config, split="train").column_names == names


def test_relevance_is_complete_sorted_and_the_engines(built: Path) -> None:
    data = BuiltDataset.open(built)
    ids = set(data.studies("test")["study_id"])
    for row in datasets.load_dataset(str(built), "relevance", split="test"):
        assert row["query_id"] not in row["candidate_ids"]
        assert row["relevance"] == sorted(row["relevance"], reverse=True)
        if row["anatomy"] == "":
            assert set(row["candidate_ids"]) == ids - {row["query_id"]}
        rows = data.engine.store.rows([row["query_id"], *row["candidate_ids"]], row["anatomy"])
        np.testing.assert_allclose(row["relevance"], data.engine.block(rows[:1], rows[1:])[0], atol=1e-6)


def test_a_patient_falls_into_one_split(built: Path) -> None:
    data = BuiltDataset.open(built)
    subjects = [set(data.studies(split)["subject_id"]) for split in data.splits]
    assert not set.intersection(*subjects)
    assert sum(map(len, subjects)) == 40


def test_findings_of_an_anatomy_are_its_sentences(built: Path) -> None:
    data = BuiltDataset.open(built)
    findings = {study: texts for split in data.splits for study, texts in data.findings(split).items()}
    assert findings["2"]["heart"] == "The heart is severely enlarged."
    assert findings["4"]["left pleura"] == "There is a small left pleural effusion."


def test_what_was_left_out_is_listed(built: Path) -> None:
    with (built / "skipped.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 20
    assert {row["reason"] for row in rows} == {"projection is lateral, not frontal"}


def test_equal_input_gives_equal_bytes(built: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radir.cli", "build", "open-i", "--source", built.parent / "source"]
    command += ["--processes", "1", "--out", tmp_path / "again"]
    # The seed of Python's strings orders sets; that of this process is another.
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, capture_output=True)
    files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file()
    )
    for path in files:
        assert (built / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


def test_a_rebuilt_folder_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    for studies in (20, 30):
        source = OpenISource(open_i_tree(tmp_path / str(studies), studies=studies))
        build_dataset(source, tmp_path / "same-name", LexicalExtractor(), progress=False)
        loaded = datasets.load_dataset(str(tmp_path / "same-name"))
        assert sum(map(len, loaded.values())) == studies


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    source = OpenISource(open_i_tree(tmp_path / "source", studies=4))
    with pytest.raises(ValueError, match="not a built dataset"):
        build_dataset(source, tmp_path / "mine", LexicalExtractor(), progress=False)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_opening_something_else_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="radir build"):
        BuiltDataset.open(tmp_path)


def test_a_dataset_from_the_hub_goes_by_its_repositorys_name(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dataset_scripts.building.built_dataset.snapshot_download", lambda *_, **__: str(built)
    )
    assert BuiltDataset.open("user/open-i").name == "open-i"
    assert BuiltDataset.open(built).name == built.name != "open-i"
