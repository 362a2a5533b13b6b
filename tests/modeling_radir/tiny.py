"""Tiny RadIR models, tokenizer and inputs, for tests of any room."""

from typing import Any

import torch
from transformers import BertTokenizer

from modeling_radir import RadIRConfig, RadIRCXRImageProcessor, RadIRModel, RadIRProcessor

WORDS = tuple(
    "the is are no there and of in right left heart lung lungs pleura pleural effusion pneumothorax small "  # noqa: SIM905
    "large normal clear size enlarged opacity lower upper lobe spine".split()
)
ANATOMIES = ("heart", "left pleura", "right lung")
IMAGE_SIZE = 32
VOLUME_DEPTH = 8  # slices, two frames of patches
TOWERS = ("vit", "resnet", "timm_vit", "ctvit")

_VISION: dict[str, dict[str, Any]] = {
    "vit": {
        "model_type": "vit",
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "num_channels": 1,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
    "resnet": {
        "model_type": "timm_wrapper",
        "architecture": "resnet18",
        "model_args": {"in_chans": 1, "channels": [8, 16, 24, 40], "output_stride": 16},
        "do_pooling": False,
    },
    "timm_vit": {
        "model_type": "timm_wrapper",
        "architecture": "vit_tiny_patch16_224",
        "model_args": {
            "in_chans": 1,
            "img_size": IMAGE_SIZE,
            "patch_size": 8,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "reg_tokens": 2,
        },
        "do_pooling": False,
    },
    "ctvit": {
        "model_type": "radir_ctvit",
        "hidden_size": 32,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "temporal_patch_size": 4,
        "num_spatial_layers": 2,
        "num_temporal_layers": 2,
        "num_class_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    },
}
_FUSION = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def tokenizer(max_length: int = 24) -> BertTokenizer:
    """A WordPiece tokenizer of WORDS; all other words are unknown."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=max_length)


def config(tower: str = "vit", fusion: bool = True, **arguments: Any) -> RadIRConfig:
    """Width 32, two layers; the tower is one of TOWERS."""
    text = {
        "model_type": "bert",
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 24,
    }
    values = {"fusion_config": _FUSION if fusion else None, "projection_dim": 32, **arguments}
    return RadIRConfig(vision_config=_VISION[tower], text_config=text, **values)


def model(tower: str = "vit", fusion: bool = True, seed: int = 0, **arguments: Any) -> RadIRModel:
    """A tiny model with random weights that knows ANATOMIES, in eval mode."""
    torch.manual_seed(seed)
    made = RadIRModel(config(tower, fusion, **arguments)).eval()
    made.set_anatomies(ANATOMIES, tokenizer())
    return made


def processor() -> RadIRProcessor:
    """The processor that goes with `model`."""
    images = RadIRCXRImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return RadIRProcessor(image_processor=images, tokenizer=tokenizer())


def pixel_values(count: int = 3, seed: int = 0) -> torch.Tensor:
    """(count, 1, IMAGE_SIZE, IMAGE_SIZE) float32 in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator) * 2 - 1


def volumes(count: int = 2, seed: int = 0) -> torch.Tensor:
    """(count, 1, VOLUME_DEPTH, IMAGE_SIZE, IMAGE_SIZE) float32 in [-1, 1], for the "ctvit" tower."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, VOLUME_DEPTH, IMAGE_SIZE, IMAGE_SIZE, generator=generator) * 2 - 1
