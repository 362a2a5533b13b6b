"""What the tests of baselines share: the reference vectors, and checkpoints made on the spot."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from radir_eval.baselines.pmcclip_resnet import ModifiedResNet
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from tests.modeling_radir.conversion.released import reference
from tests.modeling_radir.tiny import tokenizer

TOLERANCE = 1e-5


def vectors(shared_data: Path, name: str) -> SimpleNamespace:
    """weights, inputs and outputs of one model, from the original code with small random weights."""
    tensors = load_file(reference(shared_data) / "vectors" / "baselines" / f"{name}.safetensors")
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "inputs": {}, "outputs": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    return SimpleNamespace(**parts)


def full_shapes(shared_data: Path, name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a published checkpoint's tensors, by key."""
    listed = json.loads((reference(shared_data) / "full_state_dicts" / f"{name}.json").read_text())
    return {key: tuple(shape) for key, (shape, _) in listed.items()}


def bert(pooler: bool = True) -> BertModel:
    """A BERT with a width of 64, so of one head, for the words of the tiny tokenizer."""
    config = BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=32,
        max_position_embeddings=20,
    )
    return BertModel(config, add_pooling_layer=pooler).eval()


def pmcclip_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict with the keys of PMC-CLIP's towers, of images of 224 pixels."""
    torch.manual_seed(seed)
    parts = nn.ModuleDict({"visual": ModifiedResNet([1, 1, 1, 1], 8, 64, 49, 4), "text_encoder": bert()})
    nn.init.normal_(parts["visual"].attnpool.positional_embedding, std=0.1)
    others = {"text_projection": torch.randn(64, 64), "logit_scale": torch.tensor(4.0)}
    return {**parts.state_dict(), **others}


def pmcclip_file(folder: Path, seed: int = 0) -> Path:
    """A checkpoint.pt as data-parallel training writes it, with a tokenizer beside it."""
    state = {f"module.{key}": value for key, value in pmcclip_state(seed).items()}
    torch.save({"epoch": 1, "state_dict": state}, folder / "checkpoint.pt")
    tokenizer().save_pretrained(folder)
    return folder / "checkpoint.pt"
