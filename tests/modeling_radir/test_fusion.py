"""The fusion, against hand-made values, the other attention path, and the released code's numbers."""

import math

import pytest
import torch
from safetensors.torch import load_file

from modeling_radir import RadIRFusionModel
from modeling_radir.modeling_fusion import sine_positions
from tests.modeling_radir import tiny


def test_positions_follow_the_formula():
    table = sine_positions((2, 3), 8)
    assert table.shape == (6, 8)
    y, x = 1, 2
    expected = [math.sin(y), math.cos(y), math.sin(y / 100), math.cos(y / 100)]
    expected += [math.sin(x), math.cos(x), math.sin(x / 100), math.cos(x / 100)]
    torch.testing.assert_close(table[y * 3 + x], torch.tensor(expected))


def test_positions_fit_any_width():
    assert sine_positions((2, 2), 6).shape == (4, 6)
    torch.testing.assert_close(sine_positions((1, 1), 6), torch.tensor([[0.0, 1, 0, 1, 0, 1]]))


def test_both_attention_paths_agree():
    tokens, queries = torch.randn(2, 16, 32), torch.randn(3, 32)
    model = tiny.model()
    fused = {}
    for path in ("sdpa", "eager"):
        model.set_attn_implementation(path)
        assert model.fusion_model.config.fusion_config._attn_implementation == path
        fused[path] = model.fuse(tokens, (4, 4), queries)
    torch.testing.assert_close(fused["sdpa"], fused["eager"], atol=1e-6, rtol=1e-5)


def test_keys_are_projected_once_for_each_image_however_many_queries():
    model = tiny.model()
    rows = []
    for layer in model.fusion_model.layers:
        layer.attention.key.register_forward_hook(lambda module, args, out: rows.append(args[0].shape[:2]))
    model.fuse(torch.randn(2, 16, 32), (4, 4), torch.randn(7, 32))
    assert rows == [(2, 16)] * len(model.fusion_model.layers)


def test_where_a_token_lies_matters():
    model = tiny.model()
    tokens, queries = torch.randn(1, 16, 32), torch.randn(1, 32)
    moved = model.fuse(tokens.flip(1), (4, 4), queries)
    assert not torch.allclose(model.fuse(tokens, (4, 4), queries), moved, atol=1e-4)


def test_memory_is_projected_only_where_widths_differ():
    assert isinstance(tiny.model("vit").fusion_model.memory_projection, torch.nn.Identity)
    assert isinstance(tiny.model("resnet").fusion_model.memory_projection, torch.nn.Linear)


@pytest.mark.parametrize(
    ("tokens", "grid", "queries"), [((1, 15, 32), (4, 4), (1, 32)), ((1, 16, 32), (4, 4), (1, 31))]
)
def test_shapes_that_do_not_fit_are_refused(tokens, grid, queries):
    with pytest.raises(ValueError, match="have the shape"):
        tiny.model().fuse(torch.zeros(tokens), grid, torch.zeros(queries))


def _released_fusion(weights):
    """Our fusion with the released layout's weights; norm1 has no use there."""
    config = tiny.config(
        projection_dim=64,
        fusion_config={"num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
    )
    ours = {"projection.weight": weights["to_fused_latent.weight"]}
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = weights[f"fusion_module.norm.{kind}"]
        for i in range(4):
            theirs, layer = f"fusion_module.layers.{i}", f"layers.{i}"
            parts = weights[f"{theirs}.multihead_attn.in_proj_{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                ours[f"{layer}.attention.{name}.{kind}"] = part
            ours[f"{layer}.attention.output.{kind}"] = weights[f"{theirs}.multihead_attn.out_proj.{kind}"]
            ours[f"{layer}.widen.{kind}"] = weights[f"{theirs}.linear1.{kind}"]
            ours[f"{layer}.narrow.{kind}"] = weights[f"{theirs}.linear2.{kind}"]
            ours[f"{layer}.attention_norm.{kind}"] = weights[f"{theirs}.norm2.{kind}"]
            ours[f"{layer}.feed_forward_norm.{kind}"] = weights[f"{theirs}.norm3.{kind}"]
    fusion = RadIRFusionModel(config, token_size=64).eval()
    fusion.load_state_dict({name: value.float() for name, value in ours.items()})
    return fusion


def test_fused_features_equal_those_of_the_released_code(shared_data):
    vectors = shared_data.parent / "reference" / "released-checkpoint" / "vectors"
    if not vectors.is_dir():
        pytest.skip(f"the released code's numbers are not at {vectors}")
    fusion = _released_fusion(load_file(vectors / "radir_weights.safetensors"))
    for name, anatomies in (("radir_cxr_cond", 2), ("radir_ct_cond", 1)):
        expected = load_file(vectors / f"{name}.safetensors")
        torch.testing.assert_close(sine_positions((3, 3), 64)[None], expected["pos_embedding"])
        images = expected["fused_latent"].shape[1]
        queries = expected["query"][0, ::images]  # (Q, d); there each query is repeated for its images
        with torch.no_grad():
            fused = fusion(expected["memory"].transpose(0, 1), (3, 3), queries)  # (Q * images, Q, d)
        own = fused.unflatten(0, (anatomies, images))[range(anatomies), :, range(anatomies)]
        torch.testing.assert_close(own, expected["fused_latent"], atol=1e-6, rtol=0)
