"""What the modules of a RadIR model share: the base class, and how a tower is built."""

import inspect
from typing import Any

from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init

from .configuration_radir import RadIRConfig


class RadIRPreTrainedModel(PreTrainedModel):
    """Saving, loading and initialisation for every module of a RadIR model."""

    config_class = RadIRConfig
    config: RadIRConfig
    base_model_prefix = "radir"
    main_input_name = "pixel_values"
    input_modalities = ["image", "text"]  # noqa: RUF012 - transformers declares it so
    supports_gradient_checkpointing = True
    _no_split_modules = ["RadIRFusionLayer"]  # noqa: RUF012 - transformers declares it so
    _supports_sdpa = True

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what the towers do not own; towers initialise themselves."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def build_tower(config: PretrainedConfig) -> PreTrainedModel:
    """A tower with random weights, without the pooling layer that we would not use.

    An unused layer would never get a gradient, which DistributedDataParallel takes for an error.
    """
    return AutoModel.from_config(config, **tower_arguments(config))


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
