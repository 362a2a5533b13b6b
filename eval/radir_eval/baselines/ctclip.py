"""CT-CLIP: RadIR's tower in its older form, whose tokens become codes, beside CXR-BERT."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel, BertTokenizer

from modeling_radir.configuration_radir import RadIRConfig
from modeling_radir.conversion.released_config import released_config
from modeling_radir.conversion.released_keys import droppable_keys, kept_keys
from modeling_radir.modeling_ctvit_layers import (
    Layout,
    RadIRContinuousPositionBias,
    RadIRCTViTStage,
    RadIRPatchEmbedding,
)
from modeling_radir.resampling import fit
from modeling_radir.volumes import Volume, read_volume
from radir_eval.baselines.base import unit
from radir_eval.baselines.bert import tokenize
from radir_eval.baselines.from_file import FileBaseline
from radir_eval.baselines.weights import Published, Shape, dimension

FILE = "CT-CLIP_v2.pt"
PUBLISHED = Published(
    (FILE, "CT-CLIP_v2.safetensors"),
    f"datasets/ibrahimhamamci/CT-RATE:models/CT-CLIP-Related/{FILE}",
    f"ask for access to the Hub's data set ibrahimhamamci/CT-RATE, download models/CT-CLIP-Related/{FILE}, "
    "and give its path",
)
SPACING_MM, SIZE, HU_LIMIT = (1.5, 0.75, 0.75), (240, 480, 480), 1000
ATTENTION_SCALE = 8.0
CODEBOOK = "visual_transformer.vq._codebook.embed"
DROPPABLE = MappingProxyType(
    {
        r"temperature": "a factor on all similarities alike",
        r"to_(text|visual)_latent_extra\.weight": "unused copies",
        r"visual_transformer\.to_pixels(_first_frame)?\..*": "of the decoder",
        r"visual_transformer\.to_patch_emb_first_frame\..*": "of single frames; volumes have none",
    }
)
_CHUNK = 2048  # tokens that look for their codes at a time


class CTCLIPModel(nn.Module):
    """Both towers.

    Where it differs from RadIR's: the attention's scale is 8, the position convolution sees past frames only,
    the temporal stage always runs, each token becomes its nearest code, and there is no class token.

    Args:
        config: sizes, as `ctclip_config` reads them.
        codes: in the codebook.
        places: of a frame, h * w.
    """

    def __init__(self, config: RadIRConfig, codes: int, places: int) -> None:
        super().__init__()
        self.config, self.text_config = config, config.text_config
        vision, text = config.vision_config, config.text_config
        self.volume_embedding = RadIRPatchEmbedding(vision, depth=vision.temporal_patch_size)
        self.position_bias = RadIRContinuousPositionBias(vision)
        self.spatial = RadIRCTViTStage(vision, vision.num_spatial_layers)
        self.temporal = RadIRCTViTStage(vision, vision.num_temporal_layers)
        self.codebook = nn.Parameter(torch.empty(1, codes, vision.hidden_size))
        self.visual_projection = nn.Linear(places * vision.hidden_size, config.projection_dim, bias=False)
        self.text_tower = BertModel(text, add_pooling_layer=False)
        self.text_projection = nn.Linear(text.hidden_size, config.projection_dim, bias=False)

    def encode_tokens(self, volumes: Tensor) -> Tensor:
        """Volumes (B, 1, D, H, W) to tokens (B, T, h, w, C), before they become codes."""
        tokens = self.volume_embedding(volumes)  # (B, T, h, w, C)
        layout = Layout(*tokens.shape[:4])
        bias = self.position_bias(layout.rows, layout.cols)  # (heads, N, N)
        frames = self.spatial(tokens.flatten(2, 3).flatten(0, 1), layout, bias)  # (B * T, N, C)
        places = frames.reshape(tokens.shape).permute(0, 2, 3, 1, 4)  # (B, h, w, T, C)
        encoded = self.temporal(places.flatten(0, 2), layout)  # (B * N, T, C)
        return encoded.reshape(places.shape).permute(0, 3, 1, 2, 4)  # (B, T, h, w, C)

    def nearest_codes(self, tokens: Tensor) -> Tensor:
        """Indices (...) of the codes with the largest cosine to tokens (..., C)."""
        codes = F.normalize(self.codebook[0], dim=-1)
        found = [(part @ codes.T).argmax(dim=-1) for part in tokens.flatten(0, -2).split(_CHUNK)]
        return torch.cat(found).reshape(tokens.shape[:-1])

    def encode_volumes(self, volumes: Tensor) -> Tensor:
        """Volumes (B, 1, D, H, W) to features (B, d): the mean over frames of the stored codes, projected."""
        codes = self.codebook[0][self.nearest_codes(self.encode_tokens(volumes))]  # (B, T, h, w, C)
        return self.visual_projection(codes.mean(dim=1).flatten(1))

    def encode_ids(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask (T, L) to features (T, d)."""
        states = self.text_tower(input_ids, attention_mask=attention_mask).last_hidden_state
        return self.text_projection(states[:, 0])


def ctclip_model(
    shapes: Mapping[str, Shape], source: Path | str, text_heads: int | None = None
) -> CTCLIPModel:
    """An empty model with sizes from a checkpoint's shapes.

    Raises:
        ValueError: tensors that tell the sizes are missing.
    """
    codes, width = (dimension(shapes, CODEBOOK, axis, source) for axis in (1, 2))
    places = dimension(shapes, "to_visual_latent.weight", 1, source) // width
    vision = {
        "attention_scale": ATTENTION_SCALE,
        "causal_position_convolution": True,
        "num_class_layers": 1,  # none is made; RadIR's configuration wants a number
    }
    text = {} if text_heads is None else {"num_attention_heads": text_heads}
    settings = {"vision_config": vision, "text_config": text, "fusion_config": None}
    # RadIR's reader takes the width from the table of modalities, which CT-CLIP does not have.
    modalities = {"visual_transformer.modal_embeddings.weight": (2, width)}
    config = released_config({**shapes, **modalities}, settings)
    config.vision_config.image_size = math.isqrt(places) * config.vision_config.patch_size
    return CTCLIPModel(config, codes, places)


class CTCLIP(FileBaseline):
    """CT-CLIP.

    Traps: HU are clipped before they are resampled; the file's axes are taken as they lie, (2, 0, 1) of the
    array without flips, so rows run along its first axis, and a file of another orientation than CT-RATE's
    comes out turned, as it does in the original; files that hold HU already must not be rescaled again, which
    the dataset's geometry sees to. The codes are added up as stored, not normalised.
    """

    name: ClassVar[str] = "ct-clip"
    published, network = PUBLISHED, staticmethod(ctclip_model)
    hub_tokenizer, tokenizer_kind = "microsoft/BiomedVLP-CXR-BERT-specialized", BertTokenizer
    context = 512
    takes_volumes: ClassVar[bool] = True
    choices = MappingProxyType({"HU": "clipped before resampling, as its zero-shot loader does"})

    @staticmethod
    def key_plan(model: CTCLIPModel) -> dict[str, str]:
        """See `FileBaseline.key_plan`; most keys are those of the released RadIR."""
        text = [f"text_model.tower.{name}" for name in model.text_tower.state_dict()]
        plan = {CODEBOOK: "codebook"}
        ours = model.state_dict()
        for theirs, (name, *_) in kept_keys(model.config, text).items():
            for part, our_part in (("vision_model.tower.", ""), ("text_model.tower.", "text_tower.")):
                name = our_part + name.removeprefix(part) if name.startswith(part) else name
            if name in ours:
                plan[theirs] = name
        return plan

    @staticmethod
    def droppable(model: CTCLIPModel) -> dict[str, str]:
        """Patterns of keys that change no feature, each with the reason."""
        shared = {re.escape(key): why for key, (_, why) in droppable_keys(model.config).items()}
        return {**shared, **DROPPABLE}

    @classmethod
    def model_of(cls, tensors: Mapping[str, Tensor], source: Path | str, **choices: Any) -> CTCLIPModel:
        """See `FileBaseline.model_of`; a norm with a shift, which ours have not, is refused too."""
        model = super().model_of(tensors, source, **choices)
        used = cls.key_plan(model)
        norms = [key for key in tensors if key not in used and re.search(r"(\.norm|norm_out)\.beta$", key)]
        if shifts := [key for key in norms if tensors[key].any()]:
            raise ValueError(
                f"{source} has layer norms with shifts, which CT-CLIP has not: {', '.join(shifts)}"
            )
        return model

    def preprocess(self, image: Any) -> Tensor:
        """(1, 240, 480, 480) in [-1, 1]: clipped HU at 1.5 x 0.75 x 0.75 mm, cut or padded with air."""
        volume = image if isinstance(image, Volume) else _read(image)
        hu = np.clip(volume.hu.transpose(0, 2, 1), -HU_LIMIT, HU_LIMIT)  # (D, rows, columns)
        depth, height, width = volume.spacing_mm
        spacing = (depth, width, height)
        grid = [max(1, int(n * now / mm)) for n, now, mm in zip(hu.shape, spacing, SPACING_MM, strict=True)]
        limits = (-HU_LIMIT, HU_LIMIT)
        fitted = fit(np.ascontiguousarray(hu), (grid[0], grid[1], grid[2]), SIZE, limits, whole=False)
        fitted /= np.float32(HU_LIMIT)
        return torch.from_numpy(fitted)[None]

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.model.encode_volumes(batch.to(self.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        ids, mask = tokenize(self.tokenizer, [clean(text) for text in texts], self.max_length)
        return unit(self.model.encode_ids(ids.to(self.device), mask.to(self.device)))


def clean(text: str) -> str:
    """A report as the authors' loader gives it to the tokenizer.

    Example:
        >>> clean('Effusion (left). Not given.')
        'Effusion left. '
    """
    return re.sub(r"[\"'()]", "", text.replace("Not given.", ""))


def _read(image: Any) -> Volume:
    if not isinstance(image, str | Path):
        raise ValueError(
            f"ct-clip takes CT volumes, not a {type(image).__name__}: give the path of a NIfTI file or of a "
            "DICOM series, or a Volume; for X-rays choose another baseline"
        )
    return read_volume(image)
