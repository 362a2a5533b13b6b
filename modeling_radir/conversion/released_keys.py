"""What the released checkpoint calls its tensors, and what becomes of each."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..configuration_radir import RadIRConfig

Shape: TypeAlias = tuple[int, ...]

# Their name of each stage of the image tower, and ours.
STAGES = {
    "enc_spatial_transformer": "spatial",
    "enc_temporal_transformer": "temporal",
    "enc_cls_transformer": "gather",
}
_WEIGHT_BIAS = ("weight", "bias")
_LAYER = {
    "0.dsconv.weight": "position_convolution.convolution.weight",
    "0.dsconv.bias": "position_convolution.convolution.bias",
    "1.norm.gamma": "attention.norm.weight",
    "1.q_scale": "attention.query_scale",
    "1.k_scale": "attention.key_scale",
    "1.to_q.weight": "attention.query.weight",
    "1.to_kv.weight": "attention.key_value.weight",
    "1.to_out.weight": "attention.output.weight",
    "3.0.weight": "feed_forward.norm.weight",
    "3.0.bias": "feed_forward.norm.bias",
    "3.1.weight": "feed_forward.widen.weight",
    "3.4.weight": "feed_forward.narrow.weight",
}
_PATCHES = {"to_patch_emb_first_frame": "frame_embedding", "to_patch_emb": "volume_embedding"}
_PATCH_PARTS = {"1": "voxel_norm", "2": "projection", "3": "token_norm"}
_POSITION_BIAS = {"net.0.0": "first", "net.1.0": "second", "net.2": "heads"}
_FUSION_LAYER = {
    "multihead_attn.out_proj": "attention.output",
    "linear1": "widen",
    "linear2": "narrow",
    "norm2": "attention_norm",
    "norm3": "feed_forward_norm",
}


def kept_keys(config: RadIRConfig, ours: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The released keys that are used, each with our key; with several, its rows are divided equally.

    Args:
        config: of the model to be made.
        ours: the keys of that model's state dict; the text tower's are those of BERT under both names.
    """
    keys: dict[str, tuple[str, ...]] = {"temperature": ("logit_scale",)}
    for name in ours:
        if name.startswith("text_model.tower."):
            keys[name.replace("text_model.tower.", "text_transformer.")] = (name,)
    keys |= _vision_keys(config)
    keys["to_text_latent.weight"] = ("text_projection.weight",)
    keys["to_visual_latent.weight"] = ("visual_projection.weight",)
    if config.fusion_config is not None:
        keys |= _fusion_keys(config.fusion_config.num_hidden_layers)
        keys["to_fused_latent.weight"] = ("fusion_model.projection.weight",)
    return keys


def _stage_layers(config: RadIRConfig) -> dict[str, int]:
    """Layers of each stage, by their name of it."""
    vision = config.vision_config
    counts = (vision.num_spatial_layers, vision.num_temporal_layers, vision.num_class_layers)
    return dict(zip(STAGES, counts, strict=True))


def _vision_keys(config: RadIRConfig) -> dict[str, tuple[str, ...]]:
    keys = {"modal_embeddings.weight": "modality_embedding.weight"}
    keys["enc_cls_transformer.cls_token"] = "class_token"
    for kind in _WEIGHT_BIAS:
        for theirs, our in _POSITION_BIAS.items():
            keys[f"spatial_rel_pos_bias.{theirs}.{kind}"] = f"position_bias.{our}.{kind}"
        for theirs, our in _PATCHES.items():
            for slot, part in _PATCH_PARTS.items():
                keys[f"{theirs}.{slot}.{kind}"] = f"{our}.{part}.{kind}"
    layer = dict(_LAYER)
    if config.vision_config.num_null_kv:
        layer["1.null_kv"] = "attention.null_key_values"
    for stage, count in _stage_layers(config).items():
        keys[f"{stage}.norm_out.gamma"] = f"{STAGES[stage]}.norm.weight"
        for i in range(count):
            for theirs, our in layer.items():
                keys[f"{stage}.layers.{i}.{theirs}"] = f"{STAGES[stage]}.layers.{i}.{our}"
    return {f"visual_transformer.{t}": (f"vision_model.tower.{o}",) for t, o in keys.items()}


def _fusion_keys(layers: int) -> dict[str, tuple[str, ...]]:
    keys: dict[str, tuple[str, ...]] = {}
    for kind in _WEIGHT_BIAS:
        keys[f"fusion_module.norm.{kind}"] = (f"fusion_model.norm.{kind}",)
        for i in range(layers):
            theirs, our = f"fusion_module.layers.{i}", f"fusion_model.layers.{i}"
            parts = tuple(f"{our}.attention.{part}.{kind}" for part in ("query", "key", "value"))
            keys[f"{theirs}.multihead_attn.in_proj_{kind}"] = parts
            for their_part, our_part in _FUSION_LAYER.items():
                keys[f"{theirs}.{their_part}.{kind}"] = (f"{our}.{our_part}.{kind}",)
    return keys


def expected_shapes(kept: Mapping[str, tuple[str, ...]], ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shape that each used released tensor must have, from the shapes of our model."""
    shapes = {}
    for theirs, names in kept.items():
        first = ours[names[0]]
        shapes[theirs] = first if len(names) == 1 else (len(names) * first[0], *first[1:])
    return shapes


def droppable_keys(config: RadIRConfig) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Released keys that change no feature, each with its shape and the reason; they may be absent.

    None in a shape stands for any size.
    """
    vision, text = config.vision_config, config.text_config
    width, words = (vision.hidden_size,), text.hidden_size
    zero, unused = "always zero", "the forward pass does not use it"
    keys: dict[str, tuple[tuple[int | None, ...], str]] = {
        "text_transformer.pooler.dense.weight": ((words, words), unused),
        "text_transformer.pooler.dense.bias": ((words,), unused),
        "text_transformer.embeddings.position_ids": (
            (1, text.max_position_embeddings),
            "0, 1, 2, ...: made anew when loading",
        ),
        "visual_transformer.vq._codebook.initted": ((1,), unused),
        "visual_transformer.vq._codebook.cluster_size": ((1, None), unused),
        "visual_transformer.vq._codebook.embed": ((1, None, *width), unused),
    }
    for stage, count in _stage_layers(config).items():
        keys[f"visual_transformer.{stage}.norm_out.beta"] = (width, zero)
        for i in range(count):
            attention = f"visual_transformer.{stage}.layers.{i}.1"
            keys[f"{attention}.norm.beta"] = (width, zero)
            keys[f"{attention}.context_norm.gamma"] = (width, unused)
            keys[f"{attention}.context_norm.beta"] = (width, unused)
            if not vision.num_null_kv:
                keys[f"{attention}.null_kv"] = ((vision.num_attention_heads, 0, vision.head_dim), "empty")
    if config.fusion_config is not None:
        for i in range(config.fusion_config.num_hidden_layers):
            for kind in _WEIGHT_BIAS:
                keys[f"fusion_module.layers.{i}.norm1.{kind}"] = ((config.projection_dim,), unused)
    return keys
