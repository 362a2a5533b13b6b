"""What a model owes to the data of its parts stands in its training.json."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.provenance import known_data, training_data, why_not_open
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.open_i import OpenISource
from dataset_scripts.sources.phantoms.cxr_source import PhantomCXRSource
from radir_training.settings import load_config
from train_accelerate import train


def test_a_tokenizer_of_a_model_of_stricter_data_makes_the_model_as_strict(
    config: list[str], tmp_path: Path, uninterrupted: Path
) -> None:
    strict = Path(shutil.copytree(uninterrupted, tmp_path / "strict"))
    report = json.loads((strict / "training.json").read_text())
    data = {"name": "mimic-ir", "licence": "L", "sharing": "credentialed"}
    (strict / "training.json").write_text(json.dumps(report | {"data": data}))
    more = ["--tokenizer", str(strict), "--stage", "1", "--output_dir", str(tmp_path / "out")]
    found = json.loads((train(load_config([*config, *more])) / "training.json").read_text())["data"]
    assert (found["name"], found["sharing"], found["licence"]) == ("open-i", "credentialed", "L")
    assert found["made_from"]["tokenizer"] == data


def test_a_part_from_a_hub_that_cannot_be_asked_is_not_open_and_the_record_says_why(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert known_data("some/bert") is None
    data = training_data(BuiltDataset(dataset), {"tokenizer": "some/bert"})
    assert data["sharing"] == "restricted"
    assert "the Hub could not be asked" in data["made_from"]["tokenizer"]["reason"]
    said = why_not_open(data, {"tokenizer": "some/bert"})
    assert said is not None
    assert "those of its tokenizer (the Hub could not be asked" in said


def test_training_json_says_what_data_the_model_was_trained_on(dataset: Path, uninterrupted: Path) -> None:
    data = json.loads((uninterrupted / "training.json").read_text())["data"]
    assert data == {
        "name": "open-i",
        "licence": "cc-by-nc-nd-4.0",
        "sharing": "restricted",
        "homepage": OpenISource.homepage,
        "digest": BuiltDataset(dataset).digest,
    }


@pytest.mark.parametrize(
    ("earlier", "sharing", "licence"),
    [
        (
            {"name": "phantom-cxr", "licence": "apache-2.0", "sharing": "open"},
            "restricted",
            "cc-by-nc-nd-4.0",
        ),
        (
            {"name": "mimic-ir", "licence": "PhysioNet", "sharing": "credentialed"},
            "credentialed",
            "PhysioNet",
        ),
        (None, "restricted", "cc-by-nc-nd-4.0"),
    ],
)
def test_a_model_that_goes_on_from_another_keeps_the_stricter_terms_of_both(
    dataset: Path, tmp_path: Path, earlier: dict[str, str] | None, sharing: str, licence: str
) -> None:
    if earlier:
        (tmp_path / "training.json").write_text(json.dumps({"data": earlier}))
    found = training_data(BuiltDataset(dataset), {"model": str(tmp_path)})
    assert (found["sharing"], found["licence"]) == (sharing, licence)
    assert found["started_from"] == earlier


def test_a_start_of_which_nothing_is_known_is_not_open(tmp_path: Path) -> None:
    data = tmp_path / "phantoms"
    build_dataset(PhantomCXRSource(count=12), data, LexicalExtractor(), processes=1, progress=False)
    assert training_data(BuiltDataset(data))["sharing"] == "open"
    assert training_data(BuiltDataset(data), {"model": str(tmp_path / "unknown")})["sharing"] == "restricted"
