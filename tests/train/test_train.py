"""Training: resume equals uninterrupted, the same command gives the same bytes, bad settings are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, BertConfig, BertModel, ViTConfig, ViTModel

import train_accelerate
from configs.settings import load_config
from modeling_radir.tokenization_radir import learn_tokenizer
from tests.made_up import TINY_TRAINING, built_open_i
from train_accelerate import Trainer, train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(tmp_path: Path, dataset: Path) -> list[str]:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_TRAINING + f"dataset: {dataset}\n")
    return [str(path)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "tiny.yaml").write_text(TINY_TRAINING + f"dataset: {dataset}\n")
    return train(load_config([str(folder / "tiny.yaml"), "--output_dir", str(folder / "model")]))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_same_command_gives_the_same_bytes(
    config: list[str], tmp_path: Path, uninterrupted: Path
) -> None:
    again = train(load_config([*config, "--output_dir", str(tmp_path / "again")]))
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json"):
        assert (again / name).read_bytes() == (uninterrupted / name).read_bytes(), name


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
    assert weights(resumed) == weights(uninterrupted)
    steps = [
        (entry["stage"], entry["step"])
        for entry in json.loads((resumed / "training.json").read_text())["history"]
    ]
    assert steps == [(stage, step) for stage in (1, 2) for step in range(4)]


def test_the_model_folder_loads_with_the_auto_classes(uninterrupted: Path) -> None:
    model = AutoModel.from_pretrained(uninterrupted)
    processor = AutoProcessor.from_pretrained(uninterrupted)
    assert "left pleura" in model.config.anatomies
    assert processor.tokenizer.model_max_length == 48
    assert not (uninterrupted / "checkpoint").exists()


def test_stage_1_leaves_the_fusion_alone_and_stage_2_the_frozen_towers(
    config: list[str], tmp_path: Path
) -> None:
    first = train(load_config([*config, "--output_dir", str(tmp_path / "one"), "--stage", "1"]))
    second = train(
        load_config([*config, "--output_dir", str(tmp_path / "two"), "--stage", "2", "--model", str(first),
                     "--train_vision", "false"])
    )  # fmt: skip
    before, after = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith("fusion_model.") for name in changed)


def test_pretrained_towers_start_the_model(config: list[str], tmp_path: Path) -> None:
    settings = yaml.safe_load(Path(config[0]).read_text())
    settings["vision"].pop("model_type"), settings["text"].pop("model_type")
    tokenizer = learn_tokenizer(["left pleura heart lungs are clear"], 100, 48)
    vision, text = ViTModel(ViTConfig(**settings["vision"])), BertModel(BertConfig(**settings["text"]))
    for part, folder in ((vision, "vision"), (text, "text"), (tokenizer, "text")):
        part.save_pretrained(tmp_path / folder)
    towers = {name: {"pretrained": str(tmp_path / name)} for name in ("vision", "text")}
    Path(config[0]).write_text(yaml.safe_dump(settings | towers | {"tokenizer": str(tmp_path / "text")}))
    model = Trainer(load_config([*config, "--output_dir", str(tmp_path / "out")])).model
    for own, given in ((model.vision_model.tower, vision), (model.text_model.tower, text)):
        state = own.state_dict()
        assert state
        assert all(value.equal(given.state_dict()[name]) for name, value in state.items())


def test_a_plain_clip_spends_all_steps_on_stage_1_without_fusion(config: list[str], tmp_path: Path) -> None:
    folder = train(load_config([*config, "--output_dir", str(tmp_path / "clip"), "--method", "clip"]))
    report = json.loads((folder / "training.json").read_text())
    assert [entry["step"] for entry in report["history"]] == list(range(8))
    assert AutoModel.from_pretrained(folder).config.fusion_config is None


def test_two_processes_learn_what_one_learns(config: list[str], tmp_path: Path) -> None:
    settings = yaml.safe_load(Path(config[0]).read_text()) | {"augment": False}
    settings["text"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings["vision"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings["fusion"] |= {"dropout": 0.0}
    Path(config[0]).write_text(yaml.safe_dump(settings))
    one = train(load_config([*config, "--output_dir", str(tmp_path / "one")]))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
              "--main_process_port", "0",
              "train_accelerate.py"]  # fmt: skip
    command = [*launch, *config, "--output_dir", str(tmp_path / "two")]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Losses, not weights: Adam turns the rounding noise of vanishing gradients into steps of full size.
    losses = [
        [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["history"]]
        for folder in (one, tmp_path / "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(set(losses[0])) > 6  # it did learn, so equal losses mean equal gradients


def test_a_folder_of_other_settings_is_not_continued(config: list[str], uninterrupted: Path) -> None:
    with pytest.raises(ValueError, match="another seed"):
        train(load_config([*config, "--output_dir", str(uninterrupted), "--seed", "1"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "simclr"], "radir, clip"),
        (["--stage", "3"], "1, 2, both"),
        (["--stage", "2"], "set --model DIR"),
        (["--stage1_weight", "1", "--train_vision", "false"], "set train_vision"),
        (["--output_dir", ""], "output_dir is not set"),
        (["--learning_rte", "1"], "learning_rte"),
        (["--dataset", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_settings_end_with_a_sentence_and_exit_code_2(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert train_accelerate.main([*config, "--output_dir", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_name_in_the_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("lerning_rate: 1\n")
    with pytest.raises(ValueError, match="lerning_rate"):
        load_config([str(path)])
