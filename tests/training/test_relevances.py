"""Training on either relevance: it is checked, followed in both stages, and recorded with the model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import train_accelerate
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from radir_training.run_folder import RunFolder
from radir_training.settings import TrainConfig, load_config
from radir_training.targets import Targets
from tests.made_up.old_store import as_version_2
from train_accelerate import train


def test_the_targets_are_of_the_relevance_asked_for(dataset: Path) -> None:
    data = BuiltDataset(dataset)
    studies, batch = data.studies("train"), np.arange(8)
    for relevance in ("paper", "content"):
        targets = Targets.of(data, studies, ["heart"], relevance)
        for anatomy in (WHOLE_REPORT, "heart"):
            rows = targets.rows[anatomy][batch]
            expected = [[targets.engine.pair(i, j) for j in rows] for i in rows]
            found = targets.relevance(anatomy, batch).numpy()
            np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert Targets.of(data, studies, ["heart"]).engine.relevance == "paper"


def test_another_relevance_trains_other_weights_and_is_recorded(
    config: list[str], uninterrupted: Path, tmp_path: Path
) -> None:
    model = train(load_config([*config, "--output_dir", str(tmp_path / "content"), "--relevance", "content"]))
    assert json.loads((model / "training.json").read_text())["settings"]["relevance"] == "content"
    assert json.loads((uninterrupted / "training.json").read_text())["settings"]["relevance"] == "paper"
    weights = [(folder / "model.safetensors").read_bytes() for folder in (model, uninterrupted)]
    assert weights[0] != weights[1]


def test_a_model_of_a_version_without_the_choice_was_trained_on_the_papers(tmp_path: Path) -> None:
    settings = {"seed": 0, "relevance": "paper"}
    (tmp_path / "training.json").write_text(json.dumps({"settings": {"seed": 0}}))
    RunFolder(tmp_path, settings).check()
    with pytest.raises(ValueError, match="trained with another relevance"):
        RunFolder(tmp_path, settings | {"relevance": "content"}).check()


def test_an_unknown_relevance_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="relevance must be one of paper, content, got 'bleu'"):
        TrainConfig(dataset="somewhere", output_dir="somewhere", relevance="bleu")


def test_a_dataset_that_cannot_give_it_ends_with_a_sentence_and_writes_nothing(
    config: list[str], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(dataset, old)
    as_version_2(old / "entities")
    more = ["--dataset", str(old), "--output_dir", str(tmp_path / "run"), "--relevance", "content"]
    assert train_accelerate.main([*config, *more]) == 2
    assert "build the dataset again" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
