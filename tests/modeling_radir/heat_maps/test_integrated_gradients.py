"""Attention maps, where the truth is known, and their promises for every tower."""

import pytest
import torch

from modeling_radir.heat_maps.integrated_gradients import (
    attention_map,
    attributions,
    blurred,
    in_image_coordinates,
)
from modeling_radir.modeling_fusion import sine_positions
from modeling_radir.modeling_vision import RadIRVisionOutput
from tests.modeling_radir import tiny


def volumes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, tiny.VOLUME_DEPTH, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    return torch.rand(shape, generator=generator) * 2 - 1


@torch.no_grad()
def model_that_attends_to(place: int):
    """A tiny model whose tokens know their own patch alone and whose fusion attends to one of 16 places."""
    one_head = {"num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 64}
    model = tiny.model("vit", fusion_config=one_head)
    for layer in model.vision_model.tower.layers:
        layer.attention.o_proj.weight.zero_()
        layer.attention.o_proj.bias.zero_()
    model.vision_model.tower.layernorm.weight.mul_(0.01)  # keys carry tokens too: small beside positions
    for layer in model.fusion_model.layers:
        layer.attention.query.weight.zero_()
        layer.attention.query.bias.copy_(1000 * sine_positions((4, 4), 32)[place])
        layer.attention.key.weight.copy_(torch.eye(32))
        layer.attention.key.bias.zero_()
        layer.attention.value.weight.mul_(100)
    return model


@pytest.mark.parametrize("place", [0, 6, 15])
def test_the_only_patch_that_the_fusion_attends_to_gets_all_heat(place):
    heat = attention_map(model_that_attends_to(place), tiny.pixel_values(2), "heart")
    expected = torch.zeros(2, 16)
    expected[:, place] = 1
    torch.testing.assert_close(heat.flatten(1), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("place", [6, 15])
def test_with_a_hit_that_patch_gets_all_heat_where_it_raises_the_cosine_and_none_where_it_lowers_it(place):
    model, images, hit = model_that_attends_to(place), tiny.pixel_values(8), tiny.pixel_values(1, seed=1)
    heat = attention_map(model, images, "heart", hit).flatten(1)
    raises = attributions(model, images, "heart", hit)[0].sum((1, 2, 3)) > 0
    assert 0 < raises.sum() < len(images)
    expected = torch.full((8, 16), 1 / 16)  # nothing is left: uniform
    expected[raises] = 0
    expected[raises, place] = 1
    torch.testing.assert_close(heat, expected, atol=1e-3, rtol=0)


def brightness_of(where: tuple[slice, ...]):
    """A model by hand, whose only feature is the brightness of one block of voxels."""
    model = tiny.model("ctvit")

    def encode_image(pixel_values, pool=True):
        inside = pixel_values[(slice(None), 0, *where)].flatten(1).mean(1)  # (B,)
        return RadIRVisionOutput(tokens=inside[:, None, None], grid=(4, 4))

    def fuse(tokens, grid, queries):
        feature = torch.cat((tokens, torch.ones_like(tokens)), dim=-1)  # (B, 1, 2)
        return torch.nn.functional.normalize(feature, dim=-1)

    model.encode_image, model.fuse = encode_image, fuse
    return model


def test_the_map_of_a_volume_finds_the_block_that_matters_in_depth_too():
    block = (slice(4, 8), slice(8, 16), slice(24, 32))  # frame 1, row 1, column 3
    images = volumes(2)
    images[(slice(None), 0, *block)] += 1  # the block's details raise the cosine with a bright hit
    hit = torch.ones_like(images[:1])
    heat = attention_map(brightness_of(block), images, "heart", hit)
    assert heat.shape == (2, 2, 4, 4)
    expected = torch.zeros(2, 2, 4, 4)
    expected[:, 1, 1, 3] = 1
    torch.testing.assert_close(heat, expected)


def test_attributions_of_a_linear_score_are_the_details_of_each_pixel():
    """s = x . w / |w| of one pixel's value on the unit circle: exact for any number of steps."""
    model = tiny.model()
    weights = torch.randn(1, 1, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, generator=torch.Generator().manual_seed(3))

    def encode_image(pixel_values, pool=True):
        return RadIRVisionOutput(tokens=(pixel_values * weights).sum((1, 2, 3))[:, None, None], grid=(4, 4))

    model.encode_image, model.fuse = encode_image, lambda tokens, grid, queries: tokens
    images, hit = tiny.pixel_values(2), tiny.pixel_values(1, seed=5)
    target = (hit * weights).sum()
    expected = (images - blurred(images)) * weights * target
    torch.testing.assert_close(attributions(model, images, "heart", hit, steps=1)[0], expected)


@pytest.mark.parametrize("tower", tiny.TOWERS)
@pytest.mark.parametrize("with_hit", [False, True])
def test_attributions_add_up_to_what_the_details_bring(tower, with_hit):
    model, images = tiny.model(tower), tiny.pixel_values(2)
    other = tiny.pixel_values(1, seed=1) if with_hit else images
    with torch.no_grad():
        here, blur, there = (
            model.get_conditional_features(each, anatomy="heart")[:, 0]
            for each in (images, blurred(images), other)
        )
    expected = ((here - blur) * there).sum(-1)  # s(x) - s(b)
    found = attributions(model, images, "heart", other if with_hit else None, steps=100)[0].sum((1, 2, 3))
    torch.testing.assert_close(found, expected, atol=2e-3 * expected.abs().max().item() + 1e-6, rtol=0.02)


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_a_map_is_a_distribution_over_the_towers_tokens(tower):
    model, images = tiny.model(tower), tiny.pixel_values(3)
    heat = attention_map(model, images, "heart", steps=2)
    assert heat.shape == (3, *model.encode_image(images).grid)
    assert heat.dtype == torch.float32 and (heat >= 0).all()
    torch.testing.assert_close(heat.flatten(1).sum(1), torch.ones(3))


def test_a_volumes_map_has_its_depth():
    model, scans = tiny.model("ctvit"), volumes(2)
    heat = attention_map(model, scans, "heart", hit=volumes(1, seed=1), steps=2)
    assert heat.shape == (2, tiny.VOLUME_DEPTH // 4, 4, 4)
    torch.testing.assert_close(heat.flatten(1).sum(1), torch.ones(2))
    assert attention_map(model, scans, "heart", steps=1, grid=(4, 8, 16)).shape == (2, 4, 8, 16)


def test_each_image_of_a_batch_gets_the_map_that_it_gets_alone():
    model, images, hits = tiny.model(), tiny.pixel_values(3), tiny.pixel_values(3, seed=2)
    together = attention_map(model, images, "right lung", hits, steps=3)
    alone = [
        attention_map(model, images[i : i + 1], "right lung", hits[i : i + 1], steps=3) for i in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-3)


def test_anatomies_and_hits_give_maps_of_their_own():
    model, images = tiny.model(), tiny.pixel_values(1)
    maps = [attention_map(model, images, name) for name in ("heart", "right lung")]
    maps.append(attention_map(model, images, "heart", tiny.pixel_values(1, seed=1)))
    for a, b in ((0, 1), (0, 2)):
        assert not torch.allclose(maps[a], maps[b], atol=1e-3)


def test_an_image_of_one_grey_gets_a_uniform_map():
    heat = attention_map(tiny.model(), torch.full((1, 1, 32, 32), 0.3), "heart", tiny.pixel_values(1))
    torch.testing.assert_close(heat, torch.full((1, 4, 4), 1 / 16))


def test_blurring_keeps_the_mean_of_a_flat_image_and_spreads_a_point():
    flat = torch.full((1, 1, 16, 16), 0.25)
    torch.testing.assert_close(blurred(flat), flat)
    point = torch.zeros(1, 1, 161, 161)
    point[..., 80, 80] = 1
    sigma = 161 / 16
    profile = torch.exp(-torch.tensor([0.0, 10.0, 20.0]).square() / (2 * sigma**2))
    spread = blurred(point)[0, 0, 80, [80, 90, 100]]
    torch.testing.assert_close(spread / spread[0], profile, atol=1e-5, rtol=1e-4)


def test_a_map_leaves_no_gradients_and_needs_none_switched_on():
    model, images = tiny.model(), tiny.pixel_values(1)
    expected = attention_map(model, images, "heart", images.flip(-1))
    with torch.inference_mode():
        inside = attention_map(model, images.clone(), "heart", images.flip(-1))
    torch.testing.assert_close(inside, expected)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert images.grad is None and not images.requires_grad


def test_a_map_in_bfloat16_resembles_that_in_float32():
    model, images, hit = tiny.model(), tiny.pixel_values(2), tiny.pixel_values(1, seed=1)
    expected = attention_map(model, images, "heart", hit).flatten(1)
    found = attention_map(model.to(torch.bfloat16), images, "heart", hit).flatten(1)
    assert found.dtype == torch.float32
    assert (torch.cosine_similarity(found, expected) > 0.95).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anatomy": "hart"}, "unknown anatomy 'hart'; the nearest known: 'heart'"),
        ({"hit": torch.zeros(3, 1, 32, 32)}, "3 hits for 2 images"),
        ({"steps": 0}, "steps is 0"),
        ({"grid": (4,)}, "a number of cells is needed for each side"),
        ({"grid": (4, 33)}, "a number of cells is needed for each side"),
        ({"model": tiny.model(fusion=False)}, "no fusion"),
        ({"model": tiny.model().train()}, "call model.eval"),
        ({"pixel_values": torch.zeros(2, 1, 8, 32, 32)}, "volumes"),
    ],
)
def test_what_cannot_be_mapped_is_refused_with_a_sentence(change, message):
    arguments = {"model": tiny.model(), "pixel_values": tiny.pixel_values(2), "anatomy": "heart", **change}
    with pytest.raises(ValueError, match=message):
        attention_map(**arguments)


def test_a_map_is_stretched_to_the_image():
    heat = torch.zeros(4, 4)
    heat[1, 2] = 1
    full = in_image_coordinates(heat, (40, 80))
    assert full.shape == (40, 80)
    assert divmod(int(full.argmax()), 80) in [(row, col) for row in (14, 15) for col in (49, 50)]
    torch.testing.assert_close(
        full.max(), torch.tensor(0.95 * 0.975)
    )  # pixels 14.5 and 49.5 lie off the centre


@pytest.mark.parametrize("shape", [(300, 100), (90, 250), (64, 64), (33, 97)])
@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("place", [(0.2, 0.3), (0.8, 0.6)])
def test_a_spot_comes_back_to_where_it_was_before_the_processor(shape, keep_aspect, place):
    """The processor's own output, taken as a map, peaks where the image has its bright spot."""
    row, col = (int(share * side) for share, side in zip(place, shape, strict=True))
    image = torch.zeros(shape)
    image[row - 5 : row + 6, col - 5 : col + 6] = 1
    processor = tiny.processor()
    processor.image_processor.size = {"height": 64, "width": 64}
    processor.image_processor.keep_aspect = keep_aspect
    seen = processor(images=image.numpy(), return_tensors="pt")["pixel_values"][0, 0]
    heat = in_image_coordinates(seen + 1, shape, processor)
    assert heat.shape == shape
    weights = heat / heat.sum()
    rows, cols = (torch.arange(side, dtype=torch.float32) for side in shape)
    centre = (weights.sum(1) @ rows, weights.sum(0) @ cols)
    assert abs(centre[0] - row) < 1 + shape[0] / 64 and abs(centre[1] - col) < 1 + shape[1] / 64


def test_a_volumes_map_is_stretched_in_depth_too():
    heat = torch.zeros(2, 2, 2)
    heat[1, 0, 1] = 1
    full = in_image_coordinates(heat, (4, 6, 8))
    assert full.shape == (4, 6, 8)
    assert full[3, 0, 7] == 1 and full[0].max() == 0


def test_a_batch_of_maps_is_not_taken_for_a_volume():
    with pytest.raises(ValueError, match="one map of a batch"):
        in_image_coordinates(torch.zeros(1, 4, 4), (32, 32))
