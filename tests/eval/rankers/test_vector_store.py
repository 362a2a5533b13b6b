"""Vectors on disk: encoded once, resumed to the same bytes, never those of a changed model or processor."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from radir_eval.benchmark import evaluate_models
from radir_eval.protocol import Protocol
from radir_eval.rankers.encoder import Encoder, open_all
from radir_eval.rankers.radir_model import ModelEmbeddings
from radir_eval.rankers.vector_store import STATE, VectorStore
from radir_eval.rankers.vectors import RandomRanker
from radir_eval.retrieval_split import RetrievalSplit
from safetensors.torch import load_file, save_file

from modeling_radir import RadIRModel
from tests.modeling_radir import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "radir"
    tiny.model().save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A model folder that a test may change."""
    return shutil.copytree(saved, tmp_path / "radir")


@pytest.fixture(scope="module")
def items(helpers: SimpleNamespace) -> RetrievalSplit:
    return RetrievalSplit(helpers.FakeDataset(n_studies=12), "test")  # larger images than the model takes


def source(model: Path) -> Encoder:
    return ModelEmbeddings(model, batch_size=4, device="cpu", progress=False)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call of the vision tower encoded; a number to stop after may be put first."""
    seen: list[int] = []
    encode = RadIRModel.encode_image

    def counted(self: RadIRModel, pixel_values: torch.Tensor, *args: Any, **options: Any) -> object:
        if seen and seen[0] < 0 and sum(seen[1:]) >= -seen[0]:
            raise KeyboardInterrupt
        seen.append(len(pixel_values))
        return encode(self, pixel_values, *args, **options)

    monkeypatch.setattr(RadIRModel, "encode_image", counted)
    return seen


def files(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def test_vectors_are_those_of_the_encoder_and_encoded_once(
    model: Path, items: RetrievalSplit, tmp_path: Path, encoded: list[int]
) -> None:
    plain = source(model).open(items)
    first = source(model).open(items, tmp_path / "cache")
    assert sum(encoded) == 2 * len(items)
    again = source(model).open(items, tmp_path / "cache")
    assert sum(encoded) == 2 * len(items)
    for ranking in (first, again):
        assert ranking.conditional
        assert ranking.covers("heart")
        np.testing.assert_array_equal(ranking.report(), plain.report())
        for anatomy in (None, *(a["name"] for a in items.anatomies)):
            np.testing.assert_array_equal(ranking.image(anatomy), plain.image(anatomy))


def test_kept_vectors_stay_on_disk(model: Path, items: RetrievalSplit, tmp_path: Path) -> None:
    ranking = source(model).open(items, tmp_path / "cache")
    for anatomy in (None, "heart"):
        vectors = ranking.image(anatomy)
        assert isinstance(vectors, np.memmap)
        assert not vectors.flags.writeable


def test_a_kept_model_is_not_loaded_again(
    model: Path, items: RetrievalSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(model).open(items, tmp_path / "cache")
    monkeypatch.setattr("radir_eval.rankers.radir_model.load", lambda *_: pytest.fail("the model was loaded"))
    source(model).open(items, tmp_path / "cache")


@pytest.mark.parametrize("stop", [4, 8])
def test_an_interrupted_encoding_goes_on_to_the_same_bytes(
    stop: int, model: Path, items: RetrievalSplit, tmp_path: Path, encoded: list[int]
) -> None:
    source(model).open(items, tmp_path / "whole")
    encoded[:] = [-stop]
    with pytest.raises(KeyboardInterrupt):
        source(model).open(items, tmp_path / "cache")
    assert sum(encoded[1:]) == stop
    encoded.clear()
    source(model).open(items, tmp_path / "cache")
    assert sum(encoded) == len(items) - stop
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_a_killed_encoding_goes_on_from_what_was_saved(
    model: Path, items: RetrievalSplit, tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source(model).open(items, tmp_path / "whole")
    encoded[:] = [-8]
    with monkeypatch.context() as patch:
        patch.setattr(VectorStore, "save", lambda self: None)  # as if the process had no time to
        with pytest.raises(KeyboardInterrupt):
            source(model).open(items, tmp_path / "cache")
    encoded.clear()
    source(model).open(items, tmp_path / "cache")
    assert sum(encoded) == len(items)
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def change_weights(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] += 1.0
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def change_processor(model: Path) -> None:
    path = model / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["image_processor"]["resize_in_8_bits"] = True
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize("change", [change_weights, change_processor])
def test_a_changed_model_never_reads_the_vectors_of_the_old_one(
    change: Any, model: Path, items: RetrievalSplit, tmp_path: Path, encoded: list[int]
) -> None:
    old = source(model).open(items, tmp_path / "cache")
    change(model)
    encoded.clear()
    new = source(model).open(items, tmp_path / "cache")
    assert sum(encoded) == len(items)
    assert not np.allclose(new.image(None), old.image(None), atol=1e-6)
    np.testing.assert_array_equal(new.image(None), source(model).open(items).image(None))


def test_a_new_card_or_another_place_changes_nothing(
    model: Path, items: RetrievalSplit, tmp_path: Path, encoded: list[int]
) -> None:
    source(model).open(items, tmp_path / "cache")
    (model / "README.md").write_text("A card.")
    (model / "training.json").write_text("{}")
    moved = model.rename(tmp_path / "moved")
    encoded.clear()
    source(moved).open(items, tmp_path / "cache")
    assert encoded == []


def test_another_dataset_or_split_has_vectors_of_its_own(
    model: Path, items: RetrievalSplit, helpers: SimpleNamespace, tmp_path: Path, encoded: list[int]
) -> None:
    source(model).open(items, tmp_path / "cache")
    encoded.clear()
    source(model).open(RetrievalSplit(items.dataset, "train"), tmp_path / "cache")
    other = RetrievalSplit(helpers.FakeDataset(n_studies=12, seed=1), "test")
    source(model).open(other, tmp_path / "cache")
    assert sum(encoded) == len(items) + len(other)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_only_what_encodes_is_cached(model: Path, items: RetrievalSplit, tmp_path: Path) -> None:
    rankings = open_all([source(model), RandomRanker()], items, tmp_path / "cache")
    assert list(rankings) == ["radir", "random"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_nothing_is_kept_of_an_encoder_whose_content_cannot_be_told(
    model: Path, items: RetrievalSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelEmbeddings, "fingerprint", lambda self: None)
    ranking = source(model).open(items, tmp_path / "cache")
    assert ranking.conditional
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_is_said_before_anything_is_encoded_into_it(
    model: Path, items: RetrievalSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(ValueError, match="has 100 left"):
        source(model).open(items, tmp_path / "cache")


def test_a_damaged_folder_is_named(model: Path, items: RetrievalSplit, tmp_path: Path) -> None:
    source(model).open(items, tmp_path / "cache")
    (state,) = (tmp_path / "cache").rglob(STATE)
    (state.parent / "holistic.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        source(model).open(items, tmp_path / "cache")
    state.write_text("{}")
    with pytest.raises(ValueError, match="delete"):
        source(model).open(items, tmp_path / "cache")


def test_an_evaluation_keeps_vectors_beside_its_results_or_where_it_is_told(
    model: Path, helpers: SimpleNamespace, tmp_path: Path, encoded: list[int]
) -> None:
    dataset = helpers.FakeDataset(n_studies=24)
    shared = (dataset, "test", [source(model)], Protocol(bootstrap_draws=10, min_queries=1))
    evaluate_models(*shared, tmp_path / "a", progress=False, heat_maps=0)
    assert list((tmp_path / "a" / ".cache").rglob("conditional.npy"))
    assert not list(model.glob("**/*.npy"))
    count, kept = sum(encoded), tmp_path / "a" / ".cache"
    evaluate_models(*shared, tmp_path / "b", progress=False, cache=kept, heat_maps=0)
    assert sum(encoded) == count
    assert not (tmp_path / "b" / ".cache").exists()
    for name in ("results.json", "per_query.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
