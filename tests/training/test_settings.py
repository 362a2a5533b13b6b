"""Settings: every number has its range, a file or a command line that is wrong ends with a sentence."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

import train_accelerate
from radir_training.settings import RANGES, TrainConfig, load_config


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"dataset": "somewhere", "output_dir": "somewhere", **changes})


NUMBERS = [item.name for item in fields(TrainConfig) if {item.type, *get_args(item.type)} & {int, float}]


def test_every_number_has_a_range_and_its_default_is_inside() -> None:
    assert set(NUMBERS) == set(RANGES)
    config()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_outside_their_range_are_refused_by_name(name: str) -> None:
    kind = next(item.type for item in fields(TrainConfig) if item.name == name)
    wrong = [RANGES[name].low - 1, *([RANGES[name].low] if RANGES[name].above else [])]
    whole = kind is int or int in get_args(kind)
    wrong = [int(value) for value in wrong] if whole else [*map(float, wrong), math.nan, math.inf, -math.inf]
    for value in wrong:
        with pytest.raises(ValueError, match=f"{name} must be"):
            config(**{name: [value] * 3 if get_args(kind) else value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", True), ("batch_size", 8.5), ("batch_size", None), ("gap", True), ("gap", "much"),
     ("gap", [0.1]), ("gap", None), ("augment", "yes please"), ("augment", 1), ("volume_size", "abc"),
     ("volume_size", [1, "a", 2]), ("vision", []), ("model", 3), ("output_dir", 3)],
)  # fmt: skip
def test_values_of_another_type_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        config(**{name: value})


@pytest.mark.parametrize(
    "changes", [{"vision": {"pretrained": 3}}, {"text": {"model_type": ["bert"]}}, {"fusion": {1: 2}}]
)
def test_names_in_a_part_must_be_names(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a name is needed"):
        config(**changes)


def test_a_stage_without_steps_is_left_out_by_name_not_by_zero() -> None:
    with pytest.raises(ValueError, match="stage2_steps is 0"):
        config(stage2_steps=0)
    assert config(stage2_steps=0, method="clip").plan == [(1, 12_000)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1,\n b", "no YAML of plain settings"),
        (b"- 1\n- 2\n", "holds a list"),
        (b"hello", "holds a str"),
        (b"seed: !!python/object/apply:os.mkdir ['pwned']\n", "no YAML of plain settings"),
        (b"seed: 1\nseed: 2\n", "seed is set twice"),
        (b"vision: {hidden_size: 1, hidden_size: 2}\n", "hidden_size is set twice"),
        (b"lerning_rate: 1\n", "sets lerning_rate, .*is learning_rate meant"),
        (b"1: 2\n", "sets 1, which"),
        (b"\xff\xfe\x00\x01", "no YAML of plain settings"),
        (b"a: " + b"[" * 3000, "no YAML of plain settings"),
    ],
)
def test_a_file_that_holds_no_settings_is_named_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_bytes(text)
    with pytest.raises(ValueError, match=f"c.yaml.*{said}"):
        load_config(["c.yaml"])
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "x"], "--seed"),
        (["--seed"], "--seed"),
        (["--augment", "maybe"], "--augment"),
        (["--unknown", "3"], "does not know --unknown 3"),
        (["--batchsize", "3"], "is --batch_size meant"),
        (["--batch", "8"], "does not know --batch 8"),
        (["foo", "--seed", "1"], "foo cannot be read"),
        (["/"], "cannot be read: Is a directory"),
        (["-x"], "does not know -x"),
        ([], "dataset is not set"),
    ],
)
def test_a_wrong_command_line_ends_with_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert train_accelerate.main(arguments) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
