"""What a training learns, logs and saves, and which settings and data it refuses."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoProcessor, BertConfig, BertModel, ViTConfig, ViTModel

import train_accelerate
from dataset_scripts.building.built_dataset import BuiltDataset
from modeling_radir import RadIRModel
from radir_training.optimisation import set_learning
from radir_training.settings import load_config
from radir_training.tokenizer import learn_tokenizer
from train_accelerate import Trainer, train


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_read_is_named(
    config: list[str], tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], workers: str,
) -> None:  # fmt: skip
    def unreadable(self: BuiltDataset, row: dict[str, Any]) -> Any:
        raise ValueError(f"image {row['image_id']} of {self.name} cannot be read: it is cut off")

    monkeypatch.setattr(BuiltDataset, "image", unreadable)
    arguments = [*config, "--output_dir", str(tmp_path / "run"), "--workers", workers]
    assert train_accelerate.main(arguments) == 2
    last = capfd.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("train_accelerate: image ")
    assert last.endswith("cannot be read: it is cut off")


def test_a_run_whose_weights_became_nan_saves_nothing_as_finished(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish = Trainer._run_stage

    def spoilt(self: Trainer, stage: int, *rest: Any) -> None:
        finish(self, stage, *rest)
        with torch.no_grad():
            self.model.visual_projection.weight.fill_(math.nan)

    monkeypatch.setattr(Trainer, "_run_stage", spoilt)
    arguments = [*config, "--output_dir", str(tmp_path / "run"), "--stage", "1"]
    assert train_accelerate.main(arguments) == 2
    assert "no finite numbers (visual_projection.weight)" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()
    with pytest.raises(ValueError, match=r"at step 2 of stage 2.* no finite numbers"):
        train(load_config([*config, "--output_dir", str(tmp_path / "other")]))


def test_a_model_folder_of_someone_else_stays_as_it_is(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("of someone else")
    assert train_accelerate.main([*config, "--output_dir", str(tmp_path)]) == 2
    assert (
        "holds config.json, model.safetensors, which this training did not write" in capsys.readouterr().err
    )
    assert (tmp_path / "model.safetensors").read_text() == "of someone else"


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("vision", {"hiden_size": 16}, "vision of type vit has no setting hiden_size; is hidden_size meant"),
        ("text", {"layers": 2}, "text of type bert has no setting layers"),
        ("fusion", {"heads": 2}, "fusion of type radir_fusion has no setting heads"),
        ("vision", {"model_type": "nonsense"}, "nonsense"),
        ("vision", {"hidden_size": "big"}, "make no model"),
        ("vision", {"num_hidden_layers": -1}, "vision.num_hidden_layers must be 1 or more"),
        ("vision", {"image_size": 64, "patch_size": 64}, "the image tower (vit) does not take"),
        ("text", {"hidden_act": "nonsense"}, "make no model"),
        ("text", {"model_type": "vit"}, "the text tower (vit) does not take"),
    ],
)
def test_parts_that_make_no_model_end_with_a_sentence_and_write_nothing(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str,
    changes: dict[str, Any], said: str,
) -> None:  # fmt: skip
    settings = yaml.safe_load(Path(config[0]).read_text())
    Path(config[0]).write_text(yaml.safe_dump(settings | {part: settings[part] | changes}))
    assert train_accelerate.main([*config, "--output_dir", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dataset_in_which_no_anatomy_can_be_compared_is_refused_for_stage_2(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(BuiltDataset, "anatomies", lambda self: [])
    assert train_accelerate.main([*config, "--output_dir", str(tmp_path / "run")]) == 2
    assert "no anatomy has findings in two or more training images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_bar_of_a_log_file_is_printed_rarely(
    config: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(load_config([*config, "--output_dir", str(tmp_path / "run"), "--stage", "1"]))
    bars = [line for line in capfd.readouterr().err.replace("\r", "\n").split("\n") if "stage 1" in line]
    assert len(bars) == 2  # the beginning and the end


def without_dropout(config: list[str]) -> None:
    settings = yaml.safe_load(Path(config[0]).read_text()) | {"augment": False}
    for tower in ("text", "vision"):
        settings[tower] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    settings["fusion"] |= {"dropout": 0.0}
    Path(config[0]).write_text(yaml.safe_dump(settings))


def test_an_update_follows_the_mean_gradient_of_its_batches(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_dropout(config)
    more = [*config, "--output_dir", str(tmp_path / "out"), "--stage", "1", "--stage1_steps", "2"]
    alone = Trainer(load_config(more))
    set_learning(alone.model, 1, alone.config)
    batches = list(alone._batches(1, range(3)))
    assert len({tuple(rows.tolist()) for rows, _ in batches}) == 3
    for number, (rows, pixels) in enumerate(batches):
        (alone._losses(alone.model, 1, number, rows, pixels)["loss"] / 3).backward()
    expected = {name: p.grad for name, p in alone.model.named_parameters() if p.grad is not None}
    found: list[dict[str, Tensor]] = []

    def look(self: Accelerator, *_: object) -> Tensor:
        found.append(
            {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
        )
        return torch.ones(())

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", look)
    trainer = Trainer(load_config([*more, "--gradient_accumulation", "3"]))
    trainer.run()
    assert len(found) == 2  # once for each update
    assert found[0].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-5, atol=1e-7)


def test_mixed_precision_is_that_of_the_forward_pass_alone(
    config: list[str], tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()

    def look(module: torch.nn.Module, _: object, output: Tensor) -> None:
        seen.add(output.dtype)

    trainer = Trainer(
        load_config([*config, "--mixed_precision", "bf16", "--output_dir", str(tmp_path / "b")])
    )
    trainer.model.visual_projection.register_forward_hook(look)
    losses: set[torch.dtype] = set()
    compute = Trainer._losses

    def look_at_losses(self: Trainer, *arguments: Any) -> dict[str, Tensor]:
        values = compute(self, *arguments)
        losses.update(value.dtype for value in values.values())
        return values

    monkeypatch.setattr(Trainer, "_losses", look_at_losses)
    folder = trainer.run()
    assert seen == {torch.bfloat16}
    assert losses == {torch.float32}
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32}
    history = [json.loads((f / "training.json").read_text())["history"] for f in (folder, uninterrupted)]
    assert history[0] != history[1]
    assert [e["loss"] for e in history[0]] == pytest.approx([e["loss"] for e in history[1]], rel=0.05)


def test_checkpointed_activations_give_the_same_bytes(
    config: list[str], tmp_path: Path, uninterrupted: Path
) -> None:
    trainer = Trainer(
        load_config([*config, "--gradient_checkpointing", "--output_dir", str(tmp_path / "out")])
    )
    assert trainer.model.is_gradient_checkpointing
    saved = "model.safetensors"
    assert (trainer.run() / saved).read_bytes() == (uninterrupted / saved).read_bytes()


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


def cxr_bert_like(folder: Path) -> BertModel:
    """A folder as CXR-BERT's repository is: code of its own, weights under "bert.", heads beside them."""
    tokenizer = learn_tokenizer(["left pleura heart lungs are clear"], 100, 48)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=48, hidden_dropout_prob=0.25,
    )  # fmt: skip
    bert = BertModel(config)
    tokenizer.save_pretrained(folder)
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary) + "\n")
    code = {
        "auto_map": {"AutoTokenizer": ["code.CXRBertTokenizer", None]},
        "tokenizer_class": "CXRBertTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(code))
    own = {"model_type": "cxr-bert", "projection_size": 8, "architectures": ["CXRBertModel"]}
    own["auto_map"] = {"AutoConfig": "code.CXRBertConfig", "AutoModel": "code.CXRBertModel"}
    (folder / "config.json").write_text(json.dumps(config.to_dict() | own))
    state = {f"bert.{name}": value for name, value in bert.state_dict().items()}
    torch.save(state | {"cls_projection_head.weight": torch.zeros(8, 16)}, folder / "pytorch_model.bin")
    return bert


def test_a_repository_with_code_of_its_own_is_read_as_the_named_architecture(
    config: list[str], tmp_path: Path
) -> None:
    bert = cxr_bert_like(tmp_path / "text")
    settings = yaml.safe_load(Path(config[0]).read_text())
    settings["text"] = {
        "pretrained": str(tmp_path / "text"),
        "model_type": "bert",
        "hidden_dropout_prob": 0.1,
    }
    Path(config[0]).write_text(yaml.safe_dump(settings | {"tokenizer": str(tmp_path / "text")}))
    trainer = Trainer(load_config([*config, "--output_dir", str(tmp_path / "out")]))
    state = trainer.model.text_model.tower.state_dict()
    assert state
    assert all(value.equal(bert.state_dict()[name]) for name, value in state.items())
    text = trainer.model.config.text_config
    assert (text.model_type, text.hidden_dropout_prob) == ("bert", 0.1)
    trainer.model.save_pretrained(tmp_path / "saved")
    again = AutoModel.from_pretrained(tmp_path / "saved").text_model.tower
    assert type(again) is BertModel
    assert all(value.equal(state[name]) for name, value in again.state_dict().items())
    assert trainer.processor.tokenizer("left pleura")["input_ids"] == [2, *ids(tmp_path, "left", "pleura"), 3]


def ids(folder: Path, *words: str) -> list[int]:
    known = (folder / "text" / "vocab.txt").read_text().split("\n")
    return [known.index(word) for word in words]


def test_a_plain_clip_spends_all_steps_on_stage_1_without_fusion(config: list[str], tmp_path: Path) -> None:
    folder = train(load_config([*config, "--output_dir", str(tmp_path / "clip"), "--method", "clip"]))
    report = json.loads((folder / "training.json").read_text())
    assert [entry["step"] for entry in report["history"]] == list(range(8))
    assert AutoModel.from_pretrained(folder).config.fusion_config is None


def test_two_processes_learn_what_one_learns(config: list[str], tmp_path: Path) -> None:
    without_dropout(config)
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


def test_a_logit_scale_that_learns_stays_at_100_or_below(config: list[str], tmp_path: Path) -> None:
    more = ["--output_dir", str(tmp_path / "out"), "--stage", "1", "--stage1_steps", "1"]
    trainer = Trainer(load_config([*config, *more]))
    with torch.no_grad():
        trainer.model.logit_scale.fill_(7.0)
    trainer.run()
    assert trainer.model.logit_scale.item() == pytest.approx(math.log(100))


def test_the_history_holds_the_parts_of_which_the_loss_is_the_weighted_sum(
    config: list[str], tmp_path: Path
) -> None:
    more = ["--output_dir", str(tmp_path / "out"), "--stage1_weight", "0.3", "--train_vision", "true"]
    folder = train(load_config([*config, *more]))
    history = json.loads((folder / "training.json").read_text())["history"]
    assert len(history) == 8
    weights_of = {
        1: {"image_to_text": 0.5, "text_to_image": 0.5, "image_to_image": 1.0},
        2: {"conditional": 1.0, "unconditional": 0.3},
    }
    for entry in history:
        weighted = weights_of[entry["stage"]]
        assert set(entry) == {"stage", "step", "loss", *weighted}
        total = sum(weight * entry[name] for name, weight in weighted.items())
        assert entry["loss"] == pytest.approx(total, rel=1e-5)


def test_the_tracker_gets_the_settings_and_what_each_step_was_like(
    config: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step=None: logged.append(values))
    monkeypatch.setattr(Accelerator, "init_trackers", lambda self, name, config: started.append(config))
    more = ["--fusion_learning_rate", "0.01", "--stage1_weight", "0.3", "--train_vision", "true"]
    train(load_config([*config, *more, "--output_dir", str(tmp_path / "out")]))
    assert started[0]["seed"] == 0
    assert started[0]["vision.model_type"] == "vit"
    always = {"loss", "learning_rate", "gradient_norm", "images_per_second"}
    parts = {
        1: {"image_to_text", "text_to_image", "image_to_image"},
        2: {"conditional", "unconditional", "fusion_learning_rate"},
    }
    for number, values in enumerate(logged[:-1]):
        stage = 1 + number // 4
        assert set(values) == {f"stage{stage}/{name}" for name in always | parts[stage]}
        assert all(math.isfinite(value) for value in values.values())
        assert values[f"stage{stage}/images_per_second"] > 0
    assert set(logged[-1]) == {"seconds"}


def test_tensorboard_takes_the_settings_and_the_figures(config: list[str], tmp_path: Path) -> None:
    more = ["--tracker", "tensorboard", "--stage", "1", "--output_dir", str(tmp_path / "out")]
    folder = train(load_config([*config, *more]))
    (settings,) = (folder / "logs").rglob("hparams.yml")
    assert yaml.safe_load(settings.read_text())["text.model_type"] == "bert"
    assert list((folder / "logs").rglob("events.out.tfevents.*"))


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
        (["--mixed_precision", "fp8"], "no, bf16, fp16"),
        (["--gradient_accumulation", "0"], "must be 1 or more"),
        (["--volume_size", "64", "96"], "three numbers"),
        (["--tokenizer", "/nowhere"], "tokenizer /nowhere cannot be loaded"),
    ],
)
def test_bad_settings_end_with_a_sentence_and_exit_code_2(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert train_accelerate.main([*config, "--output_dir", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_fp16_without_a_gpu_is_refused(
    config: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*config, "--output_dir", str(tmp_path / "out"), "--mixed_precision", "fp16"]
    assert train_accelerate.main(arguments) == 2
    assert "fp16 needs a GPU" in capsys.readouterr().err


def test_a_bare_no_in_the_yaml_is_no_mixed_precision(config: list[str], tmp_path: Path) -> None:
    Path(config[0]).write_text(Path(config[0]).read_text() + "mixed_precision: no\n")
    assert load_config([*config, "--output_dir", str(tmp_path)]).mixed_precision == "no"


def test_an_unknown_name_in_the_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("lerning_rate: 1\n")
    with pytest.raises(ValueError, match="lerning_rate"):
        load_config([str(path)])


def test_tokens_of_several_feature_maps_are_trained_on(config: list[str], tmp_path: Path) -> None:
    path = Path(config[0])
    settings = yaml.safe_load(path.read_text())
    settings["vision"]["num_hidden_layers"] = 2
    path.write_text(yaml.safe_dump(settings | {"vision_levels": [1, 2]}))
    model = RadIRModel.from_pretrained(train(load_config([*config, "--output_dir", str(tmp_path / "out")])))
    assert model.config.vision_levels == [1, 2]
    assert model.fusion_model.memory_projection.in_features == 2 * settings["vision"]["hidden_size"]
