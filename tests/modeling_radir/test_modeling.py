"""The model: features, towers, saving and loading."""

import json

import pytest
import torch
from transformers import (
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ViTModel,
)

from modeling_radir import ConditionalLoss, RadIRModel, RadIRProcessor, UnconditionalLoss
from tests.modeling_radir import tiny


@pytest.fixture(autouse=True)
def _no_gradients_unless_asked(request):
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


def _tokens(texts):
    return dict(tiny.tokenizer()(texts, padding=True, return_tensors="pt", return_token_type_ids=False))


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_features_have_unit_norm_and_the_documented_shapes(tower):
    model = tiny.model(tower)
    images = model.get_image_features(tiny.pixel_values(3))
    texts = model.get_text_features(**_tokens(["heart normal", "no left pleural effusion"]))
    fused = model.get_conditional_features(tiny.pixel_values(3), anatomy=list(tiny.ANATOMIES))
    assert images.shape == (3, 32)
    assert texts.shape == (2, 32)
    assert fused.shape == (3, 3, 32)
    for features in (images, texts, fused):
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(features.shape[:-1]))


@pytest.mark.parametrize(("tower", "grid"), [("vit", (4, 4)), ("resnet", (2, 2)), ("timm_vit", (4, 4))])
def test_every_tower_gives_tokens_on_a_grid(tower, grid):
    model = tiny.model(tower)
    vision = model.encode_image(tiny.pixel_values(2))
    assert vision.grid == grid
    assert vision.tokens.shape == (2, grid[0] * grid[1], model.vision_model.hidden_size)
    assert vision.pooled.shape == (2, model.vision_model.hidden_size)
    if tower == "resnet":
        feature_map = model.vision_model.tower(tiny.pixel_values(2), do_pooling=False).last_hidden_state
        torch.testing.assert_close(vision.pooled, feature_map.mean(dim=(2, 3)))


def test_hierarchical_towers_of_both_libraries_give_their_grid():
    swin = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
    swin = {"model_type": "swin", "num_channels": 1, "window_size": 4, **swin}
    timm = {
        "in_chans": 1,
        "img_size": 64,
        "window_size": 2,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
    }
    timm = {"model_type": "timm_wrapper", "architecture": "swin_tiny_patch4_window7_224", "model_args": timm}
    convnext = {"model_type": "convnext", "num_channels": 1, "hidden_sizes": [8, 8, 8, 16], "depths": [1] * 4}
    for vision, grid in ((swin, (8, 8)), (timm, (8, 8)), (convnext, (2, 2))):
        config = tiny.config().to_dict() | {"vision_config": vision}
        model = RadIRModel(type(tiny.config())(**config)).eval()
        out = model.encode_image(torch.zeros(1, 1, 64, 64))
        assert (out.grid, out.tokens.shape[-1]) == (grid, 16)
        assert model.visual_projection.in_features == 16


def test_a_feature_map_becomes_tokens_row_by_row():
    model = tiny.model("resnet")
    image = tiny.pixel_values(1)[..., :16, :]  # 1 x 2 tokens
    assert model.encode_image(image).grid == (1, 2)
    feature_map = model.vision_model.tower(image, do_pooling=False).last_hidden_state
    cell = feature_map[0, :, 0, 1]  # normalised over its channels, as a transformer's tokens are
    expected = (cell - cell.mean()) / (cell.var(correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(model.encode_image(image).tokens[0, 1], expected)


def test_names_that_are_encoded_once_serve_every_batch():
    model = tiny.model()
    queries = model.encode_anatomies(*model.anatomy_tokens(tiny.ANATOMIES))
    for seed in (0, 1):
        pixels = tiny.pixel_values(2, seed)
        by_name = model.get_conditional_features(pixels, anatomy=tiny.ANATOMIES)
        torch.testing.assert_close(model.get_conditional_features(pixels, queries=queries), by_name)
    with pytest.raises(ValueError, match="one of the three"):
        model.get_conditional_features(pixels, anatomy="heart", queries=queries)


def test_many_anatomies_at_once_equal_one_at_a_time():
    model = tiny.model()
    together = model.get_conditional_features(tiny.pixel_values(3), anatomy=list(tiny.ANATOMIES))
    for i, name in enumerate(tiny.ANATOMIES):
        alone = model.get_conditional_features(tiny.pixel_values(3), anatomy=name)
        torch.testing.assert_close(together[:, i : i + 1], alone, atol=1e-6, rtol=1e-5)


def test_an_anatomy_by_name_equals_its_tokens():
    model = tiny.model()
    names = list(tiny.ANATOMIES)
    by_name = model.get_conditional_features(tiny.pixel_values(2), anatomy=names)
    by_tokens = model.get_conditional_features(tiny.pixel_values(2), **_tokens(names))
    assert torch.equal(by_name, by_tokens)


def test_a_batch_of_one_equals_its_row_of_a_larger_batch():
    model = tiny.model()
    images = tiny.pixel_values(3)
    alone = model.get_conditional_features(images[:1], anatomy="heart")
    torch.testing.assert_close(model.get_conditional_features(images, anatomy="heart")[:1], alone)


@pytest.mark.parametrize("tower", tiny.TOWERS)
@pytest.mark.parametrize("fusion", [True, False])
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, tower, fusion):
    model = tiny.model(tower, fusion)
    model.save_pretrained(tmp_path)
    for again in (RadIRModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert isinstance(again, RadIRModel)
        assert again.state_dict().keys() == model.state_dict().keys()
        images = tiny.pixel_values(2)
        assert torch.equal(again.get_image_features(images), model.get_image_features(images))
        if fusion:
            ours = model.get_conditional_features(images, anatomy="left pleura")
            assert torch.equal(again.get_conditional_features(images, anatomy="left pleura"), ours)
    assert not list(tmp_path.glob("*.bin"))


def test_a_saved_processor_comes_back_whole(tmp_path):
    processor = tiny.processor()
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(again, RadIRProcessor)
    image = tiny.pixel_values(1)[0, 0].numpy()
    ours, theirs = (p(images=image, text="left pleura", return_tensors="pt") for p in (processor, again))
    assert set(ours) == {"pixel_values", "input_ids", "attention_mask"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert (
        AutoTokenizer.from_pretrained(tmp_path)("heart")["input_ids"]
        == processor.tokenizer("heart")["input_ids"]
    )


def test_long_texts_are_cut_and_short_ones_padded_to_the_longest():
    encoded = tiny.processor()(text=["heart " * 50, "lungs clear"], return_tensors="pt")
    assert encoded["input_ids"].shape == (2, 24)
    assert encoded["attention_mask"].sum(dim=1).tolist() == [24, 4]


def test_pretrained_towers_are_taken_over(tmp_path):
    config = tiny.config()
    ViTModel(config.vision_config).save_pretrained(tmp_path / "vit")
    text = BertModel(BertConfig(**config.text_config.to_dict()))
    model = RadIRModel.from_encoders(
        tmp_path / "vit", text, projection_dim=32, fusion_config={"num_hidden_layers": 1}
    )
    saved = ViTModel.from_pretrained(tmp_path / "vit")
    assert torch.equal(model.vision_model.tower.layernorm.weight, saved.layernorm.weight)
    expected = saved.embeddings.patch_embeddings.projection.weight
    assert torch.equal(model.vision_model.tower.embeddings.patch_embeddings.projection.weight, expected)
    assert model.text_model.tower is text
    model.save_pretrained(tmp_path / "radir")
    again = RadIRModel.from_pretrained(tmp_path / "radir")
    images = tiny.pixel_values(1)
    assert torch.equal(again.get_image_features(images), model.get_image_features(images))


def test_cxr_bert_is_read_as_bert_though_its_repository_has_code_of_its_own(tmp_path):
    config = tiny.config()
    text = BertForMaskedLM(BertConfig(**config.text_config.to_dict())).eval()  # its weights lie under "bert."
    text.save_pretrained(tmp_path / "text")
    described = json.loads((tmp_path / "text" / "config.json").read_text())
    described |= {"model_type": "cxr-bert", "architectures": ["CXRBertModel"], "projection_size": 128}
    described["auto_map"] = {"AutoConfig": "configuration_cxrbert.CXRBertConfig"}
    (tmp_path / "text" / "config.json").write_text(json.dumps(described))
    model = RadIRModel.from_encoders(ViTModel(config.vision_config), tmp_path / "text", projection_dim=32)
    words = _tokens(["heart normal"])
    expected = text.bert(**words).last_hidden_state[:, 0]
    torch.testing.assert_close(model.text_model(**words), expected)
    assert model.config.text_config.model_type == "bert"


def test_without_fusion_it_is_a_clip_that_refuses_conditions():
    model = tiny.model(fusion=False)
    out = model(pixel_values=tiny.pixel_values(2), **_tokens(["heart", "lungs"]), return_loss=True)
    logits = out.logits_per_image
    both = torch.nn.functional.cross_entropy
    expected = (both(logits, torch.arange(2)) + both(logits.T, torch.arange(2))) / 2
    torch.testing.assert_close(out.loss, expected)
    with pytest.raises(ValueError, match="no fusion"):
        model.get_conditional_features(tiny.pixel_values(1), anatomy="heart")


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_gradients_of_each_stage_reach_its_parts(tower):
    model = tiny.model(tower)
    relevance = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    names = _tokens(list(tiny.ANATOMIES))
    anatomies = {f"anatomy_{key}": value for key, value in names.items()}
    images = tiny.pixel_values(3)
    out = model(images, **_tokens(["heart", "lungs clear", "spine"]), relevance=relevance)
    out.loss.backward()
    assert model.logit_scale.grad.abs() > 0
    assert model.visual_projection.weight.grad.abs().sum() > 0
    assert model.text_projection.weight.grad.abs().sum() > 0
    model.zero_grad()
    model(images, **anatomies, conditional_relevance=relevance.expand(3, 3, 3)).loss.backward()
    missing = [name for name, p in model.fusion_model.named_parameters() if p.grad is None]
    assert not missing
    assert sum(p.grad.abs().sum() for p in model.fusion_model.parameters()) > 0


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_an_output_begins_with_what_was_asked_for_and_has_a_row_for_each_image(tower):
    model, images = tiny.model(tower), tiny.pixel_values(3)
    names = {f"anatomy_{key}": value for key, value in _tokens(["heart"]).items()}
    alone = model(images, **names)
    assert list(alone) == ["image_embeds", "conditional_embeds", "last_hidden_state", "pooler_output"]
    assert all(len(part) == 3 for part in alone.to_tuple())
    assert torch.equal(alone[0], model.get_image_features(images))
    vision = model.encode_image(images)
    assert torch.equal(alone.last_hidden_state, vision.tokens)
    assert torch.equal(alone.pooler_output, vision.pooled)
    texts = _tokens(["heart", "lungs clear", "spine"])
    full = model(images, **texts, return_loss=True)
    assert full[0] is full.loss and full.logit_scale == model.logit_scale.exp()
    assert list(model(**texts)) == ["text_embeds", "logit_scale"]


def test_the_loss_of_the_model_is_that_of_both_objectives():
    model = tiny.model()
    images, texts = tiny.pixel_values(3), _tokens(["heart", "lungs clear", "spine"])
    names = {f"anatomy_{key}": value for key, value in _tokens(list(tiny.ANATOMIES)).items()}
    relevance = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    asked = {"relevance": relevance, "conditional_relevance": relevance.expand(3, 3, 3)}
    out = model(images, **texts, **names, **asked)
    whole = UnconditionalLoss()(out.image_embeds, out.text_embeds, out.logit_scale, relevance)
    fused = out.conditional_embeds.transpose(0, 1)
    conditional = ConditionalLoss()(fused @ fused.transpose(1, 2), relevance.expand(3, 3, 3))
    torch.testing.assert_close(out.loss, whole + conditional)
    assert model(images, **texts, **names).loss is None


def test_images_and_texts_that_do_not_fit_are_refused_with_a_sentence():
    model = tiny.model()
    with pytest.raises(ValueError, match="num_channels=1"):
        model.get_image_features(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="max_length=24"):
        model.get_text_features(torch.ones(1, 25, dtype=torch.int64))
    with pytest.raises(ValueError, match="give either"):
        model.get_conditional_features(tiny.pixel_values(1))
    with pytest.raises(ValueError, match="nearest known: 'heart'"):
        model.get_conditional_features(tiny.pixel_values(1), anatomy="hart")
    with pytest.raises(ValueError, match="takes \\(32, 32\\) only"):
        tiny.model("timm_vit").get_image_features(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match="give pixel_values"):
        model(**{f"anatomy_{key}": value for key, value in _tokens(["heart"]).items()})


def test_a_folder_of_another_model_is_refused(tmp_path):
    BertModel(BertConfig(**tiny.config().text_config.to_dict())).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="bert"):
        RadIRModel.from_pretrained(tmp_path)


def test_another_image_size_gives_another_grid():
    assert tiny.model("vit").encode_image(torch.zeros(1, 1, 48, 32)).grid == (6, 4)
