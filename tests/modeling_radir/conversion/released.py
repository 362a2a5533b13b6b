"""Checkpoints as the authors' code writes them, and where the reference data about them lie."""

from pathlib import Path

import pytest
import torch

Shapes = dict[str, tuple[int, ...]]

# What the reference data's small model has and no shape tells.
OVERRIDES = {"vision_config": {"image_size": 24}, "text_config": {"num_attention_heads": 4}}
# Sizes of the released model, and of one small enough to be made up here.
FULL = {
    "words": (30522, 512, 768, 3072, 12),  # vocabulary, positions, width, inner width, layers
    "tower": (512, 20, 10, 8, 32),  # width, patch, temporal patch, heads, head width
    "layers": (8, 6, 4),
    "fusion": (2048, 4),  # inner width, layers
    "codes": (8192,),
}
SMALL = {
    "words": (33, 16, 24, 48, 2),  # the pieces of tiny.tokenizer()
    "tower": (32, 4, 2, 2, 8),
    "layers": (2, 1, 1),
    "fusion": (40, 2),
    "codes": (16,),
}


def reference(shared_data: Path) -> Path:
    """The folder of specification, shapes and vectors; the test is skipped where it is not."""
    folder = shared_data.parent / "reference" / "released-checkpoint"
    if not folder.is_dir():
        pytest.skip(f"the released checkpoint's reference data are not at {folder}")
    return folder


def shapes(sizes: dict[str, tuple[int, ...]]) -> Shapes:
    """All keys of a checkpoint with their shapes, as the released model has them."""
    width = sizes["tower"][0]
    found: Shapes = {"temperature": (), **_text(*sizes["words"]), **_vision(sizes)}
    for i in range(sizes["fusion"][1]):
        layer, inner = f"fusion_module.layers.{i}", sizes["fusion"][0]
        found |= _affine(f"{layer}.multihead_attn.out_proj", width, width)
        found[f"{layer}.multihead_attn.in_proj_weight"] = (3 * width, width)
        found[f"{layer}.multihead_attn.in_proj_bias"] = (3 * width,)
        found |= _affine(f"{layer}.linear1", inner, width) | _affine(f"{layer}.linear2", width, inner)
        for norm in ("norm1", "norm2", "norm3"):
            found |= _affine(f"{layer}.{norm}", width)
    found |= _affine("fusion_module.norm", width)
    found["to_text_latent.weight"] = (width, sizes["words"][2])
    found["to_visual_latent.weight"] = found["to_fused_latent.weight"] = (width, width)
    return found


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A small checkpoint with random numbers; its shifts of norms are zero, as in every released one."""
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes(SMALL).items()}
    return {name: value * (not name.endswith("beta")) for name, value in made.items()}


def small_overrides() -> dict[str, dict[str, int]]:
    """What no shape of the small checkpoint tells."""
    return {"vision_config": {"image_size": 16}, "text_config": {"num_attention_heads": 2}}


def _affine(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def _text(vocabulary: int, positions: int, width: int, inner: int, layers: int) -> Shapes:
    tables = {"word": vocabulary, "position": positions, "token_type": 2}
    found: Shapes = {
        f"text_transformer.embeddings.{name}_embeddings.weight": (rows, width)
        for name, rows in tables.items()
    }
    found |= _affine("text_transformer.embeddings.LayerNorm", width)
    found |= _affine("text_transformer.pooler.dense", width, width)
    for i in range(layers):
        layer = f"text_transformer.encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            found |= _affine(f"{layer}.attention.{part}", width, width)
        found |= _affine(f"{layer}.attention.output.LayerNorm", width)
        found |= _affine(f"{layer}.intermediate.dense", inner, width)
        found |= _affine(f"{layer}.output.dense", width, inner) | _affine(f"{layer}.output.LayerNorm", width)
    return found


def _vision(sizes: dict[str, tuple[int, ...]]) -> Shapes:
    width, patch, depth, heads, head = sizes["tower"]
    found: Shapes = {"modal_embeddings.weight": (10, width), "enc_cls_transformer.cls_token": (1, 1, width)}
    found |= _affine("spatial_rel_pos_bias.net.0.0", width, 2)
    found |= _affine("spatial_rel_pos_bias.net.1.0", width, width)
    found |= _affine("spatial_rel_pos_bias.net.2", heads, width)
    for name, voxels in (("to_patch_emb_first_frame", patch**2), ("to_patch_emb", depth * patch**2)):
        found |= _affine(f"{name}.1", voxels) | _affine(f"{name}.2", width, voxels)
        found |= _affine(f"{name}.3", width)
    codes = sizes["codes"][0]
    found |= {"vq._codebook.initted": (1,), "vq._codebook.cluster_size": (1, codes)}
    found["vq._codebook.embed"] = (1, codes, width)
    for name, layers in zip(("spatial", "temporal", "cls"), sizes["layers"], strict=True):
        stage = f"enc_{name}_transformer"
        found |= {f"{stage}.norm_out.{part}": (width,) for part in ("gamma", "beta")}
        for i in range(layers):
            found |= _layer(f"{stage}.layers.{i}", width, heads, head)
    return {f"visual_transformer.{name}": shape for name, shape in found.items()}


def _layer(layer: str, width: int, heads: int, head: int) -> Shapes:
    inner = int(4 * (2 / 3) * width)
    found = _affine(f"{layer}.3.0", width)
    found |= {f"{layer}.0.dsconv.weight": (width, 1, 3, 3, 3), f"{layer}.0.dsconv.bias": (width,)}
    found |= {f"{layer}.1.{name}": (head,) for name in ("q_scale", "k_scale")}
    for norm in ("norm", "context_norm"):
        found |= {f"{layer}.1.{norm}.{part}": (width,) for part in ("gamma", "beta")}
    return found | {
        f"{layer}.1.null_kv": (heads, 0, head),
        f"{layer}.1.to_q.weight": (heads * head, width),
        f"{layer}.1.to_kv.weight": (2 * heads * head, width),
        f"{layer}.1.to_out.weight": (width, heads * head),
        f"{layer}.3.1.weight": (2 * inner, width),
        f"{layer}.3.4.weight": (width, inner),
    }
