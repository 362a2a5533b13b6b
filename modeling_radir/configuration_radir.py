"""The configuration of a RadIR model: two towers, the fusion between them, and the anatomies it knows."""

import math
from typing import Any, ClassVar

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from .checks import check_positive, unknown_name
from .configuration_ctvit import RadIRCTViTConfig
from .pipeline_radir import use_own_pipeline

# ViT-B/16 on grey images, and BERT-base as in microsoft/BiomedVLP-CXR-BERT-specialized.
DEFAULT_VISION = {"model_type": "vit", "image_size": 224, "patch_size": 16, "num_channels": 1}
DEFAULT_TEXT = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512}
FUSION_ACTIVATIONS = ("relu", "gelu", "silu")
POSITION_LAYOUTS = ("interleaved", "concatenated")
FUSION_KINDS = ("attention", "linear")

use_own_pipeline()  # here, since a pipeline loads the configuration first, as remote code, too


class RadIRFusionConfig(PretrainedConfig):
    """How image tokens and an anatomy become one feature (paper, section 4.2).

    Args:
        kind: "attention", the paper's cross-attention decoder, which the settings from num_hidden_layers to
            position_layout describe; or "linear", a linear head for each condition, which the last three do.
        hidden_size: width of queries, keys and values; equals RadIRConfig.projection_dim.
        num_hidden_layers: decoder layers.
        num_attention_heads: heads in each; they divide hidden_size.
        intermediate_size: inner width of the feed-forward part.
        hidden_act: its activation, one of "relu", "gelu", "silu".
        dropout: share of activations dropped in training, in [0, 1).
        layer_norm_eps: epsilon of every layer norm.
        position_layout: how the sine positions of the keys lie in the channels: "interleaved", sine and
            cosine of a frequency side by side, as in the release; or "concatenated", all sines first.
        num_tokens: of an image, N; of "linear".
        basis_size: P, linear combinations of the tokens that the heads share; of "linear".
        num_conditions: heads; of "linear".

    Raises:
        ValueError: if the values do not fit together.
    """

    model_type = "radir_fusion"
    base_config_key = "fusion_config"

    kind: str = "attention"
    hidden_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "relu"
    dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    position_layout: str = "interleaved"
    num_tokens: int = 0
    basis_size: int = 0
    num_conditions: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.kind not in FUSION_KINDS:
            raise ValueError(f"fusion_config.kind is {self.kind!r}; one of {FUSION_KINDS} is needed")
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        of_linear = ("num_tokens", "basis_size", "num_conditions") if self.kind == "linear" else ()
        for name in (*sizes, *of_linear):
            check_positive(f"fusion_config.{name}", getattr(self, name))
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"fusion_config.hidden_size ({self.hidden_size}) must be even and a multiple of "
                f"num_attention_heads ({self.num_attention_heads})"
            )
        if self.hidden_act not in FUSION_ACTIVATIONS:
            raise ValueError(
                f"fusion_config.hidden_act is {self.hidden_act!r}; one of {FUSION_ACTIVATIONS} is needed"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"fusion_config.dropout is {self.dropout}; a share in [0, 1) is needed")
        if self.position_layout not in POSITION_LAYOUTS:
            raise ValueError(
                f"fusion_config.position_layout is {self.position_layout!r}; one of {POSITION_LAYOUTS} is "
                "needed"
            )

    def items(self) -> tuple[()]:
        """No kernel fusions.

        `from_pretrained` takes any attribute `fusion_config` of a configuration for a mapping of kernels to
        fuse, and asks it for its items.
        """
        return ()


class RadIRConfig(PretrainedConfig):
    """All that is needed to rebuild a RadIR model and to ask it for an anatomy by name.

    Args:
        vision_config: the image tower, as a dict with "model_type" or as the configuration of any 2D
            tower of transformers; "timm_wrapper" stands for any tower of timm, "radir_ctvit" for the one
            that takes volumes too (RadIRCTViTConfig). None: grey ViT-B/16.
        text_config: the text tower, likewise; any BERT-like encoder. None: BERT-base.
        fusion_config: a dict of RadIRFusionConfig's fields, or one; hidden_size is projection_dim if not
            given. None: a plain CLIP, which answers no conditional question.
        projection_dim: d, the width of all embeddings.
        text_pooling: "cls", the first token, as in the release; or "mean", over the words, which tells texts
            apart from the first step on and so suits text towers that start from random weights.
        logit_scale_init_value: natural logarithm of the factor on cosines before the contrastive loss. The
            released model starts at e / 0.1 = 27.18, so at 1 + ln 10.
        anatomies: known anatomy names and their token ids, special tokens included.
        vision_levels: which feature maps of a 2D tower the tokens are made of, as places from 0, the finest
            first: maps of a timm tower, hidden states of a ViT of transformers. The finer ones are averaged
            onto the grid of the coarsest, and their channels joined. None: the tower's last map alone.
        vision_mean, vision_std: of the tower's channels, for pixels in 0 to 1; the model then turns its
            pixel_values, which lie in -1 to 1, into what the tower was trained on. None: as they are.
        centred: whether features are taken relative to their means over training images, which the model then
            keeps: of whole images, of reports, and of each of `anatomies`. `radir calibrate` sets it.

    Raises:
        ValueError: if the values do not fit together.

    Example:
        >>> RadIRConfig(projection_dim=256).fusion_config.hidden_size
        256
    """

    model_type = "radir"
    sub_configs: ClassVar[dict[str, type]] = {
        "vision_config": AutoConfig,
        "text_config": AutoConfig,
        "fusion_config": RadIRFusionConfig,
    }

    # Any: dicts and None are accepted, and configuration objects are what is kept.
    vision_config: Any = None
    text_config: Any = None
    # Nothing in it asks for the default fusion, and None for no fusion; so None cannot be the default.
    fusion_config: Any = ()
    projection_dim: int = 512
    text_pooling: str = "cls"
    logit_scale_init_value: float = 1.0 + math.log(10.0)
    anatomies: Any = None
    vision_levels: Any = None
    vision_mean: Any = None
    vision_std: Any = None
    centred: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        check_positive("projection_dim", self.projection_dim)
        self.vision_config = _tower_config("vision_config", self.vision_config, DEFAULT_VISION)
        self.text_config = _tower_config("text_config", self.text_config, DEFAULT_TEXT)
        if self.fusion_config is not None and not hasattr(self.fusion_config, "to_dict"):
            self.fusion_config = RadIRFusionConfig(
                **{"hidden_size": self.projection_dim, **dict(self.fusion_config)}
            )
        self.anatomies = {} if self.anatomies is None else dict(self.anatomies)
        super().__post_init__(**kwargs)
        self._check()

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in transformers, but another model's configuration is refused; there it is only warned of."""
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ValueError(
                f"this is a model of type {found!r}, not a RadIR model: give a folder that RadIRModel wrote, "
                "or build on this one with RadIRModel.from_encoders"
            )
        return super().from_dict(config_dict, **kwargs)

    def _check(self) -> None:
        if self.fusion_config is not None and self.fusion_config.hidden_size != self.projection_dim:
            raise ValueError(
                f"fusion_config.hidden_size is {self.fusion_config.hidden_size} and projection_dim is "
                f"{self.projection_dim}: the fusion's queries are projected text latents, so both must agree"
            )
        if self.text_pooling not in ("cls", "mean"):
            raise ValueError(f"text_pooling is {self.text_pooling!r}; 'cls' or 'mean' is needed")
        if not math.isfinite(self.logit_scale_init_value):
            raise ValueError(
                f"logit_scale_init_value is {self.logit_scale_init_value}; a finite logarithm is needed"
            )
        check_anatomies(self.anatomies, getattr(self.text_config, "vocab_size", None))
        _check_levels(self.vision_levels)
        _check_normalisation(self.vision_mean, self.vision_std)

    def token_ids(self, anatomy: str) -> list[int]:
        """The token ids of a known anatomy.

        Raises:
            ValueError: if it is not known; the nearest known names are given.
        """
        if anatomy not in self.anatomies:
            raise unknown_name("anatomy", anatomy, self.anatomies)
        return self.anatomies[anatomy]


def check_anatomies(anatomies: dict[str, list[int]], vocab_size: int | None) -> None:
    """Raise ValueError unless each name has token ids, all of them in the vocabulary."""
    for name, ids in anatomies.items():
        if not isinstance(name, str) or not isinstance(ids, list | tuple) or not ids:
            raise ValueError(f"anatomies[{name!r}] is {ids!r}; a list of the name's token ids is needed")
        wrong = [
            i for i in ids if not isinstance(i, int) or i < 0 or (vocab_size is not None and i >= vocab_size)
        ]
        if wrong:
            raise ValueError(
                f"anatomies[{name!r}] holds {wrong}, outside the text tower's vocabulary of {vocab_size}: "
                "was it made with another tokenizer?"
            )


def _check_levels(levels: Any) -> None:
    """Raise ValueError unless levels are None, or different whole numbers from 0 on, ascending."""
    if levels is None:
        return
    is_list = isinstance(levels, list | tuple) and len(levels) > 0
    if not is_list or not all(type(level) is int and level >= 0 for level in levels):
        raise ValueError(
            f"vision_levels is {levels!r}; a list of feature maps, by their places from 0, is needed, such "
            "as [3, 4]"
        )
    if list(levels) != sorted(set(levels)):
        raise ValueError(f"vision_levels is {list(levels)}; each map once is needed, the finest first")


def _check_normalisation(mean: Any, std: Any) -> None:
    """Raise ValueError unless both are None, or finite numbers for as many channels, the second above 0."""
    if mean is None and std is None:
        return
    values = (mean, std)
    numbers = all(
        isinstance(value, list | tuple)
        and all(isinstance(x, int | float) and math.isfinite(x) for x in value)
        for value in values
    )
    if not numbers or len(mean) != len(std) or not mean or min(std) <= 0:
        raise ValueError(
            f"vision_mean is {mean!r} and vision_std {std!r}; both are needed, a number for each channel, "
            "and the latter above 0"
        )


def _tower_config(name: str, value: object, default: dict[str, Any]) -> PretrainedConfig:
    """A tower's configuration object from what the user gave."""
    if isinstance(value, PretrainedConfig):
        return value
    if value is None:
        value = default
    if not isinstance(value, dict):
        raise ValueError(
            f"{name} is a {type(value).__name__}; a dict with 'model_type' or a configuration is needed"
        )
    values = dict(value)
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise ValueError(
            f"{name} has no 'model_type': name the architecture, such as {default['model_type']!r}"
        )
    if model_type == RadIRCTViTConfig.model_type:  # loaded as remote code, it is registered nowhere
        return RadIRCTViTConfig(**values)
    if model_type not in CONFIG_MAPPING:
        raise unknown_name(f"{name} model_type", model_type, CONFIG_MAPPING.keys())
    return CONFIG_MAPPING[model_type](**values)
