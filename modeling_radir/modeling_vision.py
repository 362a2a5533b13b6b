"""The image encoder: a 2D tower of transformers or timm, or the CTViT-type one (paper, eq. 4)."""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import ModelOutput

from .configuration_radir import RadIRConfig
from .modeling_base import RadIRPreTrainedModel, build_tower, is_ctvit


@dataclass
class RadIRVisionOutput(ModelOutput):
    """One encoding of a batch of images; it serves the whole image and every anatomy.

    Attributes:
        tokens: (B, N, Cv), N = rows * cols, row by row from the upper left corner; a volume's are means over
            its depth.
        pooled: (B, Cv), the class token if the tower has one, else the mean of the tokens; None if it was not
            asked for.
        grid: (rows, cols) of the tokens.
    """

    # Tokens and grid are always given; ModelOutput wants the defaults.
    tokens: Tensor = None  # type: ignore[assignment]
    pooled: Tensor | None = None
    grid: tuple[int, int] = None  # type: ignore[assignment]


class RadIRVisionModel(RadIRPreTrainedModel):
    """Images (B, C, H, W), or volumes, to RadIRVisionOutput, by the tower that config.vision_config names."""

    def __init__(self, config: RadIRConfig):
        super().__init__(config)
        self.tower: Any = build_tower(config.vision_config)
        self.post_init()

    @property
    def is_timm(self) -> bool:
        """Whether the tower comes from timm."""
        return self.config.vision_config.model_type == "timm_wrapper"

    @property
    def takes_volumes(self) -> bool:
        """Whether the tower takes volumes (B, C, D, H, W) beside images."""
        return is_ctvit(self.config.vision_config)

    @property
    def hidden_size(self) -> int:
        """Cv, the width of the tokens."""
        if self.config.vision_levels is not None:
            return sum(self._level_widths())
        if self.is_timm:
            return self.tower.timm_model.num_features
        tower_config = self.config.vision_config
        if getattr(tower_config, "hidden_size", None) is not None:
            return tower_config.hidden_size
        if getattr(tower_config, "hidden_sizes", None):
            return tower_config.hidden_sizes[-1]
        raise ValueError(
            f"vision_config of type {tower_config.model_type!r} has neither hidden_size nor hidden_sizes, so "
            "the width of its tokens is not known; give a ViT-like tower, or one of timm by 'timm_wrapper'"
        )

    @property
    def names_levels(self) -> bool:
        """Whether the tower's feature maps can be named: any of timm, and those of ViTs of transformers."""
        settings = self.config.vision_config
        of_vit = hasattr(settings, "num_hidden_layers") and not hasattr(settings, "depths")
        return self.is_timm or (of_vit and hasattr(settings, "patch_size") and not self.takes_volumes)

    @property
    def level_widths(self) -> list[int]:
        """Channels of the feature maps that the tokens are made of."""
        if self.config.vision_levels is None:
            return [self.hidden_size]
        return self._level_widths()

    def _level_widths(self) -> list[int]:
        """Channels of the feature maps of config.vision_levels."""
        levels, tower_config = self.config.vision_levels, self.config.vision_config
        if not self.names_levels:
            raise ValueError(
                f"vision_levels is {list(levels)}, and the feature maps of a tower of type "
                f"{tower_config.model_type!r} have no names: leave it out, or give a tower of timm or a ViT"
            )
        if self.is_timm:
            known = [about["num_chs"] for about in self.tower.timm_model.feature_info]
        else:
            known = [tower_config.hidden_size] * (1 + tower_config.num_hidden_layers)
        if levels[-1] >= len(known):
            raise ValueError(
                f"vision_levels is {list(levels)}, and this tower has {len(known)} feature maps: give places "
                f"from 0 to {len(known) - 1}"
            )
        return [known[level] for level in levels]

    @property
    def num_channels(self) -> int:
        """Channels of the images that the tower takes."""
        if self.is_timm:
            return (self.config.vision_config.model_args or {}).get("in_chans", 3)
        return getattr(self.config.vision_config, "num_channels", 3)

    def forward(self, pixel_values: Tensor, pool: bool = True) -> RadIRVisionOutput:
        """Encode images, or volumes where the tower takes them.

        Args:
            pixel_values: (B, C, H, W) or (B, C, D, H, W) float, as the image processor makes them.
            pool: whether pooled is asked for; without it the tower's layers for it, if any, are not run.

        Raises:
            ValueError: if the shape is not one that the tower takes.
        """
        size = (pixel_values.shape[-2], pixel_values.shape[-1])
        if self.takes_volumes:
            encoded = self.tower(pixel_values, pool=pool)
            grid = self._grid(size)
            return RadIRVisionOutput(encoded.last_hidden_state, encoded.pooler_output, grid)
        self._check_images(pixel_values)
        if self.config.vision_mean is not None:
            pixel_values = self._normalised(pixel_values)
        if self.config.vision_levels is not None:
            return self._from_levels(self._run_levels(pixel_values), pool)
        hidden = self._run_tower(pixel_values)
        output = self._from_map(hidden) if hidden.ndim == 4 else self._from_sequence(hidden, size)
        return output if pool else RadIRVisionOutput(tokens=output.tokens, grid=output.grid)

    def _check_images(self, pixel_values: Tensor) -> None:
        if pixel_values.ndim == 5:
            raise ValueError(
                f"pixel_values have the shape {tuple(pixel_values.shape)}, volumes; a "
                f"{self.config.vision_config.model_type!r} tower takes single images: give (batch, "
                f"{self.num_channels}, height, width), or build the model on a 'radir_ctvit' tower"
            )
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.num_channels:
            raise ValueError(
                f"pixel_values have the shape {tuple(pixel_values.shape)}; this tower takes (batch, "
                f"{self.num_channels}, height, width): set num_channels={self.num_channels} in the "
                "image processor"
            )
        patches = getattr(self.tower.timm_model, "patch_embed", None) if self.is_timm else None
        expected = getattr(patches, "img_size", None) if getattr(patches, "strict_img_size", False) else None
        if expected is not None and tuple(expected) != tuple(pixel_values.shape[-2:]):
            raise ValueError(
                f"pixel_values are {tuple(pixel_values.shape[-2:])} pixels high and wide; this tower takes "
                f"{tuple(expected)} only: set size in the image processor, or dynamic_img_size in model_args"
            )

    def _normalised(self, pixel_values: Tensor) -> Tensor:
        """Pixels of -1 to 1 as the tower was trained on them."""
        mean, std = (
            torch.tensor(values, dtype=pixel_values.dtype, device=pixel_values.device)[:, None, None]
            for values in (self.config.vision_mean, self.config.vision_std)
        )
        return ((pixel_values + 1) / 2 - mean) / std

    def _run_tower(self, pixel_values: Tensor) -> Tensor:
        """The tower's last feature map (B, C, H, W) or sequence (B, prefix + N, Cv)."""
        if self.is_timm:
            return self.tower(pixel_values, do_pooling=False).last_hidden_state
        return self._run_transformer(pixel_values).last_hidden_state

    def _run_transformer(self, pixel_values: Tensor, **arguments: Any) -> Any:
        """What a tower of transformers gives."""
        if "interpolate_pos_encoding" in inspect.signature(self.tower.forward).parameters:
            trained = self.config.vision_config.image_size
            trained = (trained, trained) if isinstance(trained, int) else tuple(trained)
            arguments["interpolate_pos_encoding"] = trained != tuple(pixel_values.shape[-2:])
        return self.tower(pixel_values.to(self.dtype), **arguments)

    def _run_levels(self, pixel_values: Tensor) -> list[Tensor]:
        """The feature maps of config.vision_levels, (B, C, H, W) each."""
        levels, size = list(self.config.vision_levels), tuple(pixel_values.shape[-2:])
        self._level_widths()  # a map that is not there is told
        if self.is_timm:
            return self.tower.timm_model.forward_intermediates(
                pixel_values.to(self.dtype), indices=levels, output_fmt="NCHW", intermediates_only=True
            )
        states = self._run_transformer(pixel_values, output_hidden_states=True).hidden_states
        return [self._as_map(states[level], size) for level in levels]

    def _as_map(self, states: Tensor, size: tuple[int, ...]) -> Tensor:
        """Hidden states (B, prefix + N, C) as a map (B, C, H, W)."""
        tokens, grid, _ = self._split(states, (size[0], size[1]))
        return tokens.transpose(1, 2).unflatten(2, grid)

    def _from_levels(self, maps: list[Tensor], pool: bool) -> RadIRVisionOutput:
        """Tokens on the coarsest map's grid, each level normalised by itself, their channels joined."""
        grid = min(
            ((hidden.shape[2], hidden.shape[3]) for hidden in maps), key=lambda size: size[0] * size[1]
        )
        cells = [F.adaptive_avg_pool2d(hidden, grid).flatten(2).transpose(1, 2) for hidden in maps]
        tokens = torch.cat([F.layer_norm(level, level.shape[-1:]) for level in cells], dim=-1)  # (B, N, Cv)
        pooled = torch.cat(cells, dim=-1).mean(dim=1) if pool else None
        return RadIRVisionOutput(tokens=tokens, pooled=pooled, grid=grid)

    def _from_map(self, hidden: Tensor) -> RadIRVisionOutput:
        if self.is_timm and getattr(self.tower.timm_model, "output_fmt", "NCHW") == "NHWC":
            hidden = hidden.movedim(-1, 1)  # (B, H, W, Cv) -> (B, Cv, H, W)
        grid = (hidden.shape[2], hidden.shape[3])
        cells = hidden.flatten(2).transpose(1, 2)  # (B, N, Cv)
        # Transformers end in a layer norm, feature maps do not. Without one the content of a few bright cells
        # outweighs positions in the fusion's keys, and every anatomy looks at the same place.
        tokens = F.layer_norm(cells, cells.shape[-1:])
        return RadIRVisionOutput(tokens=tokens, pooled=cells.mean(dim=1), grid=grid)

    def _from_sequence(self, hidden: Tensor, size: tuple[int, int]) -> RadIRVisionOutput:
        tokens, grid, prefix = self._split(hidden, size)
        pooled = hidden[:, 0] if self._has_class_token(prefix) else tokens.mean(dim=1)
        return RadIRVisionOutput(tokens=tokens, pooled=pooled, grid=grid)

    def _split(self, hidden: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int], int]:
        """The tokens (B, N, Cv) of a sequence, their grid, and how many others stand before them."""
        grid = self._grid(size)
        prefix = hidden.shape[1] - grid[0] * grid[1]
        if prefix < 0 or (self.is_timm and prefix != getattr(self.tower.timm_model, "num_prefix_tokens", 0)):
            raise ValueError(
                f"the tower gave {hidden.shape[1]} tokens for {size} pixels in patches of {self._stride()}; "
                f"that is no grid of {grid}: give an image size that is a multiple of the patch size"
            )
        return hidden[:, prefix:], grid, prefix

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Tokens down and across of an image of so many pixels."""
        down, across = self._stride()
        return size[0] // down, size[1] // across

    def _stride(self) -> tuple[int, int]:
        """Pixels between neighbouring tokens, down and across."""
        if self.is_timm:
            rows, cols = self.tower.timm_model.patch_embed.patch_size
            return rows, cols
        tower_config = self.config.vision_config
        patch = getattr(tower_config, "patch_size", None)
        if patch is None:
            raise ValueError(
                f"vision_config of type {tower_config.model_type!r} gives a sequence of tokens but has no "
                "patch_size, so their grid is not known; give a ViT-like tower, or timm's by 'timm_wrapper'"
            )
        rows, cols = (patch, patch) if isinstance(patch, int) else patch
        merges = 2 ** (
            len(getattr(tower_config, "depths", ())[1:])
        )  # Swin halves the grid between its stages
        return rows * merges, cols * merges

    def _has_class_token(self, prefix: int) -> bool:
        if self.is_timm:
            return getattr(self.tower.timm_model, "cls_token", None) is not None
        return prefix > 0
