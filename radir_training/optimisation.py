"""What learns in a stage, and how fast: parameter groups, learning rates, and the logit scale's ceiling."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup

from modeling_radir import RadIRModel
from radir_training.settings import TrainConfig

# Parts that may learn at a rate of their own, by the setting of it; what is in none has `learning_rate`.
OWN_RATES = {
    "learning_rate": "",
    "fusion_learning_rate": "fusion_model.",
    "vision_learning_rate": "vision_model.",
    "text_learning_rate": "text_model.",
}
MAX_LOGIT_SCALE = math.log(100)  # CLIP's ceiling: no cosine counts more than a hundredfold


def set_learning(model: RadIRModel, stage: int, config: TrainConfig) -> None:
    """Stage 1 learns all but the fusion; stage 2 the fusion and, on request, the image side.

    The text side rests in stage 2: a tower that only sees anatomy names forgets to tell them apart. Resting
    towers also keep their dropout and normalisation statistics still.
    """
    learning = ["vision_model.", "visual_projection.", "text_model.", "text_projection.", "logit_scale"]
    if stage == 2:
        learning = ["fusion_model."]
        learning += ["vision_model."] if config.train_vision else []
        learning += ["visual_projection."] if config.stage1_weight else []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(learning)))
    model.train()
    model.text_model.train(stage == 1)
    model.vision_model.train(stage == 1 or config.train_vision)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """What learns, by learning rate and weight decay.

    Biases, the weights of norms and logit_scale, which are all the parameters of less than two dimensions, do
    not decay: to pull them to zero takes no complexity from a model.

    Args:
        model: whose frozen parameters are left out.
        config: the fusion and the towers may learn at rates of their own.

    Returns:
        Groups for torch's optimisers. "setting" names the setting of the learning rate, and "initial_lr", its
        highest value, is what torch's schedules start from in the middle of a run.
    """
    settings = list(OWN_RATES)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own = [place for place, setting in enumerate(settings)
                   if getattr(config, setting) and name.startswith(OWN_RATES[setting])]  # fmt: skip
            groups.setdefault((own[-1], parameter.ndim >= 2), []).append(parameter)
    found = []
    for (place, decays), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True):
        setting = settings[place]
        rate = getattr(config, setting)
        decay = config.weight_decay if decays else 0.0
        found.append(
            {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay, "setting": setting}
        )
    return found


def build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """AdamW over what learns."""
    return AdamW(parameter_groups(model, config), betas=(0.9, 0.99))


def build_schedule(optimizer: Optimizer, warmup_steps: int, steps: int, start: int = 0) -> LambdaLR:
    """The library's linear warm-up and half a cosine, where no step of 0 ... steps - 1 has the rate 0.

    The library gives step 0 the rate 0. Here a step s has the library's rate of step s + 1 of steps + 1: the
    warm-up, (s + 1) / warmup_steps, ends at the highest rate, and the cosine begins in the step after it. It
    follows from the number of the step alone, so a resumed run builds it again from its first step.

    Args:
        optimizer: with "initial_lr" in its groups; their "lr" is set to that of step `start`.
        warmup_steps: cut to `steps`; 0 is as good as 1.
        steps: of the stage.
        start: the number of the next step.
    """
    warmup = max(1, min(warmup_steps, steps))
    return get_cosine_schedule_with_warmup(optimizer, warmup, steps + 1, last_epoch=start)


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The present learning rates, by the settings that name their highest values."""
    return {group["setting"]: float(group["lr"]) for group in optimizer.param_groups}


def clamp_logit_scale(model: RadIRModel) -> None:
    """Keep a logit scale that learns at 100 or below, as CLIP does; one that rests stays as it is."""
    if model.logit_scale.requires_grad:
        with torch.no_grad():
            model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
