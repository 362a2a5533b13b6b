"""Models of transformers from folders: what they give equals what their own methods give by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from radir_eval.baselines import parse_baseline
from radir_eval.baselines.base import unit
from radir_eval.baselines.transformers_models import MedSigLIP, TransformersBaseline
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
)

from tests.eval.baselines.baseline_files import TOLERANCE
from tests.modeling_radir.tiny import model as radir_model
from tests.modeling_radir.tiny import tokenizer

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
VISION = {**LAYERS, "image_size": 32, "patch_size": 8}
TEXT = {**LAYERS, "vocab_size": len(tokenizer()), "max_position_embeddings": 12, "eos_token_id": 3}
PROCESSORS = {"siglip": "SiglipImageProcessor", "clip": "CLIPImageProcessor", "other": "ViTImageProcessor"}
TEXTS = ["left heart", "the right lung is clear and there is no effusion"]


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (45, 60), dtype=np.uint8))


def save(model: PreTrainedModel, folder: Path, words: bool = False, **settings: Any) -> Path:
    """A model folder with an image processor of 32 x 32 pixels, and a tokenizer for two towers."""
    model.eval().save_pretrained(folder)
    kind = PROCESSORS.get(model.config.model_type, PROCESSORS["other"])
    values = {
        "image_mean": [0.4] * 3,
        "image_std": [0.3] * 3,
        "size": {"height": 32, "width": 32},
        "resample": 3,
    }
    values |= {
        "image_processor_type": kind,
        "do_center_crop": False,
        "crop_size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values | settings))
    if words:
        tokenizer().save_pretrained(folder)
    return folder


def two_towers(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "siglip":
        return SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION))
    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16))


def close(found: torch.Tensor | None, expected: torch.Tensor) -> None:
    assert found is not None
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["siglip", "clip"])
@torch.inference_mode()
def test_two_towers_give_the_embeddings_of_their_own_forward(tmp_path: Path, kind: str) -> None:
    model = two_towers(kind)
    source = parse_baseline(str(save(model, tmp_path / kind, words=True)))
    baseline = source.baseline.load(source.location, "cpu")
    pixels = baseline.preprocess(picture())[None]
    assert pixels.shape == (1, 3, 32, 32)
    padding = "max_length" if kind == "siglip" else True
    tokens = tokenizer()(TEXTS, padding=padding, truncation=True, max_length=12, return_tensors="pt")
    names = ["input_ids"] if kind == "siglip" else ["input_ids", "attention_mask"]
    output = model(pixel_values=pixels, **{name: tokens[name] for name in names})
    close(baseline.encode_images(pixels), unit(output.image_embeds))
    close(baseline.encode_texts(TEXTS), unit(output.text_embeds))


def test_pictures_are_resized_by_pil_in_rgb(tmp_path: Path) -> None:
    baseline = TransformersBaseline.load(save(two_towers("siglip"), tmp_path, words=True), "cpu")
    small = np.asarray(picture().convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    expected = torch.from_numpy((small / 255 - 0.4) / 0.3).permute(2, 0, 1).float()
    close(baseline.preprocess(picture()), expected)


def test_medsiglip_resizes_without_antialiasing(tmp_path: Path) -> None:
    baseline = MedSigLIP.load(save(two_towers("siglip"), tmp_path, words=True), "cpu")
    values = np.zeros((64, 64), np.uint8)
    values[0::4, 0::4] = 200  # of each 4 pixels that a place sees with antialiasing, bilinear halving reads 2
    found = baseline.preprocess(Image.fromarray(values)) * 0.3 + 0.4
    # Without antialiasing place (0, 0) lies midway between pixels 0 and 1: 200 / 4; place 1 between 2 and 3.
    assert found[0, 0, 0] == pytest.approx(50 / 255, abs=1e-5)
    assert found[0, 1, 1] == pytest.approx(0, abs=1e-5)
    assert found[2, 0, 2] == pytest.approx(50 / 255, abs=1e-5)


@torch.inference_mode()
def test_a_dino_gives_its_class_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**VISION, mlp_ratio=2)).eval()
    baseline = TransformersBaseline.load(save(model, tmp_path), "cpu")
    pixels = baseline.preprocess(picture())[None]
    close(baseline.encode_images(pixels), unit(model(pixels).pooler_output))
    assert baseline.encode_texts(TEXTS) is None


@torch.inference_mode()
def test_a_vit_without_a_pooler_gives_its_class_token_each_time(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(**VISION)).eval()
    folder = save(model, tmp_path)
    pixels = torch.rand(2, 3, 32, 32)
    found = [TransformersBaseline.load(folder, "cpu").encode_images(pixels) for _ in range(2)]
    close(found[0], unit(model.vit(pixels).last_hidden_state[:, 0]))
    close(found[1], found[0])


@torch.inference_mode()
def test_a_tower_without_a_class_token_gives_its_pooled_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])).eval()
    baseline = TransformersBaseline.load(save(model, tmp_path), "cpu")
    pixels = torch.rand(2, 3, 32, 32)
    close(baseline.encode_images(pixels), unit(model(pixels).last_hidden_state.mean(dim=(2, 3))))


def test_weights_that_are_missing_are_listed(tmp_path: Path) -> None:
    model = Dinov2Model(Dinov2Config(**VISION, mlp_ratio=2))
    folder = save(model, tmp_path)
    deeper = {**json.loads((folder / "config.json").read_text()), "num_hidden_layers": 3}
    (folder / "config.json").write_text(json.dumps(deeper))
    with pytest.raises(ValueError, match=r"does not fill a Dinov2Model: \d+ keys are missing \(.*layer\.2"):
        TransformersBaseline.load(folder, "cpu")


def test_a_package_that_a_tokenizer_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(where: str) -> None:
        raise ImportError("this tokenizer needs sentencepiece")

    folder = save(two_towers("siglip"), tmp_path, words=True)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", load)
    with pytest.raises(ValueError, match="needs sentencepiece"):
        TransformersBaseline.load(folder, "cpu")


def test_a_radir_model_is_no_baseline(tmp_path: Path) -> None:
    radir_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"it is a RadIR model: `radir evaluate --model"):
        TransformersBaseline.load(tmp_path, "cpu")
