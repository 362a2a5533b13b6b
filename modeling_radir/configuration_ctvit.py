"""The configuration of the CTViT-type image tower, which takes radiographs and volumes alike."""

import math
from typing import Any

from transformers import PretrainedConfig

from .checks import check_positive

TEMPORAL_GRID_ORDERS = ("released", "true")
# Rows of the modality embedding, as the release numbers them.
CT, CXR = 0, 1


class RadIRCTViTConfig(PretrainedConfig):
    """A factorised 3D transformer of the CTViT family, with the released RadIR's sizes as defaults.

    What a checkpoint's weights cannot tell is a field here, with the released value as its default:
    attention_scale, causal_position_convolution, temporal_grid_order, layer_norm_eps.

    Args:
        hidden_size: C, the width of the tokens.
        image_size: height and width in pixels that the tower is meant for, or [height, width]; it takes any
            that are multiples of patch_size.
        num_channels: channels of the images.
        patch_size: height and width of a patch in pixels.
        temporal_patch_size: slices in a patch of a volume.
        num_spatial_layers: layers within each frame of patches.
        num_temporal_layers: layers across frames; images of one frame skip them.
        num_class_layers: layers that gather the class token.
        num_attention_heads: heads of every attention.
        head_dim: width of a head; heads * head_dim need not be hidden_size.
        intermediate_size: inner width of the feed-forward parts. None: two thirds of 4 * hidden_size.
        num_null_kv: learned keys, with values, that every attention sees besides the tokens' own.
        num_modalities: rows of the modality embedding; volumes take row 0 and single frames row 1.
        attention_scale: factor on cosines of queries and keys. None: head_dim ** -0.5.
        causal_position_convolution: whether the position convolution sees past frames only.
        temporal_grid_order: "released": the temporal layers' position convolution reads its input, which lies
            in the order (row, column, frame), as if it lay in the order (frame, row, column), as the released
            code does. "true": each voxel meets its neighbours.
        layer_norm_eps: epsilon of every layer norm.

    Raises:
        ValueError: if the values do not fit together.

    Example:
        >>> RadIRCTViTConfig().intermediate_size
        1365
    """

    model_type = "radir_ctvit"
    base_config_key = "vision_config"

    hidden_size: int = 512
    image_size: int | list[int] | tuple[int, int] = 480
    num_channels: int = 1
    patch_size: int = 20
    temporal_patch_size: int = 10
    num_spatial_layers: int = 8
    num_temporal_layers: int = 6
    num_class_layers: int = 4
    num_attention_heads: int = 8
    head_dim: int = 32
    intermediate_size: int | None = None
    num_null_kv: int = 0
    num_modalities: int = 10
    attention_scale: float | None = None
    causal_position_convolution: bool = False
    temporal_grid_order: str = "released"
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in (
            "hidden_size",
            "num_channels",
            "patch_size",
            "temporal_patch_size",
            "num_spatial_layers",
        ):
            check_positive(f"vision_config.{name}", getattr(self, name))
        for name in ("num_temporal_layers", "num_class_layers", "num_attention_heads", "head_dim"):
            check_positive(f"vision_config.{name}", getattr(self, name))
        if self.intermediate_size is None:
            self.intermediate_size = int(4 * (2 / 3) * self.hidden_size)
        check_positive("vision_config.intermediate_size", self.intermediate_size)
        if self.attention_scale is None:
            self.attention_scale = self.head_dim**-0.5
        self._check()

    def _check(self) -> None:
        assert self.attention_scale is not None
        if not (math.isfinite(self.attention_scale) and self.attention_scale > 0):
            raise ValueError(
                f"vision_config.attention_scale is {self.attention_scale}; a number above 0 is needed"
            )
        if not isinstance(self.num_null_kv, int) or self.num_null_kv < 0:
            raise ValueError(f"vision_config.num_null_kv is {self.num_null_kv!r}; 0 or more is needed")
        if not isinstance(self.num_modalities, int) or self.num_modalities <= max(CT, CXR):
            raise ValueError(
                f"vision_config.num_modalities is {self.num_modalities!r}; at least 2 are needed, one for "
                "volumes and one for single frames"
            )
        if self.temporal_grid_order not in TEMPORAL_GRID_ORDERS:
            raise ValueError(
                f"vision_config.temporal_grid_order is {self.temporal_grid_order!r}; one of "
                f"{TEMPORAL_GRID_ORDERS} is needed"
            )
        sides = [self.image_size] * 2 if isinstance(self.image_size, int) else list(self.image_size)
        if len(sides) != 2 or any(side < 1 or side % self.patch_size for side in sides):
            raise ValueError(
                f"vision_config.image_size is {self.image_size}; a height and a width that are multiples of "
                f"patch_size ({self.patch_size}) are needed"
            )
