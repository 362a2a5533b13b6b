"""The configuration keeps what it is given and refuses what cannot work."""

import math

import pytest
from transformers import AutoConfig, BertConfig

from modeling_radir import RadIRConfig
from tests.modeling_radir import tiny


def test_defaults_are_grey_vit_base_bert_base_and_the_released_fusion():
    config = RadIRConfig()
    vision, text, fusion = config.vision_config, config.text_config, config.fusion_config
    assert (vision.model_type, vision.hidden_size, vision.patch_size, vision.num_channels) == (
        "vit",
        768,
        16,
        1,
    )
    assert (text.model_type, text.vocab_size, text.hidden_size, text.num_hidden_layers) == (
        "bert",
        30522,
        768,
        12,
    )
    assert (fusion.hidden_size, fusion.num_hidden_layers, fusion.intermediate_size) == (512, 4, 2048)
    assert math.exp(config.logit_scale_init_value) == pytest.approx(27.18, abs=0.01)


@pytest.mark.parametrize("tower", tiny.TOWERS)
@pytest.mark.parametrize("fusion", [True, False])
def test_saving_and_loading_keeps_every_setting(tmp_path, tower, fusion):
    config = tiny.config(tower, fusion, anatomies={"heart": [2, 15, 3]}, logit_scale_init_value=1.5)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert (again.fusion_config is None) is not fusion
    assert again.anatomies == {"heart": [2, 15, 3]}
    old, new = config.to_dict(), again.to_dict()
    for values in (old, new):
        values.pop("transformers_version")
        values["vision_config"].pop("transformers_version", None)
    assert new["vision_config"] == old["vision_config"]
    assert new["fusion_config"] == old["fusion_config"]
    assert again.logit_scale_init_value == 1.5


def test_a_configuration_object_is_taken_as_it_is():
    text = BertConfig(hidden_size=64, num_attention_heads=2)
    assert RadIRConfig(text_config=text).text_config is text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"projection_dim": 0}, "projection_dim is 0"),
        ({"projection_dim": 512, "fusion_config": {"hidden_size": 256}}, "both must agree"),
        ({"fusion_config": {"num_attention_heads": 7}}, "multiple of"),
        ({"fusion_config": {"dropout": 1.0}}, "dropout is 1.0"),
        ({"fusion_config": {"hidden_act": "rleu"}}, "rleu"),
        ({"vision_config": {"hidden_size": 3}}, "no 'model_type'"),
        ({"vision_config": {"model_type": "vitt"}}, "'vit'"),
        ({"text_config": "bert"}, "text_config is a str"),
        ({"logit_scale_init_value": math.inf}, "finite"),
        ({"anatomies": {"heart": []}}, "token ids"),
        ({"anatomies": {"heart": [30522]}}, "vocabulary of 30522"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        RadIRConfig(**arguments)


def test_an_unknown_anatomy_is_answered_with_the_nearest_names():
    config = tiny.config(anatomies={"left pleura": [1], "heart": [2]})
    with pytest.raises(ValueError, match="'left plura'; the nearest known: 'left pleura'"):
        config.token_ids("left plura")
