"""What decays, the learning rate of each step, and how the logit scale is kept at 100."""

import math

import pytest
import torch
from torch import nn

from modeling_radir import RadIRModel
from radir_training.assemble import model_config
from radir_training.optimisation import (
    build_optimizer,
    build_schedule,
    clamp_logit_scale,
    learning_rates,
    parameter_groups,
    set_learning,
)
from radir_training.settings import TrainConfig

TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
IMAGES = {"image_size": 32, "patch_size": 8, "num_channels": 1}


def settings(**values: object) -> TrainConfig:
    parts = {
        "vision": {"model_type": "vit", **TOWER, **IMAGES},
        "text": {"model_type": "bert", **TOWER},
        "fusion": {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    }
    return TrainConfig(dataset="a", output_dir="b", projection_dim=16, **{**parts, **values})  # type: ignore[arg-type]


def tiny(config: TrainConfig) -> RadIRModel:
    return RadIRModel(model_config(config, vocab_size=100))


@pytest.mark.parametrize("stage", [1, 2])
def test_biases_norms_and_the_logit_scale_do_not_decay(stage: int) -> None:
    config = settings(weight_decay=0.1, train_vision=True, stage1_weight=0.5)
    model = tiny(config)
    set_learning(model, stage, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decays = {
        names[id(parameter)]: (group["weight_decay"], tuple(parameter.shape))
        for group in parameter_groups(model, config)
        for parameter in group["params"]
    }
    assert set(decays) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, (decay, shape) in decays.items():
        rests = name.endswith("bias") or "norm" in name.lower() or name == "logit_scale"
        assert decay == (0.0 if rests else 0.1), name
        assert (len(shape) < 2) == rests, name
    assert {decay for decay, _ in decays.values()} == {0.0, 0.1}
    assert ("logit_scale" in decays) == (stage == 1)


def test_every_parameter_that_learns_is_in_one_group_and_the_fusion_has_its_own_rate() -> None:
    config = settings(learning_rate=1e-3, fusion_learning_rate=1e-2, train_vision=True)
    model = tiny(config)
    set_learning(model, 2, config)
    groups = parameter_groups(model, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [names[id(parameter)] for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(n for n, parameter in model.named_parameters() if parameter.requires_grad)
    for group in groups:
        fusion = {names[id(parameter)].startswith("fusion_model.") for parameter in group["params"]}
        assert fusion == {group["lr"] == 1e-2}


def test_towers_may_learn_at_rates_of_their_own() -> None:
    config = settings(learning_rate=1e-3, vision_learning_rate=1e-5, text_learning_rate=1e-4)
    model = tiny(config)
    set_learning(model, 1, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in parameter_groups(model, config):
        parts = {names[id(parameter)].split(".")[0] for parameter in group["params"]}
        if group["lr"] == 1e-3:
            assert parts <= {"visual_projection", "text_projection", "logit_scale"}
        else:
            assert parts == {{1e-5: "vision_model", 1e-4: "text_model"}[group["lr"]]}


def rates(steps: int, warmup: int, start: int = 0) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), settings(learning_rate=1.0))
    schedule = build_schedule(optimizer, warmup, steps, start)
    found = []
    for _ in range(start, steps):
        found.append(learning_rates(optimizer)["learning_rate"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_to_its_highest_and_falls_by_half_a_cosine_and_is_never_0() -> None:
    found = rates(steps=10, warmup=4)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(1, 7)])
    assert min(found) > 0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (1, 100), (3, 0), (3, 3), (2, 100)])
def test_a_short_stage_reaches_the_highest_rate_and_no_step_has_none(steps: int, warmup: int) -> None:
    found = rates(steps, warmup)
    assert max(found) == 1.0
    assert min(found) > 0


def test_a_schedule_that_begins_late_has_the_same_bits() -> None:
    whole = rates(steps=30, warmup=7)
    for start in range(30):
        assert rates(steps=30, warmup=7, start=start) == whole[start:]


def test_a_logit_scale_is_clamped_where_it_learns_and_let_alone_where_it_rests() -> None:
    model = tiny(settings())
    for value, learns, after in ((7.0, True, math.log(100)), (1.0, True, 1.0), (7.0, False, 7.0)):
        with torch.no_grad():
            model.logit_scale.fill_(value)
        model.logit_scale.requires_grad_(learns)
        clamp_logit_scale(model)
        assert model.logit_scale.item() == pytest.approx(after)
