"""`radir adapt`: an encoder becomes a RadIR model folder like any other."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from radir_eval.baselines.frozen import FrozenTower
from transformers import AutoModel, AutoProcessor, ViTConfig, ViTModel

from dataset_scripts.building.built_dataset import BuiltDataset
from modeling_radir import RadIRModel
from radir import cli
from radir_search.build_index import build_index
from radir_search.query import search_image
from radir_training.adapt import adapt as module
from radir_training.adapt.adapt import AdaptSettings, adapt
from radir_training.adapt.token_cache import TokenCache
from tests.made_up.open_i import built_open_i
from tests.modeling_radir import tiny

HEART, PLEURA = "heart", "left pleura"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("data"), studies=90)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT with random weights, as AutoModel saves it, with its normalisation beside it."""
    folder = tmp_path_factory.mktemp("encoder") / "vit"
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, num_channels=3, hidden_size=16, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    about = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def adapted(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    out = tmp_path_factory.mktemp("adapted") / "model"
    settings = AdaptSettings(str(encoder), basis_size=40, head_size=8)
    return SimpleNamespace(done=adapt(settings, data, out, progress=False), folder=out, settings=settings)


def pixels(adapted: SimpleNamespace, data: Path, count: int = 4) -> torch.Tensor:
    built, processor = BuiltDataset.open(data), AutoProcessor.from_pretrained(adapted.folder)
    studies = built.studies("train")
    images = [built.image(studies[row]) for row in range(count)]
    return processor(images=images, return_tensors="pt")["pixel_values"]


def test_the_folder_loads_as_any_radir_model_and_answers_by_name(
    adapted: SimpleNamespace, data: Path
) -> None:
    model = AutoModel.from_pretrained(adapted.folder)
    given = pixels(adapted, data)
    found = model.get_conditional_features(given, anatomy=[HEART, PLEURA])
    assert found.shape == (4, 2, 16)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(4, 2))
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3)
    torch.testing.assert_close(model.get_image_features(given).norm(dim=-1), torch.ones(4))
    tokens = AutoProcessor.from_pretrained(adapted.folder)(text=["Mild cardiomegaly."], return_tensors="pt")
    assert model.get_text_features(tokens["input_ids"], tokens["attention_mask"]).shape == (1, 16)


def test_the_tower_stays_as_it_was_and_sees_pixels_as_it_was_trained_on(
    adapted: SimpleNamespace, encoder: Path, data: Path
) -> None:
    model, tower = RadIRModel.from_pretrained(adapted.folder), ViTModel.from_pretrained(encoder)
    for name, value in tower.state_dict().items():
        if not name.startswith("pooler"):
            torch.testing.assert_close(model.vision_model.tower.state_dict()[name], value, rtol=0, atol=0)
    given = pixels(adapted, data)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
    with torch.no_grad():
        states = tower(((given + 1) / 2 - mean) / std, output_hidden_states=True).hidden_states
        found = model.encode_image(given).tokens
    norm = torch.nn.functional.layer_norm
    expected = torch.cat([norm(states[level][:, 1:], (16,)) for level in (2, 3)], dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_conditional_features_join_the_whole_image_and_the_head_of_the_condition(
    adapted: SimpleNamespace, data: Path
) -> None:
    model, given = RadIRModel.from_pretrained(adapted.folder), pixels(adapted, data)
    found = model.get_conditional_features(given, anatomy=HEART)[:, 0]
    whole = model.get_image_features(given)
    torch.testing.assert_close(found[:, :8] * 2**0.5, whole[:, :8])
    assert not whole[:, 8:].any()
    fused, place = model.fusion_model, list(model.config.anatomies).index(HEART)
    x = fused.basis(model.encode_image(given).tokens.flatten(1))
    own = x @ fused.heads[place].T + fused.offsets[place]
    torch.testing.assert_close(found[:, 8:] * 2**0.5, torch.nn.functional.normalize(own, dim=-1))


def test_every_known_condition_picks_its_own_head_by_name(adapted: SimpleNamespace) -> None:
    model = RadIRModel.from_pretrained(adapted.folder)
    names = list(model.config.anatomies)
    queries = torch.cat([model.encode_anatomies(*model.anatomy_tokens(name)) for name in names])
    assert model.fusion_model.nearest(queries).tolist() == list(range(len(names)))


def test_features_are_centred_over_the_training_images(adapted: SimpleNamespace, data: Path) -> None:
    model, count = RadIRModel.from_pretrained(adapted.folder), len(BuiltDataset.open(data).studies("train"))
    fused = model.fusion_model
    with torch.no_grad():
        x = fused.basis(model.encode_image(pixels(adapted, data, count)).tokens.flatten(1))
        mean = fused.whole(x).mean(dim=0)
        assert mean.abs().max() < 0.02 * fused.whole(x).std(dim=0).max()


def test_a_condition_of_few_texts_borrows_from_what_it_is_part_of(adapted: SimpleNamespace) -> None:
    model = RadIRModel.from_pretrained(adapted.folder)
    names, heads = list(model.config.anatomies), model.fusion_model.heads
    assert torch.equal(heads[names.index("aortic valve")], heads[names.index("heart valve")])


def test_it_can_be_indexed_searched_and_pushed_on(
    adapted: SimpleNamespace, data: Path, tmp_path: Path
) -> None:
    built = BuiltDataset.open(data)
    build_index(str(adapted.folder), built, tmp_path / "index", progress=False, splits=["train"])
    row = built.studies("train")[3]
    built.image(row).save(tmp_path / "query.png")
    hits = search_image(tmp_path / "index", tmp_path / "query.png", HEART, k=2)
    assert hits[0].image_id == row["image_id"] and hits[0].score == pytest.approx(1, abs=1e-4)
    about = json.loads((adapted.folder / "training.json").read_text())
    assert about["settings"]["method"] == "adapt" and about["data"]["name"] == built.facts.name


def test_the_same_command_gives_the_same_bytes(adapted: SimpleNamespace, data: Path, tmp_path: Path) -> None:
    adapt(adapted.settings, data, tmp_path / "again", progress=False)
    for name in ("model.safetensors", "config.json", "training.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (adapted.folder / name).read_bytes(), name
    assert not list(tmp_path.glob(".again*"))  # the tokens are gone


def test_a_killed_run_goes_on_from_its_tokens(
    adapted: SimpleNamespace, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def stopped(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit_basis", stopped)
        with pytest.raises(KilledError):
            adapt(adapted.settings, data, tmp_path / "model", tmp_path / "cache", progress=False)
    assert not (tmp_path / "model").exists()
    monkeypatch.setattr(module.ImageReader, "__call__", lambda self, row: torch.zeros(3, 32, 32))
    done = adapt(adapted.settings, data, tmp_path / "model", tmp_path / "cache", progress=False)
    assert done.images == adapted.done.images
    basis = RadIRModel.from_pretrained(tmp_path / "model").fusion_model.basis.weight
    torch.testing.assert_close(basis, RadIRModel.from_pretrained(adapted.folder).fusion_model.basis.weight)


def test_a_cache_reads_only_the_rows_that_are_missing(tmp_path: Path) -> None:
    values, asked = np.arange(2000, dtype=np.float16).reshape(1000, 2), []

    def read(start: int, broken: int = 10**9):
        asked.append(start)
        for first in range(start, 1000, 100):
            if first >= broken:
                raise ValueError("an image cannot be read")
            yield values[first : first + 100]

    cache = TokenCache(tmp_path, {"encoder": 1})
    with pytest.raises(ValueError, match="cannot be read"):
        cache.fill("train", 1000, 2, lambda start: read(start, broken=700))
    np.testing.assert_array_equal(cache.fill("train", 1000, 2, read), values)
    assert asked[0] == 0 and 0 < asked[1] <= 700
    assert cache.folder.stat().st_mode & 0o077 == 0
    assert TokenCache(tmp_path, {"encoder": 2}).folder != cache.folder


def test_a_radir_model_can_be_adapted_too(data: Path, tmp_path: Path) -> None:
    made = tiny.model("resnet")
    made.save_pretrained(tmp_path / "radir")
    tiny.processor().save_pretrained(tmp_path / "radir")
    done = adapt(
        AdaptSettings(str(tmp_path / "radir"), levels=(3, 4), basis_size=20, head_size=8),
        data, tmp_path / "model", progress=False,
    )  # fmt: skip
    model = RadIRModel.from_pretrained(done.folder)
    assert model.vision_model.level_widths == [24, 40] and model.config.vision_mean is None
    assert model.get_conditional_features(tiny.pixel_values(), anatomy=PLEURA).shape == (3, 1, 16)


def test_bad_input_ends_with_a_sentence(
    adapted: SimpleNamespace, data: Path, encoder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["radir", "adapt", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        return " ".join(capsys.readouterr().err.split())

    given = ("--dataset", data, "--out", tmp_path / "model", "--json")
    assert "cannot be adapted" in run("--encoder", tmp_path / "nowhere", *given)
    assert "9" in run("--encoder", encoder, "--level", 9, *given)
    assert "batch-size is 0" in run("--encoder", encoder, "--batch-size", 0, *given)
    assert "basis_size is 0" in run("--encoder", encoder, "--basis-size", 0, *given)
    told = run("--encoder", encoder, "--dataset", data, "--out", adapted.folder, "--seed", 1)
    assert "another" in told and "seed" in told
    assert not (tmp_path / "model").exists()


def test_the_frozen_floor_of_an_adapted_model_is_the_encoder_it_was_made_from(
    adapted: SimpleNamespace, data: Path, tmp_path: Path
) -> None:
    further = tmp_path / "further"
    adapt(AdaptSettings(str(adapted.folder), basis_size=20, head_size=8), data, further, progress=False)
    own = RadIRModel.from_pretrained(adapted.folder).vision_model.tower.state_dict()
    for folder in (adapted.folder, further):
        found = FrozenTower.load(folder, "cpu").tower.tower.state_dict()
        assert own and all(value.equal(own[name]) for name, value in found.items())
