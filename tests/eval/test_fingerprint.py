"""Digests follow the content of what decides, and nothing else."""

from pathlib import Path

import pytest
from radir_eval.fingerprint import code_digest, model_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    for name, content in (("config.json", "{}"), ("model.safetensors", "weights"), ("vocab.txt", "lung")):
        (model / name).write_text(content)
    return model


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt", "another.json"])
def test_each_file_of_a_model_folder_counts(name: str, folder: Path) -> None:
    before = model_digest(folder)
    (folder / name).write_text("another content")
    assert model_digest(folder) != before


def test_cards_logs_checkpoints_and_the_place_do_not_count(folder: Path, tmp_path: Path) -> None:
    before = model_digest(folder)
    for name in ("README.md", "training.json", ".gitattributes"):
        (folder / name).write_text("about the model")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "model.safetensors").write_text("of an earlier step")
    assert model_digest(folder.rename(tmp_path / "moved")) == before


def test_a_renamed_file_counts(folder: Path) -> None:
    before = model_digest(folder)
    (folder / "vocab.txt").rename(folder / "merges.txt")
    assert model_digest(folder) != before


def test_a_checkpoint_file_counts_by_its_content(tmp_path: Path) -> None:
    for name, content in (("a.pt", "weights"), ("b.pt", "other")):
        (tmp_path / name).write_text(content)
    assert model_digest(tmp_path / "a.pt") != model_digest(tmp_path / "b.pt")


def test_a_hub_id_is_known_by_its_commit_once_it_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert model_digest("user/model") is None
    repository = tmp_path / "models--user--model"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert model_digest("user/model") == f"user/model at {COMMIT}"
    assert model_digest("no such: thing") is None


def test_the_code_of_a_room_counts() -> None:
    assert code_digest("radir_eval") == code_digest("radir_eval")
    assert code_digest("radir_eval") != code_digest("radir_eval", "modeling_radir")
