"""Frozen towers: as before the training, untrained or pretrained; centred by the training images."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from radir_eval.baselines import parse_baseline
from radir_eval.baselines.frozen import CentredEmbeddings, FrozenTower
from radir_eval.retrieval_split import RetrievalSplit

from modeling_radir import RadIRModel
from tests.made_up.model import model_folder
from tests.modeling_radir import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "radir")


def test_frozen_is_the_tower_of_the_first_model(folder: Path) -> None:
    raw = parse_baseline("frozen", progress=False, first_model=str(folder))
    centred = parse_baseline("frozen-centred", progress=False, first_model=str(folder))
    assert (raw.name, centred.name) == ("frozen", "frozen-centred")
    assert isinstance(centred, CentredEmbeddings)
    assert raw.fingerprint() != centred.fingerprint()
    named = parse_baseline(f"frozen={folder}", progress=False)
    assert (named.name, named.fingerprint()) == ("frozen", raw.fingerprint())
    for text in ("frozen", "frozen-centred"):
        with pytest.raises(ValueError, match="the image tower of the first --model"):
            parse_baseline(text)


def test_an_untrained_tower_is_the_same_each_time_and_not_the_trained_one(folder: Path) -> None:
    trained = RadIRModel.from_pretrained(folder).eval()
    with torch.no_grad():
        for weights in trained.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    trained.save_pretrained(folder)
    one, two = (FrozenTower.load(folder, "cpu") for _ in range(2))
    pixels = torch.rand(2, 1, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    features = one.encode_images(pixels)
    torch.testing.assert_close(features, two.encode_images(pixels))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    with torch.inference_mode():
        pooled = torch.nn.functional.normalize(trained.encode_image(pixels).pooled, dim=-1)
    assert not torch.allclose(features, pooled, atol=1e-3)


def test_loading_leaves_the_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    FrozenTower.load(folder, "cpu")
    torch.testing.assert_close(torch.rand(3), expected)


def test_the_pretrained_tower_that_the_training_named_is_taken(folder: Path, tmp_path: Path) -> None:
    untrained = FrozenTower.digest(folder)
    start = RadIRModel.from_pretrained(folder).vision_model.tower
    start.save_pretrained(tmp_path / "vit")
    report = json.loads((folder / "training.json").read_text())
    report["settings"]["vision"] = {"pretrained": str(tmp_path / "vit")}
    (folder / "training.json").write_text(json.dumps(report))
    assert FrozenTower.digest(folder) != untrained
    frozen = FrozenTower.load(folder, "cpu")
    for name, value in start.state_dict().items():
        torch.testing.assert_close(frozen.tower.tower.state_dict()[name], value)
    (tmp_path / "next").mkdir()  # a model that went on from this one started from the same tower
    model_folder(tmp_path / "next", model=str(folder))
    torch.testing.assert_close(
        FrozenTower.load(tmp_path / "next", "cpu").tower.tower.state_dict()[name], value
    )
    report["settings"]["vision"] = {"pretrained": str(tmp_path / "gone")}
    (folder / "training.json").write_text(json.dumps(report))
    with pytest.raises(ValueError, match="give frozen=ID_OR_FOLDER"):
        FrozenTower.load(folder, "cpu")


def test_centred_features_have_lost_the_mean_of_the_training_images(
    folder: Path, helpers: SimpleNamespace
) -> None:
    items = RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")
    everyone = np.arange(len(items))
    raw = parse_baseline("frozen", progress=False, first_model=str(folder)).open(items)
    centred = parse_baseline("frozen-centred", progress=False, first_model=str(folder)).open(items)
    features = raw.image(None).astype(np.float64)
    moved = features - features.mean(axis=0)  # the made-up training images are the evaluated ones
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(centred.scores(None, everyone, everyone), moved @ moved.T, atol=1e-4)
    assert centred.report_scores(everyone, everyone) is None


def test_any_other_model_is_taken_as_it_is(tmp_path: Path, folder: Path) -> None:
    RadIRModel.from_pretrained(folder).vision_model.tower.save_pretrained(tmp_path / "vit")
    baseline = parse_baseline(f"frozen-centred={tmp_path / 'vit'}")
    assert (baseline.name, baseline.baseline) == ("frozen-centred", FrozenTower)
    assert "transformers" not in (baseline.fingerprint() or "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no folder of a model of transformers"):
        parse_baseline(f"frozen={tmp_path / 'empty'}")


def test_volumes_have_a_frozen_tower_too(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "ct", tower="ctvit", volumes=True)
    frozen = FrozenTower.load(folder, "cpu")
    size = (1, 1, tiny.VOLUME_DEPTH, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    assert frozen.encode_images(torch.rand(size)).shape == (1, 32)
