"""What the modules of a RadIR model share: the base class, and how a tower is built or loaded."""

import inspect
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init

from .checks import load_checked
from .configuration_radir import RadIRConfig
from .modeling_ctvit import RadIRCTViTModel

# Repositories with code of their own whose weights are those of a type that transformers knows.
READ_AS = {"cxr-bert": "bert"}


class RadIRPreTrainedModel(PreTrainedModel):
    """Saving, loading and initialisation for every module of a RadIR model."""

    config_class = RadIRConfig
    config: RadIRConfig
    base_model_prefix = "radir"
    main_input_name = "pixel_values"
    input_modalities = ["image", "text"]  # noqa: RUF012 - transformers declares it so
    supports_gradient_checkpointing = True
    _no_split_modules = ["RadIRFusionLayer", "RadIRCTViTLayer"]  # noqa: RUF012 - transformers declares it so
    _supports_sdpa = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, but from safetensors alone: pickled weights can run code when they are opened.

        Raises:
            ValueError: if a folder holds pickled weights and no safetensors, or weights that are damaged,
                incomplete, or no finite numbers.
        """
        if pretrained_model_name_or_path is not None:
            _refuse_pickled(Path(pretrained_model_name_or_path, kwargs.get("subfolder", "")))
        return load_checked(
            super(), pretrained_model_name_or_path, *args, **{**kwargs, "use_safetensors": True}
        )

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what the towers do not own; towers initialise themselves."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def _refuse_pickled(folder: Path) -> None:
    """Raise ValueError for a folder that holds pickled weights and no safetensors."""
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder} has no safetensors, only {pickled[0]}, and pickled weights can run code when they are "
            "opened: have whoever made it save it with save_pretrained, which writes model.safetensors"
        )


def build_tower(config: PretrainedConfig) -> PreTrainedModel:
    """A tower with random weights, without the pooling layer that we would not use.

    An unused layer would never get a gradient, which DistributedDataParallel takes for an error.
    """
    if is_ctvit(config):  # loaded as remote code, it is registered nowhere
        return RadIRCTViTModel._from_config(config)
    return AutoModel.from_config(config, **tower_arguments(config))


def load_tower(tower: "str | os.PathLike[str] | PreTrainedModel", **settings: Any) -> PreTrainedModel:
    """A pretrained tower in float32, without the pooling layer that we would not use.

    Args:
        tower: a Hub id or folder, or a tower that is loaded already, which is taken as it is.
        settings: fields that override the tower's own. A model_type among them says as what the weights are
            read, so that a repository with code of its own needs no trust in that code; microsoft's CXR-BERT
            is read as BERT without being told.

    Raises:
        ValueError: its weights are damaged, incomplete, or no finite numbers.
    """
    if isinstance(tower, PreTrainedModel):
        return tower.float()
    own, _ = PretrainedConfig.get_config_dict(tower)
    if own.get("model_type") == RadIRCTViTModel.config_class.model_type:  # unregistered in remote code
        return load_checked(RadIRCTViTModel, tower, dtype=torch.float32, **settings)
    kind = settings.pop("model_type", READ_AS.get(own.get("model_type", "")))
    if kind is None:
        config = AutoConfig.from_pretrained(tower, **settings)
    else:
        left_out = ("model_type", "auto_map", "architectures")
        fields = {name: value for name, value in own.items() if name not in left_out}
        config = CONFIG_MAPPING[kind](**(fields | settings))
    tower_class: Any = AutoModel if kind is None else MODEL_MAPPING[type(config)]
    return load_checked(tower_class, tower, config=config, dtype=torch.float32, **tower_arguments(config))


def tower_arguments(config: PretrainedConfig) -> dict[str, Any]:
    """Arguments that switch the tower's pooling layer off, if its class knows any."""
    model_class = MODEL_MAPPING.get(type(config), None)
    if not inspect.isclass(model_class):
        return {}
    return (
        {"add_pooling_layer": False}
        if "add_pooling_layer" in inspect.signature(model_class).parameters
        else {}
    )


def is_ctvit(config: PretrainedConfig) -> bool:
    """Whether a tower is ours, which takes volumes; by name, since remote code has classes of its own."""
    return config.model_type == RadIRCTViTModel.config_class.model_type
