"""Figures of the validation split during a training: right, and without any effect on it."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from dataset_scripts.building.built_dataset import BuiltDataset
from modeling_radir.inference import load
from radir_training.content_skill import ContentSkill
from radir_training.journal import Journal
from radir_training.settings import load_config
from radir_training.validation import LEAST_IMAGES, Validation
from tests.made_up.open_i import built_open_i
from train_accelerate import train


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("larger"), studies=120)


def test_the_content_skill_is_that_of_the_models_own_features(uninterrupted: Path, larger: Path) -> None:
    data = BuiltDataset.open(larger)
    model, processor = load(uninterrupted, "cpu")
    found = Validation(data, processor, images=300, seed=0)
    figures = found.figures(model, stage=2)
    studies, engine, skill = data.studies("validation"), data.engine_for("content"), ContentSkill()
    pixels = processor(images=[data.image(row) for row in studies], return_tensors="pt")["pixel_values"]
    for name in found.anatomies:
        (rows,) = engine.store.row_table(studies["study_id"][:], [name])
        there = rows >= 0
        assert there.sum() >= LEAST_IMAGES
        with torch.no_grad():
            features = model.get_conditional_features(pixels[there], anatomy=name)[:, 0].double().numpy()
        relevance = engine.block(rows[there], rows[there])
        skill.add(features, relevance, engine.formula.groups(rows[there]) == 2)
    assert figures["content_skill"] == pytest.approx(skill.value, abs=1e-6)
    assert -1 <= figures["mean_cosine"] <= 1 and figures["effective_rank"] >= 1


def test_training_is_the_same_with_and_without_validation(
    config: list[str], uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step=None: logged.append(values))
    more = ["--validate_every", "2", "--validation_images", "10"]
    folder = train(load_config([*config, *more, "--output_dir", str(tmp_path / "out")]))
    for name in ("model.safetensors", "training.json"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()
    told = [name for values in logged for name in values if "validation/" in name]
    assert told.count("stage1/validation/content_skill") == 2
    assert told.count("stage2/validation/content_skill") == 2


def test_the_mode_of_every_part_is_as_it_was(uninterrupted: Path, larger: Path) -> None:
    model, processor = load(uninterrupted, "cpu")
    model.train()
    model.text_model.eval()
    before = {name: module.training for name, module in model.named_modules()}
    Validation(BuiltDataset.open(larger), processor, images=10, seed=0).figures(model, stage=1)
    assert before == {name: module.training for name, module in model.named_modules()}


def test_the_images_follow_from_the_seed_and_are_no_more_than_asked_for(
    uninterrupted: Path, larger: Path
) -> None:
    processor, data = load(uninterrupted, "cpu")[1], BuiltDataset.open(larger)
    drawn = [Validation(data, processor, 5, seed)._studies["image_id"][:] for seed in (0, 0, 1)]
    assert list(drawn[0]) == list(drawn[1]) and len(drawn[0]) == 5
    assert len(data.studies("validation")) > 5 and list(drawn[0]) != list(drawn[2])


def test_a_collapse_is_named(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(Accelerator(cpu=True))
    good = {"content_skill": 0.1, "mean_cosine": 0.4, "effective_rank": 9.0}
    with caplog.at_level(logging.WARNING):
        journal.log_validation(2, 9, good)
        assert not caplog.records
        journal.log_validation(2, 9, good | {"mean_cosine": 0.97})
        journal.log_validation(2, 9, good | {"effective_rank": 1.2})
    assert [record.message.count("hardly tell images apart") for record in caplog.records] == [1, 1]
    assert np.isfinite(list(good.values())).all()
