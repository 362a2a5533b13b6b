"""The CTViT-type tower: shapes, kinds of input, attention paths, quirks, initialisation."""

import math

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from modeling_radir import RadIRConfig, RadIRCTViTConfig, RadIRCTViTModel, RadIRModel
from modeling_radir.modeling_ctvit_layers import (
    Layout,
    RadIRContinuousPositionBias,
    RadIRPositionConvolution,
)
from tests.modeling_radir import tiny


@pytest.fixture(autouse=True)
def _no_gradients_unless_asked(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def _config(**settings):
    values = tiny.config("ctvit").vision_config.to_dict() | settings
    return RadIRCTViTConfig(**{name: v for name, v in values.items() if name != "model_type"})


def _tower(seed=0, **settings):
    torch.manual_seed(seed)
    return RadIRCTViTModel(_config(**settings)).eval()


def test_the_defaults_are_the_released_sizes():
    config = RadIRCTViTConfig()
    layers = config.num_spatial_layers, config.num_temporal_layers, config.num_class_layers
    assert (config.hidden_size, layers, config.intermediate_size) == (512, (8, 6, 4), 1365)
    assert config.attention_scale == 32**-0.5
    given = RadIRCTViTConfig(intermediate_size=7, attention_scale=8.0)
    assert (given.intermediate_size, given.attention_scale) == (7, 8.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 0}, "patch_size is 0"),
        ({"num_temporal_layers": 0}, "num_temporal_layers is 0"),
        ({"image_size": 36}, "multiples of patch_size \\(8\\)"),
        ({"image_size": [32, 8, 8]}, "a height and a width"),
        ({"attention_scale": 0.0}, "attention_scale is 0.0"),
        ({"num_null_kv": -1}, "num_null_kv is -1"),
        ({"num_modalities": 1}, "at least 2"),
        ({"temporal_grid_order": "right"}, "'right'; one of"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        _config(**settings)


def test_one_tower_serves_radiographs_and_volumes():
    model = tiny.model("ctvit")
    assert model.vision_model.takes_volumes
    assert not tiny.model("vit").vision_model.takes_volumes
    for images in (tiny.pixel_values(2), tiny.volumes(2)):
        vision = model.encode_image(images)
        assert vision.grid == (4, 4)
        assert vision.tokens.shape == (2, 16, 32)
        assert vision.pooled.shape == (2, 32)
        assert model.get_image_features(images).shape == (2, 32)
        fused = model.get_conditional_features(images, anatomy=list(tiny.ANATOMIES))
        assert fused.shape == (2, 3, 32)
        torch.testing.assert_close(fused.norm(dim=-1), torch.ones(2, 3))


def test_an_image_equals_a_volume_of_one_slice():
    tower, images = _tower(), tiny.pixel_values(2)
    flat, deep = tower(images), tower(images[:, :, None])
    assert torch.equal(flat.pooler_output, deep.pooler_output)
    assert torch.equal(flat.last_hidden_state, deep.last_hidden_state)


def test_tokens_are_the_mean_over_frames_of_what_encode_gives():
    tower, volumes = _tower(), tiny.volumes(2)
    encoded = tower.encode(volumes)
    assert encoded.shape == (2, 2, 4, 4, 32)
    mean = (encoded[:, 0] + encoded[:, 1]).reshape(2, 16, 32) / 2
    torch.testing.assert_close(tower(volumes).last_hidden_state, mean)


@pytest.mark.parametrize("shape", [(16, 40), (4, 8, 24), (12, 24, 8), (4, 32, 32)])
def test_any_size_in_whole_patches_is_taken(shape):
    size = shape[-2] // 8, shape[-1] // 8
    vision = tiny.model("ctvit").encode_image(torch.zeros(1, 1, *shape))
    assert vision.grid == size
    assert vision.tokens.shape == (1, size[0] * size[1], 32)


def test_a_batch_of_one_equals_its_row_of_a_larger_batch():
    tower = _tower()
    for images in (tiny.pixel_values(3), tiny.volumes(3)):
        alone = tower(images[1:2]).pooler_output
        torch.testing.assert_close(tower(images).pooler_output[1:2], alone, atol=1e-6, rtol=1e-5)


def test_without_pooling_the_tokens_are_the_same_and_the_class_token_is_left_out():
    model = tiny.model("ctvit")
    with_class, without = (model.encode_image(tiny.volumes(), pool=pool) for pool in (True, False))
    assert torch.equal(with_class.tokens, without.tokens)
    assert without.pooled is None
    assert tiny.model("vit").encode_image(tiny.pixel_values(), pool=False).pooled is None
    with pytest.raises(ValueError, match="pool=True"):
        model.project_image(without)


def test_volumes_are_modality_0_and_single_frames_modality_1_unless_told_otherwise():
    tower = _tower()
    for images, row in ((tiny.volumes(2), 0), (tiny.pixel_values(2), 1)):
        default = tower(images).pooler_output
        assert torch.equal(default, tower(images, torch.tensor([row, row])).pooler_output)
        mixed = tower(images, torch.tensor([row, 2])).pooler_output
        torch.testing.assert_close(mixed[0], default[0])
        assert (mixed[1] - default[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 32, 32), "1 channels"),
        ((1, 32, 32), "this tower takes images"),
        ((1, 1, 6, 32, 32), "6 slices.*multiple of 4"),
        ((1, 1, 4, 30, 32), "multiples of 8"),
        ((1, 1, 32, 33), "multiples of 8"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_a_sentence(shape, message):
    with pytest.raises(ValueError, match=message):
        _tower()(torch.zeros(shape))
    with pytest.raises(ValueError, match=message):
        tiny.model("ctvit").get_image_features(torch.zeros(shape))


def test_a_wrong_modality_is_refused_with_a_sentence():
    tower, images = _tower(), tiny.pixel_values(2)
    with pytest.raises(ValueError, match=r"holds \[1, 10\]; this tower knows 0 to 9"):
        tower(images, torch.tensor([1, 10]))
    with pytest.raises(ValueError, match="each of the 2 images"):
        tower(images, torch.tensor([1]))


@pytest.mark.parametrize("tower", ["vit", "resnet", "timm_vit"])
def test_a_tower_of_images_says_what_to_do_with_a_volume(tower):
    with pytest.raises(ValueError, match=r"takes single images: give .*'radir_ctvit'"):
        tiny.model(tower).get_image_features(tiny.volumes(1))


@pytest.mark.parametrize("null_rows", [0, 2])
def test_both_attention_paths_agree_in_values_and_gradients(null_rows):
    tower = _tower(num_null_kv=null_rows)
    for images in (tiny.pixel_values(2), tiny.volumes(2)):
        results = []
        for path in ("sdpa", "eager"):
            tower.set_attn_implementation(path)
            assert tower.spatial.layers[0].attention.config._attn_implementation == path
            tower.zero_grad()
            pooled = tower(images).pooler_output
            pooled[:, 0].sum().backward()
            weight = tower.position_bias.heads.weight
            results.append((pooled.detach(), weight.grad.clone()))
        torch.testing.assert_close(*results, atol=1e-6, rtol=1e-4)


def test_the_attention_path_of_the_whole_model_is_that_of_its_tower():
    model = tiny.model("ctvit")
    model.set_attn_implementation("eager")
    assert model.vision_model.tower.spatial.layers[0].attention.config._attn_implementation == "eager"


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        tower = _tower().train()
        if checkpointing:
            tower.activation_checkpointing_enable()
        assert tower.temporal.layers[0].gradient_checkpointing is checkpointing
        tower(tiny.volumes(2)).pooler_output[:, 0].sum().backward()
        gradients.append({name: p.grad for name, p in tower.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_the_gradient_of_each_kind_reaches_what_it_uses():
    unused = {}
    for kind, images in (("cxr", tiny.pixel_values(2)), ("ct", tiny.volumes(2))):
        tower = _tower()
        (tower(images).pooler_output ** 2)[:, :5].sum().backward()
        unused[kind] = {name.split(".")[0] for name, p in tower.named_parameters() if p.grad is None}
    assert unused == {"cxr": {"volume_embedding", "temporal"}, "ct": {"frame_embedding"}}


def test_the_position_bias_is_that_of_every_pair_passed_by_itself():
    torch.manual_seed(0)
    config = _config()
    bias = RadIRContinuousPositionBias(config)
    rows, cols = 2, 3
    passed = []
    bias.first.register_forward_hook(lambda module, args, out: passed.append(len(args[0])))
    table = bias(rows, cols)
    assert table.shape == (config.num_attention_heads, 6, 6)
    assert passed == [3 * 5]  # distances, not 36 pairs
    for i in range(6):
        for j in range(6):
            distance = torch.tensor([i // cols - j // cols, i % cols - j % cols], dtype=torch.float32)
            distance = torch.sign(distance) * torch.log(distance.abs() + 1)
            inner = torch.nn.functional.leaky_relu(bias.first(distance), 0.1)
            expected = bias.heads(torch.nn.functional.leaky_relu(bias.second(inner), 0.1))
            torch.testing.assert_close(table[:, i, j], expected)


def _shift(causal=False, frame=0, row=1, col=1):
    """A position convolution of width 1 that gives each place another one's value."""
    module = RadIRPositionConvolution(_config(hidden_size=1, causal_position_convolution=causal))
    module.convolution.weight.zero_()[0, 0, frame, row, col] = 1.0
    module.convolution.bias.zero_()
    return module


@pytest.mark.parametrize(
    ("causal", "tap", "past"), [(False, 0, 1), (False, 2, -1), (True, 2, 0), (True, 1, 1), (True, 0, 2)]
)
def test_a_causal_convolution_sees_this_frame_and_the_two_before(causal, tap, past):
    values = torch.arange(1.0, 5)[None, :, None].expand(1, 4, 1)  # four frames of one place
    out = _shift(causal, tap)(values, Layout(1, 4, 1, 1)).flatten().tolist()
    expected = [float(t - past) if 1 <= t - past <= 4 else 0.0 for t in range(1, 5)]
    assert out == expected


def test_in_the_true_order_a_place_meets_its_neighbour_and_in_the_released_order_it_does_not():
    frames, rows, cols = 2, 2, 3
    values = torch.arange(1.0, 13).reshape(frames, rows, cols)
    sequences = values.permute(1, 2, 0).reshape(rows * cols, frames, 1)  # as the temporal layers get them
    layout = Layout(1, frames, rows, cols)
    to_the_right = _shift(frame=1, col=2)
    true = to_the_right(sequences, layout._replace(time_last=True))
    expected = torch.nn.functional.pad(values[..., 1:], (0, 1))
    assert torch.equal(true.reshape(rows, cols, frames).permute(2, 0, 1), expected)
    # Position (t', y', x') holds the element t' * h * w + y' * w + x' of the order (y, x, t).
    read = sequences.flatten().reshape(frames, rows, cols)
    expected = torch.nn.functional.pad(read[..., 1:], (0, 1))
    assert torch.equal(to_the_right(sequences, layout).flatten(), expected.flatten())


def test_a_fresh_tower_starts_as_the_release_does():
    tower = _tower(hidden_size=64, num_modalities=200, num_null_kv=1)
    table = tower.modality_embedding.weight
    assert table.mean().abs() < 0.05
    assert table.std() == pytest.approx(1.0, abs=0.05)
    assert tower.class_token.std() == pytest.approx(1.0, abs=0.3)
    layer = tower.spatial.layers[0]
    for ones in (layer.attention.query_scale, layer.attention.key_scale, layer.attention.norm.weight):
        assert torch.equal(ones, torch.ones_like(ones))
    for weight, fan_in in (
        (layer.feed_forward.widen.weight, 64),
        (layer.position_convolution.convolution.weight, 27),
        (layer.position_convolution.convolution.bias, 27),
        (tower.position_bias.first.bias, 2),
        (tower.volume_embedding.projection.weight, 256),
    ):
        bound = 1 / math.sqrt(fan_in)
        assert 0.85 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize("settings", [{}, {"num_null_kv": 1, "attention_scale": 8.0}])
def test_a_saved_tower_comes_back_bit_for_bit(tmp_path, settings):
    tower = _tower(temporal_grid_order="true", causal_position_convolution=True, **settings)
    tower.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.temporal_grid_order, config.causal_position_convolution) == ("true", True)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, RadIRCTViTModel)
    assert again.state_dict().keys() == tower.state_dict().keys()
    for images in (tiny.pixel_values(2), tiny.volumes(2)):
        assert torch.equal(again(images).pooler_output, tower(images).pooler_output)


def test_a_saved_tower_starts_a_model(tmp_path):
    tower = _tower()
    tower.save_pretrained(tmp_path / "tower")
    text = BertModel(BertConfig(**tiny.config().text_config.to_dict()))
    fusion = {"num_hidden_layers": 1, "num_attention_heads": 2}
    model = RadIRModel.from_encoders(tmp_path / "tower", text, projection_dim=32, fusion_config=fusion)
    assert torch.equal(model.encode_image(tiny.volumes()).pooled, tower(tiny.volumes()).pooler_output)
    model.save_pretrained(tmp_path / "radir")
    again = RadIRModel.from_pretrained(tmp_path / "radir")
    assert torch.equal(again.get_image_features(tiny.volumes()), model.get_image_features(tiny.volumes()))


def test_a_dict_names_the_tower_by_its_type():
    config = RadIRConfig(vision_config={"model_type": "radir_ctvit", "hidden_size": 64})
    assert (config.vision_config.model_type, config.vision_config.hidden_size) == ("radir_ctvit", 64)


def test_bfloat16_gives_nearly_the_same_features():
    model = tiny.model("ctvit")
    exact = {
        kind: model.get_image_features(x)
        for kind, x in (("cxr", tiny.pixel_values()), ("ct", tiny.volumes()))
    }
    model = model.to(torch.bfloat16)
    for kind, images in (("cxr", tiny.pixel_values()), ("ct", tiny.volumes())):
        for path in ("sdpa", "eager"):
            model.set_attn_implementation(path)
            features = model.get_image_features(images)
            assert features.dtype == torch.bfloat16
            assert (features.float() * exact[kind]).sum(dim=-1).min() > 0.995
