"""`radir calibrate`: features relative to their means over training images, everywhere the model is used."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel

from dataset_scripts.building.built_dataset import BuiltDataset
from modeling_radir import RadIRModel, RadIROutput
from modeling_radir.inference import embed, load
from radir import cli
from radir_search.build_index import build_index
from radir_search.index import RetrievalIndex
from radir_training.calibrate import LEAST_IMAGES, calibrate

HEART = "heart"


@pytest.fixture(scope="module")
def calibrated(
    uninterrupted: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """A trained tiny model, the same with its means, and the pixels of all training images."""
    out = tmp_path_factory.mktemp("calibrated") / "model"
    done = calibrate(str(uninterrupted), dataset, out, progress=False)
    raw, processor = load(uninterrupted, "cpu")
    data = BuiltDataset.open(dataset)
    studies = data.studies("train")
    images = [data.image(row) for row in studies]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    spoken = [HEART in data.findings("train").get(row, ()) for row in studies["study_id"][:]]
    return SimpleNamespace(
        done=done, raw=raw, model=load(out, "cpu")[0], folder=out, pixels=pixels, spoken=np.array(spoken)
    )


def centred(features: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return F.normalize(features - mean, dim=-1)


def test_conditional_features_lose_the_mean_of_the_images_that_speak_of_the_anatomy(
    calibrated: SimpleNamespace,
) -> None:
    assert calibrated.spoken.sum() >= LEAST_IMAGES
    raw, model, pixels = calibrated.raw, calibrated.model, calibrated.pixels
    with torch.no_grad():
        features = raw.get_conditional_features(pixels, anatomy=HEART)[:, 0]
        expected = centred(features, features[torch.from_numpy(calibrated.spoken)].mean(dim=0))
        by_name = model.get_conditional_features(pixels, anatomy=HEART)[:, 0]
        ids, mask = model.anatomy_tokens(HEART)
        by_ids = model.get_conditional_features(pixels, ids, mask)[:, 0]
        queries = model.encode_anatomies(ids, mask)
        by_queries = model.get_conditional_features(pixels, queries=queries)[:, 0]
        _, in_use = embed(model, pixels, queries)
    for found in (by_name, by_ids, by_queries, in_use[:, 0]):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_whole_images_and_reports_lose_means_of_their_own(calibrated: SimpleNamespace) -> None:
    raw, model, pixels = calibrated.raw, calibrated.model, calibrated.pixels
    with torch.no_grad():
        features = raw.get_image_features(pixels)
        expected = centred(features, features.mean(dim=0))
        torch.testing.assert_close(model.get_image_features(pixels), expected, rtol=1e-4, atol=1e-5)
        ids, mask = model.anatomy_tokens(HEART)
        text = centred(raw.get_text_features(ids, mask), model.centre.texts)
        torch.testing.assert_close(model.get_text_features(ids, mask), text)
    assert model.centre.texts.abs().max() > 0


def test_losses_see_features_as_they_were(calibrated: SimpleNamespace) -> None:
    raw, model = calibrated.raw, calibrated.model
    ids, mask = model.anatomy_tokens([HEART, "lungs"])
    given = {"pixel_values": calibrated.pixels[:4], "anatomy_input_ids": ids, "anatomy_attention_mask": mask}

    def trained(network: RadIRModel) -> RadIROutput:
        torch.manual_seed(0)  # of the dropout
        return network.train()(**given)

    try:
        found, expected = trained(model), trained(raw)
        torch.testing.assert_close(found.conditional_embeds, expected.conditional_embeds)
        torch.testing.assert_close(found.image_embeds, expected.image_embeds)
    finally:
        model.eval(), raw.eval()


def test_the_means_travel_with_the_weights_and_the_index_uses_them(
    calibrated: SimpleNamespace, dataset: Path, tmp_path: Path
) -> None:
    loaded = AutoModel.from_pretrained(calibrated.folder)
    assert loaded.config.centred
    torch.testing.assert_close(loaded.centre.conditions, calibrated.model.centre.conditions, rtol=0, atol=0)
    data = BuiltDataset.open(dataset)
    build_index(str(calibrated.folder), data, tmp_path / "index", progress=False, splits=["train"])
    index = RetrievalIndex.load(tmp_path / "index")
    with torch.no_grad():
        features = calibrated.model.get_conditional_features(calibrated.pixels, anatomy=HEART)[:, 0]
    scores, positions = index.search(features, HEART, k=len(features))
    expected = features @ features.T
    found = np.take_along_axis(expected.numpy(), np.asarray(positions), axis=1)
    np.testing.assert_allclose(np.asarray(scores), found, atol=1e-3)


def test_an_uncalibrated_model_has_no_means(uninterrupted: Path) -> None:
    model = RadIRModel.from_pretrained(uninterrupted)
    assert model.centre is None and not any("centre" in name for name in model.state_dict())


def test_calibrating_again_gives_the_same_bytes_also_in_place(
    calibrated: SimpleNamespace, dataset: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    calibrate(str(calibrated.folder), dataset, again, progress=False)
    calibrate(str(again), dataset, again, progress=False)
    for name in ("model.safetensors", "config.json", "training.json"):
        assert (again / name).read_bytes() == (calibrated.folder / name).read_bytes(), name


def test_the_geometry_is_told_before_and_after(calibrated: SimpleNamespace) -> None:
    before, after = calibrated.done.before, calibrated.done.after
    assert set(before) == set(after) and {"", HEART} <= set(before)
    assert after[HEART].mean_cosine < before[HEART].mean_cosine
    assert abs(after[""].mean_cosine) < 0.2


def test_bad_input_ends_with_a_sentence(
    uninterrupted: Path, dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["radir", "calibrate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    assert "no folder here" in run("user/model", "--dataset", dataset)
    assert "two or more" in run(uninterrupted, "--dataset", dataset, "--out", tmp_path / "x", "--images", 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "give another output" in run(uninterrupted, "--dataset", dataset, "--out", tmp_path / "full")
    assert json.loads((uninterrupted / "config.json").read_text()).get("centred", False) is False
