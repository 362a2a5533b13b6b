"""A run's folder: whole checkpoints alone, nobody else's files, the same end after a kill at any moment."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from dataset_scripts.plumbing.manifest import MANIFEST, write_manifest
from radir_training.run_folder import CHECKPOINT_KIND, RECIPE, Progress, RunFolder, check_place
from tests.killing import killed_at

SETTINGS = {"seed": 0, "dataset": "abc"}
NAMES = ("model.safetensors", "optimizer.bin", "random_states_0.pkl")


def progress(step: int, stage: int = 1, processes: int = 1) -> Progress:
    return Progress(stage, step, processes, SETTINGS, {"name": "made-up"}, [{"step": step}], RECIPE)


def save(folder: RunFolder, step: int, stage: int = 1, processes: int = 1) -> None:
    with folder.new_checkpoint(progress(step, stage, processes)) as fresh:
        for name in NAMES:
            (fresh / name).write_text(f"{name} of step {step}")


def write_model(folder: Path) -> None:
    for name in ("config.json", "model.safetensors", "code.py"):
        (folder / name).write_text(name)
    (folder / "training.json").write_text(json.dumps({"settings": SETTINGS}))


def run(path: Path) -> None:
    """A whole run, or what is left of it, as the trainer does it."""
    folder = RunFolder(path, SETTINGS)
    folder.check()
    if folder.is_finished():
        return
    found = folder.resume_point(1)
    for step in range(found[1].step + 1 if found else 1, 3):
        save(folder, step)
    folder.finish(write_model)


def content(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", SETTINGS)


def test_a_run_that_is_killed_at_any_change_of_the_folder_ends_like_one_that_is_not(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    assert set(content(tmp_path / "whole")) == {
        "config.json", "model.safetensors", "code.py", "training.json", MANIFEST
    }  # fmt: skip
    number = 0
    while killed_at(number, lambda: run(tmp_path / "killed")):
        run(tmp_path / "killed")
        assert content(tmp_path / "killed") == content(tmp_path / "whole"), f"killed at change {number}"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]
        assert not (tmp_path / "killed" / "checkpoint").exists()
        shutil.rmtree(tmp_path / "killed")
        number += 1
    assert number > 20


def test_a_kill_loses_the_steps_since_the_last_checkpoint_and_no_more(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", SETTINGS)
    save(folder, 5)
    number = 0
    while killed_at(number, lambda: save(folder, 6)):
        found = folder.resume_point(1)
        assert found is not None
        assert found[1].step in (5, 6)
        assert (found[0] / "optimizer.bin").read_text() == f"optimizer.bin of step {found[1].step}"
        shutil.rmtree(tmp_path / "run")
        save(folder, 5)
        number += 1
    assert number > 3


def test_the_newest_whole_checkpoint_counts_and_the_one_before_is_gone(folder: RunFolder) -> None:
    for stage, step in ((1, 500), (1, 1000), (2, 500)):
        save(folder, step, stage)
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["stage2-000500"]
    path, found = folder.resume_point(1) or (None, None)
    assert path == folder.path / "checkpoint" / "stage2-000500"
    assert found == progress(500, 2)


@pytest.mark.parametrize("name", [*NAMES, "progress.json"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes and had"),
        (lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]), "has changed"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_never_resumed(
    folder: RunFolder, name: str, damage: Callable[[Path], None], said: str
) -> None:
    save(folder, 500)
    damage(folder.path / "checkpoint" / "stage1-000500" / name)
    with pytest.raises(ValueError, match=rf"stage1-000500 is damaged \({name} .*{said}|{name} {said}"):
        folder.resume_point(1)


def test_a_resume_with_another_number_of_processes_is_refused_unless_asked_for(folder: RunFolder) -> None:
    save(folder, 500, processes=2)
    with pytest.raises(ValueError, match=r"of 2 processes, and there are 1 now.*--other_processes"):
        folder.resume_point(1)
    assert folder.resume_point(2)
    assert folder.resume_point(1, other_processes=True)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "training.json", "vocab.txt", "mine.py", "manifest.json",
     "checkpoint/notes.txt", "checkpoint/progress.json", "checkpoint/model", "checkpoint/stage1-000500",
     "logs"],
)  # fmt: skip
def test_a_folder_with_others_files_is_refused_and_left_as_it_is(folder: RunFolder, name: str) -> None:
    path = folder.path / name
    path.parent.mkdir(parents=True)
    path.write_text("of someone else")
    with pytest.raises(ValueError, match=f"{folder.path} holds {name}.*give another --output_dir"):
        folder.check()
    assert path.read_text() == "of someone else"


def test_others_files_among_ours_are_refused(folder: RunFolder) -> None:
    save(folder, 500)
    folder.check()
    (folder.path / "checkpoint" / "stage1-000500" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"checkpoint/stage1-000500/notes\.txt"):
        folder.check()


def test_a_file_that_appears_while_the_model_is_trained_is_not_replaced(folder: RunFolder) -> None:
    save(folder, 500)
    (folder.path / "model.safetensors").write_text("of someone else")
    with pytest.raises(ValueError, match=r"model\.safetensors appeared while"):
        folder.finish(write_model)
    assert (folder.path / "model.safetensors").read_text() == "of someone else"
    (folder.path / "model.safetensors").unlink()
    folder.check()
    assert folder.is_finished()
    assert (folder.path / "model.safetensors").read_text() == "model.safetensors"


def test_notes_and_a_card_stay_beside_a_model(folder: RunFolder) -> None:
    folder.path.mkdir()
    for name in ("README.md", "notes.txt"):
        (folder.path / name).write_text("mine")
    run(folder.path)
    assert (folder.path / "README.md").read_text() == (folder.path / "notes.txt").read_text() == "mine"


def test_a_model_without_its_weights_is_trained_again_and_a_changed_one_refused(folder: RunFolder) -> None:
    run(folder.path)
    assert folder.is_finished()
    (folder.path / "model.safetensors").unlink()
    assert not folder.is_finished()
    run(folder.path)
    assert folder.is_finished()
    (folder.path / "model.safetensors").write_text("model")
    with pytest.raises(ValueError, match=r"whose model\.safetensors changed since it was trained"):
        folder.is_finished()


def test_a_model_of_an_earlier_version_counts_if_its_weights_are_whole(folder: RunFolder) -> None:
    folder.path.mkdir()
    (folder.path / "training.json").write_text(json.dumps({"settings": SETTINGS}))
    folder.check()
    assert not folder.is_finished()
    import numpy as np

    save_file({"a": np.zeros(3)}, folder.path / "model.safetensors")
    assert folder.is_finished()
    os.truncate(folder.path / "model.safetensors", 20)
    with pytest.raises(ValueError, match="no whole file of weights"):
        folder.is_finished()


def old_checkpoint(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)
    about = {"stage": 1, "step": 500, "settings": SETTINGS, "history": []}
    (folder / "progress.json").write_text(json.dumps(about))


def test_a_checkpoint_of_an_earlier_version_is_known_refused_and_left_as_it_is(folder: RunFolder) -> None:
    """It was optimised otherwise: to resume it would give weights that no uninterrupted run has."""
    old_checkpoint(folder.path / "checkpoint")
    before = content(folder.path)
    folder.check()
    with pytest.raises(ValueError, match=r"of an earlier version.*finish the run with that version"):
        folder.resume_point(1)
    assert content(folder.path) == before


def test_a_checkpoint_that_names_no_recipe_is_of_an_earlier_version(folder: RunFolder) -> None:
    with folder.new_checkpoint(replace(progress(500), recipe=1)) as fresh:
        (fresh / "model.safetensors").write_text("")
    path = folder.path / "checkpoint" / "stage1-000500"
    about = json.loads((path / "progress.json").read_text())
    del about["recipe"]
    (path / "progress.json").write_text(json.dumps(about))
    (path / MANIFEST).unlink()
    write_manifest(path, CHECKPOINT_KIND)
    with pytest.raises(ValueError, match="another schedule and weight decay"):
        folder.resume_point(1)
    assert path.exists()


def test_a_model_of_an_earlier_version_is_that_of_the_same_dataset(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"settings": SETTINGS | {"dataset": "of the card"}}))
    RunFolder(tmp_path, SETTINGS, old_dataset="of the card").check()
    with pytest.raises(ValueError, match="another dataset"):
        RunFolder(tmp_path, SETTINGS, old_dataset="of another card").check()


def test_a_full_disk_ends_with_a_sentence_and_keeps_the_last_checkpoint(folder: RunFolder) -> None:
    save(folder, 500)
    with (
        pytest.raises(ValueError, match=r"stage1-001000 could not be written \(.*disk full.*last checkpoint"),
        folder.new_checkpoint(progress(1000)),
    ):
        raise RuntimeError("PytorchStreamWriter failed: disk full")
    found = folder.resume_point(1)
    assert found is not None
    assert found[1].step == 500
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["stage1-000500"]


def test_a_place_that_cannot_be_a_folder_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(ValueError, match="file is no folder; give another"):
            check_place("output_dir", path)
    check_place("output_dir", tmp_path / "new" / "er")
    assert not (tmp_path / "new").exists()
