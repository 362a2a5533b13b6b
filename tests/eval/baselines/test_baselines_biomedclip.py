"""BiomedCLIP through open_clip: from a folder, with the preprocessing and features of the original."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from radir_eval.baselines.base import unit
from radir_eval.baselines.biomedclip import CONFIG, BiomedCLIP
from radir_eval.baselines.images import CLIP_MEAN, CLIP_STD, clip_pixels
from radir_eval.baselines.weights import shapes_of
from safetensors.torch import load_file, save_file
from timm.models import _registry
from transformers import BertConfig

from tests.eval.baselines.baseline_files import TOLERANCE, full_shapes, vectors
from tests.modeling_radir.tiny import tokenizer

open_clip = pytest.importorskip("open_clip")

TINY = "radir_test_vit"  # what the vectors' image tower is called here


def radir_test_vit(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
    sizes = {"img_size": 48, "embed_dim": 36, "depth": 2, "num_heads": 3, "mlp_ratio": 3.0}
    return timm.create_model("vit_tiny_patch16_224", **sizes)


@pytest.fixture
def tiny_vit(monkeypatch: pytest.MonkeyPatch) -> str:
    """The vectors' image tower under a name that timm knows."""
    monkeypatch.setitem(_registry._model_entrypoints, TINY, radir_test_vit)
    assert timm.is_model(TINY)
    return TINY


def model_settings(image: str, size: int, text: Path, context: int, width: int) -> dict[str, Any]:
    """The model_cfg of BiomedCLIP's open_clip_config.json, with other towers."""
    return {
        "embed_dim": width,
        "vision_cfg": {
            "timm_model_name": image,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": size,
        },
        "text_cfg": {
            "hf_model_name": str(text),
            "hf_tokenizer_name": str(text),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": context,
        },
    }


def bert_folder(folder: Path, shapes: dict[str, tuple[int, ...]], heads: int) -> Path:
    """A folder with the configuration of a BERT of these shapes, and a tokenizer."""
    words = shapes["text.transformer.embeddings.word_embeddings.weight"]
    config = BertConfig(
        vocab_size=words[0],
        hidden_size=words[1],
        num_hidden_layers=len({key.split(".")[4] for key in shapes if ".encoder.layer." in key}),
        num_attention_heads=heads,
        intermediate_size=shapes["text.transformer.encoder.layer.0.intermediate.dense.weight"][0],
        max_position_embeddings=shapes["text.transformer.embeddings.position_embeddings.weight"][0],
    )
    config.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, shared_data: Path, tiny_vit: str) -> Path:
    """The vectors' model as a folder for open_clip."""
    state = {key: value.float() for key, value in vectors(shared_data, "biomedclip").weights.items()}
    bert_folder(tmp_path, shapes_of(state), heads=4)
    settings = model_settings(tiny_vit, 48, tmp_path, 14, 20)
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD}
    (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": settings, "preprocess_cfg": preprocess}))
    save_file(state, tmp_path / "open_clip_model.safetensors")
    return tmp_path


@torch.inference_mode()
def test_equals_the_original(folder: Path, shared_data: Path) -> None:
    case = vectors(shared_data, "biomedclip")
    baseline = BiomedCLIP.load(folder, "cpu")
    images = baseline.encode_images(case.inputs["images"])
    texts = unit(baseline.model.encode_text(case.inputs["input_ids"]))
    exact = {"atol": TOLERANCE, "rtol": 0}
    torch.testing.assert_close(images, case.outputs["image_features_norm"], **exact)
    torch.testing.assert_close(texts, case.outputs["text_features_norm"], **exact)


@torch.inference_mode()
def test_images_and_texts_go_through_the_models_own_preprocessing(folder: Path) -> None:
    baseline = BiomedCLIP.load(folder, "cpu")
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 75), dtype=np.uint8))
    torch.testing.assert_close(baseline.preprocess(grey), clip_pixels(grey, size=48), atol=2e-6, rtol=0)
    ids = tokenizer()("left heart")["input_ids"]
    padded = torch.tensor([ids + [0] * (14 - len(ids))])
    expected = unit(baseline.model.encode_text(padded))
    torch.testing.assert_close(baseline.encode_texts(["left heart"]), expected, atol=TOLERANCE, rtol=0)


def test_keys_that_do_not_fit_are_listed(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    state = load_file(path)
    del state["visual.head.proj.weight"]
    save_file({**state, "visual.other": torch.zeros(1)}, path)
    with pytest.raises(
        ValueError, match=r"(?s)open_clip cannot load.*visual\.head\.proj\.weight.*visual\.other"
    ):
        BiomedCLIP.load(folder, "cpu")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder with open_clip_config\.json"):
        BiomedCLIP.check(tmp_path)


def test_every_key_of_the_published_model_has_its_place(tmp_path: Path, shared_data: Path) -> None:
    shapes = full_shapes(shared_data, "biomedclip")
    text = bert_folder(tmp_path, shapes, heads=12)
    settings = model_settings("vit_base_patch16_224", 224, text, 256, 512)
    settings["text_cfg"]["hf_model_pretrained"] = False
    with torch.device("meta"):
        model = open_clip.CustomTextCLIP(**settings)
    assert shapes_of(model.state_dict()) == shapes
    assert sum(value.numel() for value in model.parameters()) == 195_902_721
