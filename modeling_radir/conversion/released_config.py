"""The configuration of a released model: sizes from its tensors' shapes, the rest as released or as told."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, get_origin

from transformers import BertConfig

from ..checks import unknown_name
from ..configuration_ctvit import RadIRCTViTConfig
from ..configuration_radir import RadIRConfig, RadIRFusionConfig
from .released_keys import Shape

PARTS: dict[str, Any] = {
    "vision_config": RadIRCTViTConfig,
    "text_config": BertConfig,
    "fusion_config": RadIRFusionConfig,
}
# What no shape tells. The release's code fixes these; they are the defaults of the configurations.
ASSUMED = {
    "vision_config": (
        "image_size",
        "num_channels",
        "attention_scale",
        "causal_position_convolution",
        "temporal_grid_order",
        "layer_norm_eps",
    ),
    "text_config": ("num_attention_heads", "hidden_act", "layer_norm_eps"),
    "fusion_config": ("num_attention_heads", "hidden_act", "dropout", "layer_norm_eps", "position_layout"),
}


def released_config(shapes: Mapping[str, Shape], overrides: Mapping[str, Any] | None = None) -> RadIRConfig:
    """The configuration of a checkpoint whose tensors have these shapes.

    A size whose tensor is missing or has too few axes is taken as released; comparing all tensors with the
    configuration then finds the fault.

    Args:
        shapes: of all tensors, by released key.
        overrides: settings of RadIRConfig, those of a part under "vision_config", "text_config" or
            "fusion_config"; they win over the shapes and the released values.

    Raises:
        ValueError: if an override is not known, or the values do not fit together.
    """
    given = dict(overrides or {})
    _check_names(given)
    parts = {name: given.pop(name, {}) for name in PARTS}
    channels = (parts["vision_config"] or {}).get("num_channels", RadIRCTViTConfig().num_channels)
    read = {
        "vision_config": {"model_type": "radir_ctvit", **_vision(shapes, channels)},
        "text_config": {"model_type": "bert", **_text(shapes)},
        "fusion_config": _fusion(shapes),
    }
    values = {name: None if parts[name] is None else read[name] | parts[name] for name in PARTS}
    dim = _size(shapes, "to_text_latent.weight", 0, RadIRConfig().projection_dim)
    settings: dict[str, Any] = {"projection_dim": dim} | values | given
    config = RadIRConfig(**settings)
    text = config.text_config
    if text.hidden_size % text.num_attention_heads:
        raise ValueError(
            f"the text tower is {text.hidden_size} wide, which {text.num_attention_heads} heads do not "
            "divide, and no shape tells their number: give it as an override, "
            '{"text_config": {"num_attention_heads": ...}}'
        )
    return config


def read_overrides(overrides: "str | os.PathLike[str] | Mapping[str, Any] | None") -> dict[str, Any]:
    """Overrides from a JSON file or as given.

    Raises:
        ValueError: if the file cannot be read or holds no JSON object.
    """
    if overrides is None or isinstance(overrides, Mapping):
        return dict(overrides or {})
    path = Path(overrides)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"the overrides {path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"the overrides {path} hold a {type(values).__name__}; a JSON object is needed")
    return values


def assumed_settings(config: RadIRConfig) -> dict[str, Any]:
    """The settings that no shape tells, as "part.name", with their values in a configuration."""
    return {
        f"{part}.{name}": getattr(getattr(config, part), name)
        for part, names in ASSUMED.items()
        if getattr(config, part) is not None
        for name in names
    }


def count_layers(shapes: Mapping[str, Shape], prefix: str, default: int) -> int:
    """One more than the largest number that follows the prefix in a key; the default if none does."""
    rests = [key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)]
    return max((int(rest) + 1 for rest in rests if rest.isdecimal()), default=default)


def _size(shapes: Mapping[str, Shape], key: str, axis: int, default: int) -> int:
    """The size of an axis, or the released one where the tensor does not tell."""
    shape = shapes.get(key, ())
    return shape[axis] if axis < len(shape) and shape[axis] > 0 else default


def _vision(shapes: Mapping[str, Shape], channels: int) -> dict[str, int]:
    released, tower = RadIRCTViTConfig(), "visual_transformer"
    layer = f"{tower}.enc_spatial_transformer.layers.0"
    stages = {"spatial": "spatial", "temporal": "temporal", "class": "cls"}
    patch, depth = _patches(shapes, channels, released)
    null_rows = shapes.get(f"{layer}.1.null_kv", ())
    values = {
        "num_modalities": _size(shapes, f"{tower}.modal_embeddings.weight", 0, released.num_modalities),
        "hidden_size": _size(shapes, f"{tower}.modal_embeddings.weight", 1, released.hidden_size),
        "patch_size": patch,
        "temporal_patch_size": depth,
        "num_attention_heads": _size(
            shapes, f"{tower}.spatial_rel_pos_bias.net.2.weight", 0, released.num_attention_heads
        ),
        "head_dim": _size(shapes, f"{layer}.1.q_scale", 0, released.head_dim),
        "intermediate_size": _size(shapes, f"{layer}.3.4.weight", 1, released.intermediate_size or 0),
        "num_null_kv": null_rows[1] // 2 if len(null_rows) == 3 else released.num_null_kv,
    }
    for name, theirs in stages.items():
        field = f"num_{name}_layers"
        prefix = f"{tower}.enc_{theirs}_transformer.layers."
        values[field] = count_layers(shapes, prefix, getattr(released, field))
    return values


def _patches(shapes: Mapping[str, Shape], channels: int, released: RadIRCTViTConfig) -> tuple[int, int]:
    """Side and depth of a patch, from the widths of the norms over a patch's voxels."""
    voxels = _size(shapes, "visual_transformer.to_patch_emb_first_frame.1.weight", 0, 0)
    side = math.isqrt(voxels // channels)
    if not side or channels * side**2 != voxels:
        side = released.patch_size
    depth, rest = divmod(_size(shapes, "visual_transformer.to_patch_emb.1.weight", 0, 0), channels * side**2)
    return side, depth if depth and not rest else released.temporal_patch_size


def _text(shapes: Mapping[str, Shape]) -> dict[str, int]:
    released, tables = BertConfig(), "text_transformer.embeddings"
    layers = "text_transformer.encoder.layer."
    return {
        "vocab_size": _size(shapes, f"{tables}.word_embeddings.weight", 0, released.vocab_size),
        "hidden_size": _size(shapes, f"{tables}.word_embeddings.weight", 1, released.hidden_size),
        "max_position_embeddings": _size(
            shapes, f"{tables}.position_embeddings.weight", 0, released.max_position_embeddings
        ),
        "type_vocab_size": _size(
            shapes, f"{tables}.token_type_embeddings.weight", 0, released.type_vocab_size
        ),
        "intermediate_size": _size(
            shapes, f"{layers}0.intermediate.dense.weight", 0, released.intermediate_size
        ),
        "num_hidden_layers": count_layers(shapes, layers, released.num_hidden_layers),
    }


def _fusion(shapes: Mapping[str, Shape]) -> dict[str, int]:
    released, layers = RadIRFusionConfig(), "fusion_module.layers."
    return {
        "num_hidden_layers": count_layers(shapes, layers, released.num_hidden_layers),
        "intermediate_size": _size(shapes, f"{layers}0.linear1.weight", 0, released.intermediate_size),
    }


def _fields(config_class: type) -> list[str]:
    return [
        name
        for name, kind in config_class.__annotations__.items()
        if kind is not ClassVar and get_origin(kind) is not ClassVar
    ]


def _check_names(given: Mapping[str, Any]) -> None:
    """Raise ValueError at the first name that is no setting."""
    fields = {part: _fields(config_class) for part, config_class in PARTS.items()}
    for name, value in given.items():
        owners = [part for part in fields if name in fields[part]]
        if name not in _fields(RadIRConfig):
            if owners:
                raise ValueError(
                    f"the override {name!r} belongs into {' or '.join(owners)}: write "
                    f'{{"{owners[0]}": {{"{name}": ...}}}}'
                )
            raise unknown_name("override", name, _fields(RadIRConfig))
        if name not in PARTS or (value is None and name == "fusion_config"):
            continue
        if not isinstance(value, Mapping):
            raise ValueError(f"the override {name!r} is {value!r}; an object of settings is needed")
        for inner in value:
            if inner not in fields[name]:
                raise unknown_name(f"override in {name}", inner, fields[name])
