"""Tokens of several feature maps: each normalised by itself, on the coarsest grid, their channels joined."""

import pytest
import torch
import torch.nn.functional as F

from modeling_radir import RadIRModel
from tests.modeling_radir import tiny


def levels(tower: str, chosen: list[int]) -> RadIRModel:
    return tiny.model(tower, vision_levels=chosen)


def normal(cells: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(cells, cells.shape[-1:])


def test_maps_of_a_timm_tower_are_averaged_onto_the_coarsest_grid() -> None:
    model, pixels = levels("resnet", [1, 4]), tiny.pixel_values()
    maps = model.vision_model.tower.timm_model.forward_intermediates(
        pixels, indices=[1, 4], intermediates_only=True
    )
    assert [tuple(one.shape[1:]) for one in maps] == [(8, 8, 8), (40, 2, 2)]
    with torch.no_grad():
        found = model.encode_image(pixels)
        mean = maps[0].reshape(3, 8, 2, 4, 2, 4).mean(dim=(3, 5))
        expected = [normal(one.flatten(2).transpose(1, 2)) for one in (mean, maps[1])]
        torch.testing.assert_close(found.tokens, torch.cat(expected, dim=-1), rtol=1e-4, atol=1e-5)
    assert found.grid == (2, 2) and model.vision_model.hidden_size == 48


@pytest.mark.parametrize("tower", ["vit", "timm_vit"])
def test_blocks_of_a_vit_are_joined_token_by_token(tower: str) -> None:
    model, pixels = levels(tower, [0, 1]), tiny.pixel_values()
    with torch.no_grad():
        found = model.encode_image(pixels)
        if tower == "vit":
            states = model.vision_model.tower(pixels, output_hidden_states=True).hidden_states
            maps = [states[level][:, 1:] for level in (0, 1)]
        else:
            maps = model.vision_model.tower.timm_model.forward_intermediates(
                pixels, indices=[0, 1], intermediates_only=True, output_fmt="NLC"
            )
    torch.testing.assert_close(found.tokens, torch.cat([normal(one) for one in maps], dim=-1))
    assert found.grid == (4, 4) and model.vision_model.level_widths == [32, 32]


def test_a_model_of_several_levels_answers_conditions_and_comes_back(tmp_path) -> None:
    model, pixels = levels("resnet", [3, 4]), tiny.pixel_values()
    with torch.no_grad():
        expected = model.get_conditional_features(pixels, anatomy="heart")
        model.save_pretrained(tmp_path)
        found = RadIRModel.from_pretrained(tmp_path).get_conditional_features(pixels, anatomy="heart")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert expected.shape == (3, 1, 32)


def test_a_map_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="this tower has 5 feature maps"):
        levels("resnet", [3, 5])
    with pytest.raises(ValueError, match="have no names"):
        levels("ctvit", [0, 1])


@pytest.mark.parametrize("wrong", [[], [2, 1], [1, 1], [-1], "34", [1.5]])
def test_levels_that_are_no_ascending_places_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="vision_levels is"):
        tiny.config(vision_levels=wrong)


def test_pixels_are_normalised_as_the_tower_was_trained() -> None:
    mean, std = [0.4], [0.2]
    plain, model = tiny.model("vit"), tiny.model("vit", vision_mean=mean, vision_std=std)
    pixels = tiny.pixel_values()
    with torch.no_grad():
        found, expected = model.encode_image(pixels), plain.encode_image(((pixels + 1) / 2 - 0.4) / 0.2)
    torch.testing.assert_close(found.tokens, expected.tokens)


@pytest.mark.parametrize(("mean", "std"), [([0.5], None), ([0.5], [0.0]), ([0.5], [0.1, 0.2]), ("x", "y")])
def test_a_normalisation_that_is_none_is_refused(mean: object, std: object) -> None:
    with pytest.raises(ValueError, match="vision_mean"):
        tiny.config(vision_mean=mean, vision_std=std)
