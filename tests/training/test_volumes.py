"""A dataset of volumes trains, evaluates, indexes and searches like one of images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from radir_eval.rankers.radir_model import ModelEmbeddings
from radir_eval.retrieval_split import RetrievalSplit

import train_accelerate
from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.phantoms.ct_source import PhantomCTSource
from modeling_radir import RadIRCTImageProcessor
from modeling_radir.inference import load
from modeling_radir.volumes import Volume
from radir_search.build_index import IndexItem, build_index
from radir_search.query import search_image
from radir_training.batches import augmentation
from radir_training.settings import load_config
from radir_training.volume_cache import VolumeCache
from tests.made_up.open_i import TINY_TRAINING, built_open_i
from train_accelerate import Trainer, train

TOWER = {
    "model_type": "radir_ctvit", "hidden_size": 16, "image_size": 32, "patch_size": 16,
    "temporal_patch_size": 8, "num_spatial_layers": 1, "num_temporal_layers": 1, "num_class_layers": 1,
    "num_attention_heads": 2, "head_dim": 8,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "vision": TOWER, "volume_size": [16, 32, 32], "spacing_mm": [18.0, 12.0, 12.0], "augment": False,
    "stage1_steps": 2, "stage2_steps": 2, "batch_size": 4, "stage2_batch_size": 4, "checkpoint_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A built dataset of 24 volumes, and the settings and the folder of a model that was trained on it."""
    folder = tmp_path_factory.mktemp("volumes")
    source = PhantomCTSource(count=24, slices=16, size=32)
    build_dataset(source, folder / "data", LexicalExtractor(), processes=1, progress=False)
    settings = yaml.safe_load(TINY_TRAINING) | SETTINGS | {"dataset": str(folder / "data")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    config = [str(folder / "tiny.yaml")]
    model = train(load_config([*config, "--output_dir", str(folder / "model")]))
    return SimpleNamespace(data=BuiltDataset(folder / "data"), config=config, model=model)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_training_learns_from_the_cached_volumes_what_it_learns_without_a_cache(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    cached = list((world.model / "prepared").rglob("*.npy"))
    assert 4 <= len(cached) <= len(world.data.studies("train"))
    arguments = [*world.config, "--output_dir", str(tmp_path / "out"), "--cache_volumes", "false"]
    assert weights(train(load_config(arguments))) == weights(world.model)
    assert not (tmp_path / "out" / "prepared").exists()


def test_resuming_equals_an_uninterrupted_run(
    world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*world.config, "--output_dir", str(tmp_path), "--cache_dir", str(world.model / "prepared")]
    save = Trainer._checkpoint

    def save_then_stop(self: Trainer, stage: int, step: int) -> None:
        save(self, stage, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_checkpoint", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(load_config(arguments))
    monkeypatch.setattr(Trainer, "_checkpoint", save)
    assert weights(train(load_config(arguments))) == weights(world.model)


def test_a_prepared_volume_is_what_the_processor_makes_of_the_file(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    _, processor = load(world.model, "cpu")
    row = world.data.studies("train")[0]
    prepared = VolumeCache(world.data, processor.image_processor, tmp_path)(row)
    assert isinstance(prepared, np.memmap)
    assert prepared.dtype == np.int16
    direct = processor(images=world.data.path(row["image"]), return_tensors="pt")["pixel_values"]
    assert direct.shape == (1, 1, 16, 32, 32)
    assert direct.std() > 0.1
    assert direct.equal(processor(images=prepared, return_tensors="pt")["pixel_values"])


def test_a_prepared_volume_is_read_again_until_something_that_decides_it_changes(
    world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def image(row: dict[str, Any]) -> Volume:
        reads.append(row["image_id"])
        return BuiltDataset.image(world.data, row)

    def prepared(**settings: Any) -> np.ndarray:
        values = {"size": {"depth": 8, "height": 16, "width": 16}, "spacing_mm": [36, 24, 24], **settings}
        return VolumeCache(data, RadIRCTImageProcessor(**values), tmp_path)(row)

    data = BuiltDataset(world.data.folder)
    monkeypatch.setattr(data, "image", image)
    row = dict(data.studies("train")[0])
    first = prepared()
    assert prepared().tolist() == first.tolist()
    assert len(reads) == 1
    assert prepared(hu_max=100).max() <= 100 < first.max()
    assert len(reads) == 2
    row["rescale_intercept"] -= 50.0
    assert not np.array_equal(prepared(), first)
    assert len(reads) == 3
    os.utime(data.path(row["image"]))
    prepared()
    assert len(reads) == 4


@pytest.mark.parametrize(("sharing", "mode"), [("open", 0o755), ("restricted", 0o700)])
def test_prepared_volumes_of_restricted_data_are_for_their_user_alone(
    world: SimpleNamespace, tmp_path: Path, sharing: str, mode: int
) -> None:
    data = BuiltDataset(Path(shutil.copytree(world.data.folder, tmp_path / "data")))
    facts = json.loads((data.folder / "build.json").read_text())
    (data.folder / "build.json").write_text(json.dumps(facts | {"sharing": sharing}))
    before = os.umask(0o022)
    try:
        values = {"size": {"depth": 8, "height": 16, "width": 16}, "spacing_mm": [36, 24, 24]}
        read = VolumeCache(data, RadIRCTImageProcessor(**values), tmp_path / "new" / "cache")
        read(dict(data.studies("train")[0]))
    finally:
        os.umask(before)
    folders = [tmp_path / "new" / "cache", *(tmp_path / "new" / "cache").iterdir()]
    assert len(folders) == 2
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {mode}


def test_a_prepared_volume_that_was_cut_off_is_made_again(world: SimpleNamespace, tmp_path: Path) -> None:
    values = {"size": {"depth": 8, "height": 16, "width": 16}, "spacing_mm": [36, 24, 24]}
    read = VolumeCache(world.data, RadIRCTImageProcessor(**values), tmp_path)
    row = dict(world.data.studies("train")[0])
    first = read(row).tolist()
    os.truncate(read.path(row), 300)
    assert read(row).tolist() == first


def test_a_missing_volume_is_named(world: SimpleNamespace, tmp_path: Path) -> None:
    row = dict(world.data.studies("train")[0]) | {"image": "volumes/gone.nii.gz"}
    with pytest.raises(ValueError, match=r"gone\.nii\.gz"):
        VolumeCache(world.data, RadIRCTImageProcessor(), tmp_path)(row)


def test_two_processes_with_accumulation_learn_what_one_learns(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    settings = yaml.safe_load(Path(world.config[0]).read_text()) | {"gradient_accumulation": 2}
    settings["text"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings["fusion"] |= {"dropout": 0.0}
    settings |= {"cache_dir": str(world.model / "prepared")}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    config = [str(tmp_path / "tiny.yaml"), "--output_dir"]
    one = train(load_config([*config, str(tmp_path / "one")]))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
              "--main_process_port", "0", "train_accelerate.py"]  # fmt: skip
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *config, str(tmp_path / "two")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    losses = [
        [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["history"]]
        for folder in (one, tmp_path / "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(set(losses[0])) == 4


def test_augmentation_moves_a_volume_as_a_whole_and_keeps_its_hounsfield_units() -> None:
    volume = torch.full((1, 6, 32, 32), -1.0)
    volume[..., 8:24, 8:24] = 0.04  # 40 HU
    torch.manual_seed(0)
    moved = augmentation(volumes=True)(volume)
    assert moved.shape == volume.shape
    assert not moved.equal(volume)
    assert all(section.equal(moved[0, 0]) for section in moved[0])
    assert abs(moved[0, 0, 16, 16] - 0.04) < 0.011
    assert abs(moved[0, 0, 0, 0] + 1) < 0.031


def test_a_tower_for_single_images_is_refused_before_any_step(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load(Path(world.config[0]).read_text())
    settings["vision"] = yaml.safe_load(TINY_TRAINING)["vision"]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    assert train_accelerate.main([str(tmp_path / "tiny.yaml"), "--output_dir", str(tmp_path / "out")]) == 2
    assert "takes single images" in capsys.readouterr().err


def test_a_model_for_volumes_goes_on_with_x_rays(world: SimpleNamespace, tmp_path: Path) -> None:
    data = built_open_i(tmp_path, studies=24)
    arguments = ["--model", str(world.model), "--dataset", str(data), "--output_dir", str(tmp_path / "out")]
    folder = train(load_config([*world.config, *arguments, "--stage", "1"]))
    _, processor = load(folder, "cpu")
    assert processor.image_processor.size == {"height": 32, "width": 32}


def test_evaluation_gives_the_vectors_of_the_models_own_methods(world: SimpleNamespace) -> None:
    items = RetrievalSplit(world.data, "train")
    ranking = ModelEmbeddings(world.model, batch_size=5, device="cpu", progress=False).open(items)
    model, processor = load(world.model, "cpu")
    rows = world.data.studies("train")
    paths = [world.data.path(name) for name in rows["image"]]
    pixels = torch.cat([processor(images=path, return_tensors="pt")["pixel_values"] for path in paths])
    anatomy = next(a["name"] for a in items.anatomies if len(items.members(a["name"])) > 1)
    with torch.inference_mode():
        whole = model.get_image_features(pixels)
        fused = model.get_conditional_features(pixels, anatomy=anatomy)[:, 0]
    np.testing.assert_allclose(ranking.image(None), whole.numpy(), atol=1e-5)
    np.testing.assert_allclose(ranking.image(anatomy), fused.numpy(), atol=1e-5)


def test_search_finds_the_volume_itself_first(world: SimpleNamespace, tmp_path: Path) -> None:
    rows = world.data.studies("train")
    items = [
        IndexItem(
            lambda row=row: world.data.image(row), {"image_id": row["image_id"], "study_id": row["study_id"]}
        )
        for row in rows
    ]
    lost = dict(rows[0]) | {"image": "volumes/lost.nii.gz"}
    items.append(IndexItem(lambda: world.data.image(lost), {"image_id": "lost"}))
    summary = build_index(str(world.model), items, tmp_path / "index", progress=False)
    assert summary.count == len(rows)
    assert [item["path"] for item in summary.skipped] == ["lost"]
    assert "lost.nii.gz" in summary.skipped[0]["reason"]
    for anatomy in (None, "heart"):
        hits = search_image(tmp_path / "index", world.data.path(rows[3]["image"]), anatomy, k=2)
        assert hits[0].image_id == rows[3]["image_id"]
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert hits[1].score < hits[0].score
