"""MedCLIP-ViT: a Swin transformer and Bio_ClinicalBERT, from the published state dict."""

import io
import math
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from transformers import BertModel, SwinConfig, SwinModel

from modeling_radir.conversion.checkpoint_files import read_tensors, state_dict_in
from radir_eval.baselines.base import unit
from radir_eval.baselines.bert import POSITION_IDS, bert_config, by_length
from radir_eval.baselines.from_file import FileBaseline
from radir_eval.baselines.images import as_pil
from radir_eval.baselines.weights import Published, Shape, count_layers, dimension

WEIGHTS = "pytorch_model.bin"
PUBLISHED = Published(
    (WEIGHTS, "model.safetensors", "medclip-vit-pretrained.zip"),
    "",
    "download medclip-vit-pretrained.zip, to which the repository RyanWangZf/MedCLIP links, and give its "
    "path, or that of its folder (medclip=PATH)",
)
SIDE, MEAN, STD = 224, 0.5862785803043838, 0.27950088968644304
DROPPABLE = MappingProxyType(
    {
        r"logit_scale": "a factor on all similarities alike",
        r".*\.relative_position_index": "follows from the window's size",
        r"text_model\.model\.pooler\..*": "the forward pass does not use it",
        POSITION_IDS[0]: POSITION_IDS[1],
    }
)
# What transformers calls a part of Swin since it renamed them, and what the checkpoint calls it.
_RENAMED = (
    (r"\.attention\.([qkv])_proj\.", r".attention.self.\1."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (
        r"\.attention\.relative_position_bias\.relative_position_bias_table",
        ".attention.self.relative_position_bias_table",
    ),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_LETTERS = {"self.q.": "self.query.", "self.k.": "self.key.", "self.v.": "self.value."}


class _Tower(nn.Module):
    """A tower and the projection after it, named as in the checkpoint."""

    def __init__(self, model: Any, width: int, projected: int) -> None:
        super().__init__()
        self.model = model
        self.projection_head = nn.Linear(width, projected, bias=False)


class MedCLIPModel(nn.Module):
    """Both towers, with sizes from the checkpoint's shapes.

    Args:
        shapes: of the checkpoint's tensors, by key.
        source: the checkpoint's name in errors.
        image_size: height and width in pixels, which no shape tells.
        text_heads: of the BERT. None: one for each 64 of its width.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        source: Path | str,
        image_size: int = SIDE,
        text_heads: int | None = None,
    ) -> None:
        super().__init__()
        swin = SwinModel(_swin_config(shapes, source, image_size))
        self.text_config = config = bert_config(shapes, "text_model.model.", source, text_heads)
        projected = dimension(shapes, "vision_model.projection_head.weight", 0, source)
        self.vision_model = _Tower(swin, swin.num_features, projected)
        self.text_model = _Tower(BertModel(config, add_pooling_layer=False), config.hidden_size, projected)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """(B, 1, H, W) to features (B, d): the mean of the last tokens, projected."""
        tower = self.vision_model
        return tower.projection_head(tower.model(pixels.expand(-1, 3, -1, -1)).pooler_output)

    def encode_ids(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Token ids (T, L) to features (T, d): the mean of layers 1, 2 and last over all L positions.

        Padding, though it is not attended, counts in that mean, as it does in the original.
        """
        tower = self.text_model
        states = tower.model(
            input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        layers = torch.stack((states[1], states[2], states[-1]), dim=1)  # (T, 3, L, C)
        return tower.projection_head(layers.mean(dim=2).mean(dim=1))


def _swin_config(shapes: Mapping[str, Shape], source: Path | str, image_size: int) -> SwinConfig:
    prefix = "vision_model.model."
    stages, patches = f"{prefix}encoder.layers.", f"{prefix}embeddings.patch_embeddings.projection.weight"
    numbers = range(count_layers(shapes, stages))
    width = dimension(shapes, patches, 0, source)
    first = f"{stages}0.blocks.0."
    table = "attention.self.relative_position_bias_table"
    return SwinConfig(
        image_size=image_size,
        patch_size=dimension(shapes, patches, 2, source),
        num_channels=dimension(shapes, patches, 1, source),
        embed_dim=width,
        depths=[count_layers(shapes, f"{stages}{number}.blocks.") for number in numbers],
        num_heads=[dimension(shapes, f"{stages}{n}.blocks.0.{table}", 1, source) for n in numbers],
        window_size=(math.isqrt(dimension(shapes, first + table, 0, source)) + 1) // 2,
        mlp_ratio=dimension(shapes, f"{first}intermediate.dense.weight", 0, source) / width,
    )


class MedCLIP(FileBaseline):
    """MedCLIP-ViT.

    Traps: its own loader fails on current versions of transformers (position ids among the keys) and wants a
    GPU; transformers has renamed the parts of Swin since; a text's features depend on its padding, so on its
    company in a batch. Here no text is padded, as if each came alone.
    """

    name: ClassVar[str] = "medclip"
    published, network = PUBLISHED, MedCLIPModel
    hub_tokenizer, context = "emilyalsentzer/Bio_ClinicalBERT", 77
    choices = MappingProxyType({"text": "no padding: each text as if it came alone, at most 77 tokens"})

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is None:
            raise ValueError(f"medclip needs its weights: {PUBLISHED.advice}")
        super().check(location)

    @staticmethod
    def read(path: Path) -> dict[str, Tensor]:
        return _unzip(path) if path.suffix == ".zip" else read_tensors(path)

    @staticmethod
    def key_plan(model: nn.Module) -> dict[str, str]:
        plan = {}
        for key in model.state_dict():
            theirs = key
            if key.startswith("vision_model.model.encoder."):
                for pattern, replacement in _RENAMED:
                    theirs = re.sub(pattern, replacement, theirs)
                for new, old in _LETTERS.items():
                    theirs = theirs.replace(new, old)
            plan[theirs] = key
        return plan

    @staticmethod
    def droppable(model: nn.Module) -> Mapping[str, str]:
        return DROPPABLE

    def preprocess(self, image: Any) -> Tensor:
        """(1, 224, 224): grey, on a black square of at least 224 pixels, resized bicubic, normalised."""
        grey = as_pil(image).convert("L")
        side = max(SIDE, *grey.size)
        square = Image.new("L", (side, side))
        square.paste(grey, (int((side - grey.width) / 2), int((side - grey.height) / 2)))
        small = square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return (v2.functional.pil_to_tensor(small).float() / 255 - MEAN) / STD

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.model.encode_pixels(batch.to(self.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        features: list[Tensor] = [torch.empty(0)] * len(texts)
        for positions, ids in by_length(self.tokenizer, texts, self.max_length):
            encoded = unit(self.model.encode_ids(ids.to(self.device)))
            for position, row in zip(positions, encoded, strict=True):
                features[position] = row
        return torch.stack(features)


def _unzip(path: Path) -> dict[str, Tensor]:
    """The tensors of the archive as it is published."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if Path(name).name == WEIGHTS)
            state = torch.load(io.BytesIO(archive.read(member)), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, StopIteration, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"{path} does not hold a readable {WEIGHTS}: {PUBLISHED.advice}") from error
    return state_dict_in(state, path)
