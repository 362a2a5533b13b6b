"""A run that was stopped, killed or started twice ends like one that was not, or is told why it cannot."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import train_accelerate
from dataset_scripts.plumbing.manifest import write_manifest
from dataset_scripts.plumbing.outputs import claim
from radir_training.run_folder import CHECKPOINT_KIND
from radir_training.settings import load_config
from train_accelerate import Trainer, train


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def content(folder: Path) -> dict[str, bytes]:
    """All files of a finished run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_command_gives_the_same_bytes(
    config: list[str], tmp_path: Path, uninterrupted: Path
) -> None:
    again = train(load_config([*config, "--output_dir", str(tmp_path / "again")]))
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (again / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def signal_in_step(monkeypatch: pytest.MonkeyPatch, number: int, stage: int, step: int) -> None:
    """Let the run get a signal in the middle of a step."""
    update = Trainer._update

    def interrupted(self: Trainer, model: Any, optimizer: Any, at: int, *rest: Any) -> Tensor:
        if (at, rest[1].start) == (stage, step):
            monkeypatch.setattr(Trainer, "_update", update)
            os.kill(os.getpid(), number)
        return update(self, model, optimizer, at, *rest)

    monkeypatch.setattr(Trainer, "_update", interrupted)


@pytest.mark.parametrize(
    ("stage", "step", "number", "code"),
    [(1, 0, signal.SIGTERM, 143), (1, 3, signal.SIGINT, 130), (2, 2, signal.SIGTERM, 143)],
)  # the first step, the last one of a stage, one of the second stage
def test_a_run_that_a_signal_stopped_ends_byte_for_byte_like_one_that_none_did(
    config: list[str], tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], stage: int, step: int, number: signal.Signals, code: int,
) -> None:  # fmt: skip
    arguments = [*config, "--output_dir", str(tmp_path / "run")]
    signal_in_step(monkeypatch, number, stage, step)
    assert train_accelerate.main(arguments) == code
    said = f"stopped by {number.name} after step {step + 1} of stage {stage}, saved in {tmp_path / 'run'}"
    assert said in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint"]
    assert train_accelerate.main(arguments) == 0
    assert content(tmp_path / "run") == content(uninterrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tiny.yaml"]


@pytest.mark.parametrize("checkpoints", [1, 2])  # within stage 1; within stage 2
def test_resuming_equals_an_uninterrupted_run(
    config: list[str], tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: int
) -> None:
    arguments = [*config, "--output_dir", str(tmp_path / "resumed")]
    save = Trainer._checkpoint
    left = [checkpoints]

    def save_then_stop(self: Trainer, stage: int, step: int) -> None:
        save(self, stage, step)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_checkpoint", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(load_config(arguments))
    monkeypatch.setattr(Trainer, "_checkpoint", save)
    resumed = train(load_config(arguments))
    assert content(resumed) == content(uninterrupted)
    steps = [
        (entry["stage"], entry["step"])
        for entry in json.loads((resumed / "training.json").read_text())["history"]
    ]
    assert steps == [(stage, step) for stage in (1, 2) for step in range(4)]


def test_a_checkpoint_without_its_random_states_is_not_gone_on_from(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*config, "--output_dir", str(tmp_path / "run")]
    signal_in_step(monkeypatch, signal.SIGTERM, 1, 1)
    assert train_accelerate.main(arguments) == 143
    (checkpoint,) = (tmp_path / "run" / "checkpoint").iterdir()
    (checkpoint / "random_states_0.pkl").unlink()
    assert train_accelerate.main(arguments) == 2
    assert "random_states_0.pkl is missing" in capsys.readouterr().err


def test_two_runs_of_one_output_dir_are_not_at_work_together(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*config, "--output_dir", str(tmp_path / "run")]
    with claim(tmp_path / "run"):
        assert train_accelerate.main(arguments) == 2
    assert f"is being written by process {os.getpid()}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_resuming_with_accumulation_and_bf16_equals_an_uninterrupted_run(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [*config, "--gradient_accumulation", "2", "--mixed_precision", "bf16", "--stage", "1"]
    whole = train(load_config([*more, "--output_dir", str(tmp_path / "whole")]))
    save = Trainer._checkpoint

    def save_then_stop(self: Trainer, stage: int, step: int) -> None:
        save(self, stage, step)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_checkpoint", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(load_config([*more, "--output_dir", str(tmp_path / "resumed")]))
    monkeypatch.setattr(Trainer, "_checkpoint", save)
    resumed = train(load_config([*more, "--output_dir", str(tmp_path / "resumed")]))
    assert weights(resumed) == weights(whole)


def test_a_checkpoint_of_another_schedule_and_decay_ends_with_a_sentence(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As earlier versions left it: with other parameter groups, and a progress.json that names no recipe."""
    arguments = [*config, "--output_dir", str(tmp_path / "run")]
    signal_in_step(monkeypatch, signal.SIGTERM, 1, 1)
    assert train_accelerate.main(arguments) == 143
    (checkpoint,) = (tmp_path / "run" / "checkpoint").iterdir()
    about = json.loads((checkpoint / "progress.json").read_text())
    del about["recipe"]
    (checkpoint / "progress.json").write_text(json.dumps(about))
    (checkpoint / "manifest.json").unlink()
    write_manifest(checkpoint, CHECKPOINT_KIND)
    before = content(tmp_path / "run")
    assert train_accelerate.main(arguments) == 2
    assert "a checkpoint of an earlier version, which had another schedule" in capsys.readouterr().err
    assert content(tmp_path / "run") == before


def test_a_folder_of_other_settings_is_not_continued(config: list[str], uninterrupted: Path) -> None:
    with pytest.raises(ValueError, match="another seed"):
        train(load_config([*config, "--output_dir", str(uninterrupted), "--seed", "1"]))
