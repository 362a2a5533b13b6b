"""The CTViT-type image tower: one transformer for radiographs, as single frames, and for volumes.

Frames of patches are encoded in space, then, if there are several, across time; their mean over time gives
the tokens, and further layers gather a class token from these (the tower of the released code).
"""

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_ctvit import CT, CXR, RadIRCTViTConfig
from .modeling_ctvit_layers import (
    Layout,
    RadIRContinuousPositionBias,
    RadIRCosineAttention,
    RadIRCTViTStage,
    RadIRPatchEmbedding,
)


class RadIRCTViTModel(PreTrainedModel):
    """Images (B, Cin, H, W) or volumes (B, Cin, D, H, W) to tokens and a class token."""

    config_class = RadIRCTViTConfig
    config: RadIRCTViTConfig
    base_model_prefix = "ctvit"
    main_input_name = "pixel_values"
    input_modalities = ["image"]  # noqa: RUF012 - transformers declares it so
    supports_gradient_checkpointing = True
    _no_split_modules = ["RadIRCTViTLayer"]  # noqa: RUF012 - transformers declares it so
    _supports_sdpa = True

    def __init__(self, config: RadIRCTViTConfig):
        super().__init__(config)
        self.frame_embedding = RadIRPatchEmbedding(config, depth=1)
        self.volume_embedding = RadIRPatchEmbedding(config, depth=config.temporal_patch_size)
        self.modality_embedding = nn.Embedding(config.num_modalities, config.hidden_size)
        self.position_bias = RadIRContinuousPositionBias(config)
        self.spatial = RadIRCTViTStage(config, config.num_spatial_layers)
        self.temporal = RadIRCTViTStage(config, config.num_temporal_layers)
        self.gather = RadIRCTViTStage(config, config.num_class_layers)
        self.class_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As the release starts: torch's own defaults, and N(0, 1) for class token and modalities."""
        if isinstance(module, nn.Linear | nn.Conv3d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, RadIRCosineAttention):
            init.ones_(module.query_scale)
            init.ones_(module.key_scale)
            if module.null_key_values is not None:
                init.normal_(module.null_key_values)
        elif module is self:
            init.normal_(self.class_token)

    def forward(
        self, pixel_values: Tensor, modality: Tensor | None = None, pool: bool = True
    ) -> BaseModelOutputWithPooling:
        """Encode images or volumes; a batch holds one kind.

        Args:
            pixel_values: (B, Cin, H, W) or (B, Cin, D, H, W) float; H and W are multiples of patch_size, D is
                1 or a multiple of temporal_patch_size.
            modality: (B,) int64, rows of the modality embedding. None: 0 for volumes, 1 for single frames.
            pool: whether to run the layers that gather the class token.

        Returns:
            last_hidden_state (B, N, C), the mean over frames, N = h * w places row by row; pooler_output
            (B, C), the class token, or None.

        Raises:
            ValueError: if the shape is not one that the tower takes, or a modality is not known.
        """
        encoded = self.encode(pixel_values, modality)  # (B, T, h, w, C)
        tokens = encoded.mean(dim=1).flatten(1, 2)  # (B, N, C)
        pooled = None
        if pool:
            layout = Layout(tokens.shape[0], 1, encoded.shape[2], encoded.shape[3], prefix=1)
            sequence = torch.cat(
                (self.class_token.expand(tokens.shape[0], -1, -1), tokens), dim=1
            )  # (B, 1 + N, C)
            pooled = self.gather(sequence, layout)[:, 0]  # (B, C)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=pooled)

    def encode(self, pixel_values: Tensor, modality: Tensor | None = None) -> Tensor:
        """Tokens of every frame of patches: images or volumes, as forward takes them, to (B, T, h, w, C)."""
        tokens = self._embed(pixel_values, modality)  # (B, T, h, w, C)
        layout = Layout(*tokens.shape[:4])
        bias = self.position_bias(layout.rows, layout.cols)  # (heads, N, N)
        frames = tokens.flatten(2, 3).flatten(0, 1)  # (B * T, N, C)
        tokens = self.spatial(frames, layout, bias).reshape(tokens.shape)
        if layout.frames == 1:
            return tokens
        places = tokens.permute(0, 2, 3, 1, 4)  # (B, h, w, T, C)
        layout = layout._replace(time_last=self.config.temporal_grid_order == "true")
        encoded = self.temporal(places.reshape(-1, *places.shape[3:]), layout)  # (B * N, T, C)
        return encoded.reshape(places.shape).permute(0, 3, 1, 2, 4)  # (B, T, h, w, C)

    def _embed(self, pixel_values: Tensor, modality: Tensor | None) -> Tensor:
        """Tokens (B, T, h, w, C) of patches, with their modality."""
        self._check_pixels(pixel_values)
        if pixel_values.ndim == 4:
            pixel_values = pixel_values[:, :, None]  # (B, Cin, 1, H, W)
        single = pixel_values.shape[2] == 1
        embedding = self.frame_embedding if single else self.volume_embedding
        tokens = embedding(pixel_values.to(self.class_token.dtype))  # (B, T, h, w, C)
        if modality is None:
            modality = torch.full(tokens.shape[:1], CXR if single else CT, device=tokens.device)
        else:
            self._check_modality(modality, tokens.shape[0])
        return tokens + self.modality_embedding(modality)[:, None, None, None]

    def _check_pixels(self, pixel_values: Tensor) -> None:
        config, shape = self.config, tuple(pixel_values.shape)
        if len(shape) not in (4, 5) or shape[1] != config.num_channels:
            raise ValueError(
                f"pixel_values have the shape {shape}; this tower takes images (batch, channels, height, "
                f"width) or volumes (batch, channels, depth, height, width), {config.num_channels} channels"
            )
        depth = shape[2] if len(shape) == 5 else 1
        if depth != 1 and (depth < 1 or depth % config.temporal_patch_size):
            raise ValueError(
                f"the volumes have {depth} slices; this tower takes a single one or a multiple of "
                f"{config.temporal_patch_size} (temporal_patch_size): set the depth in the image processor"
            )
        if any(side < 1 or side % config.patch_size for side in shape[-2:]):
            raise ValueError(
                f"the images are {shape[-2:]} pixels high and wide; this tower takes multiples of "
                f"{config.patch_size} (patch_size): set the size in the image processor"
            )

    def _check_modality(self, modality: Tensor, batch: int) -> None:
        if modality.shape != (batch,) or modality.is_floating_point():
            raise ValueError(
                f"modality has the shape {tuple(modality.shape)} and the type {modality.dtype}; one whole "
                f"number for each of the {batch} images is needed, such as {CT} for CT, {CXR} for radiographs"
            )
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # values are not known there
        known = self.config.num_modalities
        if bool(((modality < 0) | (modality >= known)).any()):
            raise ValueError(
                f"modality holds {modality.tolist()}; this tower knows 0 to {known - 1}, {CT} for CT and "
                f"{CXR} for radiographs"
            )
