"""The baselines' architectures give what the originals give, and know every key of the published files."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from radir_eval.baselines import ctclip, medclip, pmcclip
from radir_eval.baselines.base import unit
from radir_eval.baselines.images import clip_pixels
from radir_eval.baselines.weights import check_keys, without_weights
from safetensors.torch import load_file
from torch import Tensor

from tests.eval.baselines.baseline_files import TOLERANCE, full_shapes, vectors
from tests.modeling_radir.conversion.released import reference


def assert_equal(found: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@torch.inference_mode()
def test_pmcclip_equals_the_original_under_both_head_counts(shared_data: Path) -> None:
    case = vectors(shared_data, "pmcclip")
    model = pmcclip.PMCCLIP.model_of(case.weights, "vectors", text_heads=2)
    demo = pmcclip.PMCCLIPDemo.model_of(case.weights, "vectors", text_heads=2)
    images, ids = case.inputs["images"], case.inputs["input_ids"]
    stem = model.visual.stem(images)
    assert_equal(stem, case.outputs["stem_out"])
    assert_equal(model.visual.stages(stem), case.outputs["layer4_out"])
    assert_equal(unit(model.visual(images)), case.outputs["image_features"])
    assert_equal(unit(demo.visual(images)), case.outputs["image_features_heads8"])
    assert (unit(demo.visual(images)) - case.outputs["image_features"]).abs().max() > 0.05
    assert_equal(unit(model.encode_ids(ids)), case.outputs["text_features"])
    assert_equal(unit(demo.encode_ids(ids, pooler=True)), case.outputs["text_features_pooler"])
    assert_equal(unit(model.encode_ids(ids[:1])), case.outputs["text_features"][:1])  # the original fails


@torch.inference_mode()
def test_medclip_equals_the_original(shared_data: Path) -> None:
    case = vectors(shared_data, "medclip_vit")
    model = medclip.MedCLIP.model_of(case.weights, "vectors", image_size=56, text_heads=4)
    ids, mask = case.inputs["input_ids"], case.inputs["attention_mask"]
    assert_equal(unit(model.encode_pixels(case.inputs["pixel_values"])), case.outputs["img_embeds"])
    assert_equal(model.encode_ids(ids, mask), case.outputs["text_proj"])
    assert_equal(unit(model.encode_ids(ids, mask)), case.outputs["text_embeds"])


class Tokens:
    """A tokenizer of the numbers of known rows."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows

    def __call__(self, text: str, **settings: Any) -> dict[str, list[int]]:
        return {"input_ids": self.rows[int(text)]}


def test_medclip_encodes_each_text_as_if_it_came_alone(shared_data: Path) -> None:
    case = vectors(shared_data, "medclip_vit")
    model = medclip.MedCLIP.model_of(case.weights, "vectors", image_size=56, text_heads=4)
    lengths = case.inputs["attention_mask"].sum(dim=1).tolist()
    rows = [row[:n] for row, n in zip(case.inputs["input_ids"].tolist(), lengths, strict=True)]
    baseline = medclip.MedCLIP(model, Tokens(rows), "cpu")
    found = baseline.encode_texts(["2", "0", "1", "2"])
    assert_equal(found[:1], case.outputs["last_text_without_padding"])
    assert_equal(found[3:], case.outputs["last_text_without_padding"])
    assert lengths[2] < ids_length(case) and (found[0] - case.outputs["text_embeds"][2]).abs().max() > 0.05
    full = [i for i, n in enumerate(lengths) if n == ids_length(case)]  # these were not padded in the batch
    for i in full:
        assert_equal(found[1 + i], case.outputs["text_embeds"][i])
    assert full


def ids_length(case: Any) -> int:
    return case.inputs["input_ids"].shape[1]


@torch.inference_mode()
def test_ctclip_equals_the_original_stage_by_stage(shared_data: Path) -> None:
    case = vectors(shared_data, "ctclip")
    model = ctclip.CTCLIP.model_of(case.weights, "vectors", text_heads=2)
    volumes = case.inputs["ct"]
    assert_equal(model.volume_embedding(volumes), case.outputs["patch_tokens"])
    assert_equal(model.position_bias(3, 3), case.outputs["spatial_pos_bias"])
    tokens = model.encode_tokens(volumes)  # (B, T, h, w, C)
    assert_equal(tokens.permute(0, 2, 3, 1, 4).flatten(0, 2), case.outputs["temporal_out"])
    codes = model.nearest_codes(tokens)
    torch.testing.assert_close(codes.flatten(1), case.outputs["vq_indices"])
    assert_equal(model.codebook[0][codes], case.outputs["enc_image"])
    assert_equal(model.encode_volumes(volumes), case.outputs["image_latent_prenorm"])
    assert_equal(unit(model.encode_volumes(volumes)), case.outputs["image_latent"])
    encoded = model.encode_ids(case.inputs["input_ids"], case.inputs["attention_mask"])
    assert_equal(encoded, case.outputs["text_latent_prenorm"])
    assert_equal(unit(encoded), case.outputs["text_latent"])


def test_preprocessing_equals_the_originals(shared_data: Path) -> None:
    folder = reference(shared_data) / "vectors" / "baselines"
    case = load_file(folder / "preprocessing.safetensors")
    image = Image.fromarray(case["image_uint8"].numpy())
    every4 = clip_pixels(image)[:, ::4, ::4]
    assert_equal(every4, case["pmcclip_pixels_every4"], 2e-6)
    assert_equal(every4, case["biomedclip_pixels_every4"], 2e-6)
    grey = medclip.MedCLIP.preprocess(None, image)  # type: ignore[arg-type] # it needs no model
    assert grey.shape == (1, 224, 224)
    assert_equal(grey[:, ::4, ::4], case["medclip_pixels_every4"], 2e-6)


def dropped_kinds(dropped: list[tuple[str, str]]) -> set[str]:
    """The dropped keys, with a star for each number and for what BERT and Swin have in many places."""
    return {re.sub(r"\.\d+(?=\.|$)", ".*", key) for key, _ in dropped}


def test_every_key_of_the_published_pmcclip_has_its_place(shared_data: Path) -> None:
    shapes = full_shapes(shared_data, "pmcclip")
    with without_weights():
        model = pmcclip.PMCCLIPModel(shapes, "listed")
    assert model.visual.attnpool.heads == 32
    assert model.text_encoder.config.num_attention_heads == 12
    plan = {key: key for key in model.state_dict()}
    dropped = check_keys(shapes, model, plan, pmcclip.DROPPABLE, "listed")
    assert {key.partition(".")[0] for key, _ in dropped} == {
        *("positional_embedding", "mlm_projection", "logit_scale", "img_special_token", "ln_final"),
        "fusion_module",
    }
    assert len(dropped) + len(plan) == len(shapes) == 593


def test_every_key_of_the_published_medclip_has_its_place(shared_data: Path) -> None:
    shapes = full_shapes(shared_data, "medclip")
    with_ids = {**shapes, "text_model.model.embeddings.position_ids": (1, 512)}
    with without_weights():
        model = medclip.MedCLIPModel(shapes, "listed")
    assert model.vision_model.model.config.depths == [2, 2, 6, 2]
    assert model.vision_model.model.config.window_size == 7
    plan = medclip.MedCLIP.key_plan(model)
    dropped = check_keys(with_ids, model, plan, medclip.DROPPABLE, "listed")
    assert dropped_kinds(dropped) == {
        "logit_scale",
        "vision_model.model.encoder.layers.*.blocks.*.attention.self.relative_position_index",
        "text_model.model.pooler.dense.weight",
        "text_model.model.pooler.dense.bias",
        "text_model.model.embeddings.position_ids",
    }
    assert len(dropped) - 1 + len(plan) == len(shapes) == 433


def test_every_key_of_the_published_ctclip_has_its_place(shared_data: Path) -> None:
    shapes = full_shapes(shared_data, "ctclip")
    with_ids = {**shapes, "text_transformer.embeddings.position_ids": (1, 512)}
    with without_weights():
        model = ctclip.ctclip_model(with_ids, "listed")
    vision = model.config.vision_config
    assert (vision.num_spatial_layers, vision.num_temporal_layers, vision.num_attention_heads) == (4, 4, 8)
    assert (vision.image_size, vision.patch_size, vision.temporal_patch_size) == (480, 20, 10)
    assert (vision.attention_scale, vision.causal_position_convolution) == (8.0, True)
    plan = ctclip.CTCLIP.key_plan(model)
    dropped = check_keys(with_ids, model, plan, ctclip.CTCLIP.droppable(model), "listed")
    assert len(dropped) - 1 + len(plan) == len(shapes) == 361
    kept = {key for key in plan if key.startswith("visual_transformer.")}
    assert ctclip.CODEBOOK in kept
    stages = {key.split(".")[1] for key in dropped_kinds(dropped) if key.startswith("visual_transformer.")}
    assert stages == {
        *("to_patch_emb_first_frame", "to_pixels", "to_pixels_first_frame", "vq"),
        *("enc_spatial_transformer", "enc_temporal_transformer"),
    }
    assert model.visual_projection.weight.is_meta  # nothing of that size was made


def test_ctclip_with_a_shift_in_a_norm_is_refused(shared_data: Path) -> None:
    weights = vectors(shared_data, "ctclip").weights
    key = "visual_transformer.enc_temporal_transformer.layers.1.1.norm.beta"
    weights[key] = weights[key] + 0.5
    with pytest.raises(ValueError, match=rf"shifts, which CT-CLIP has not: {re.escape(key)}"):
        ctclip.CTCLIP.model_of(weights, "vectors", text_heads=2)
