"""The fusion, against hand-made values and the other attention path.

The released code's numbers are in test_released_vectors.
"""

import math

import pytest
import torch

from modeling_radir.modeling_fusion import sine_positions
from tests.modeling_radir import tiny


def test_positions_follow_the_formula():
    table = sine_positions((2, 3), 8)
    assert table.shape == (6, 8)
    y, x = 1, 2
    expected = [math.sin(y), math.cos(y), math.sin(y / 100), math.cos(y / 100)]
    expected += [math.sin(x), math.cos(x), math.sin(x / 100), math.cos(x / 100)]
    torch.testing.assert_close(table[y * 3 + x], torch.tensor(expected))


def test_positions_in_the_concatenated_layout_are_the_same_numbers_in_another_order():
    table = sine_positions((2, 3), 8, layout="concatenated")
    y, x = 1, 2
    expected = [math.sin(y), math.sin(y / 100), math.cos(y), math.cos(y / 100)]
    expected += [math.sin(x), math.sin(x / 100), math.cos(x), math.cos(x / 100)]
    torch.testing.assert_close(table[y * 3 + x], torch.tensor(expected))


def test_the_layout_of_positions_is_a_setting_of_the_fusion():
    fused = {}
    for layout in ("interleaved", "concatenated"):
        fusion = {"num_hidden_layers": 1, "num_attention_heads": 2, "position_layout": layout}
        model = tiny.model(fusion_config=fusion)
        fused[layout] = model.get_conditional_features(tiny.pixel_values(1), anatomy="heart")
    assert not torch.allclose(fused["interleaved"], fused["concatenated"], atol=1e-5)
    with pytest.raises(ValueError, match="position_layout is 'mixed'; one of"):
        tiny.config(fusion_config={"num_attention_heads": 2, "position_layout": "mixed"})


def test_positions_fit_any_width():
    assert sine_positions((2, 2), 6).shape == (4, 6)
    torch.testing.assert_close(sine_positions((1, 1), 6), torch.tensor([[0.0, 1, 0, 1, 0, 1]]))


def test_both_attention_paths_agree():
    tokens, queries = torch.randn(2, 16, 32), torch.randn(3, 32)
    model = tiny.model()
    fused = {}
    for path in ("sdpa", "eager"):
        model.set_attn_implementation(path)
        assert model.fusion_model.config._attn_implementation == path
        fused[path] = model.fuse(tokens, (4, 4), queries)
    torch.testing.assert_close(fused["sdpa"], fused["eager"], atol=1e-6, rtol=1e-5)


def test_choosing_the_attention_warns_of_nothing(caplog):
    """transformers finds the module that the fusion's configuration belongs to."""
    model = tiny.model()
    model.set_attn_implementation("eager")
    assert not [record.getMessage() for record in caplog.records if "attention" in record.getMessage()]


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
