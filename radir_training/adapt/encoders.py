"""The image encoder to adapt: a tower of transformers or timm, or that of a RadIR model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import cached_file

from modeling_radir import RadIRConfig, RadIRCXRImageProcessor, RadIRModel, RadIRProcessor, RadIRVisionModel
from modeling_radir.modeling_base import load_tower

_BAD = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
_DEFAULT_SIZE = 224  # pixels, of towers that do not say theirs


@dataclass(frozen=True)
class ImageEncoder:
    """An image tower, how it is read, and what images it takes.

    Attributes:
        vision: the tower as part of a RadIR model.
        image_processor: of its images.
    """

    vision: RadIRVisionModel
    image_processor: Any

    def move_to(self, device: str) -> None:
        """Where the tower computes from now on."""
        torch.nn.Module.to(self.vision, device)  # transformers' own hides its arguments from the type checker

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of RadIRConfig that say how the tower is read."""
        names = ("vision_levels", "vision_mean", "vision_std")
        return {name: getattr(self.vision.config, name) for name in names}


def load_encoder(
    where: str, image_size: int | None = None, levels: tuple[int, ...] | None = None
) -> ImageEncoder:
    """Find and load an image encoder.

    Args:
        where: a folder or Hub id that AutoModel loads, of transformers or of timm; or a RadIR model's.
        image_size: pixels, square; by default what the encoder was trained on.
        levels: feature maps, see RadIRConfig.vision_levels; by default two, see `default_levels`.

    Raises:
        ValueError: it cannot be loaded, or does not give tokens on a grid.
    """
    try:
        own, _ = PretrainedConfig.get_config_dict(where)
        if own.get("model_type") == RadIRConfig.model_type:
            return _of_radir(where, image_size, levels)
        tower = load_tower(where)
        tower = getattr(tower, "vision_model", tower)  # of a CLIP-type model
        return _of_tower(tower, _normalisation(where, own, tower), image_size, levels)
    except _BAD as error:
        said = " ".join(str(error).split())
        raise ValueError(f"the image encoder {where} cannot be adapted: {said}") from error


def _of_radir(where: str, image_size: int | None, levels: tuple[int, ...] | None) -> ImageEncoder:
    model, processor = RadIRModel.from_pretrained(where), RadIRProcessor.from_pretrained(where)
    images = processor.image_processor
    if image_size is not None:
        images.size = {**images.size, "height": image_size, "width": image_size}
    vision = model.vision_model
    if levels is not None:
        vision.config.vision_levels = list(levels)
    return ImageEncoder(vision.eval(), images)


def _of_tower(
    tower: PreTrainedModel,
    normalisation: tuple[list[float], list[float]] | None,
    image_size: int | None,
    levels: tuple[int, ...] | None,
) -> ImageEncoder:
    mean, std = normalisation or (None, None)
    config = RadIRConfig(vision_config=tower.config, fusion_config=None, vision_mean=mean, vision_std=std)
    vision = RadIRVisionModel(config)
    vision.tower = tower
    chosen = levels if levels is not None else default_levels(vision)
    vision.config.vision_levels = None if chosen is None else list(chosen)
    side = image_size or _own_size(vision)
    images = RadIRCXRImageProcessor(size={"height": side, "width": side}, num_channels=vision.num_channels)
    return ImageEncoder(vision.eval(), images)


def default_levels(vision: RadIRVisionModel) -> tuple[int, int] | None:
    """The two feature maps that tokens are made of.

    Of a tower whose maps shrink: the last, and the last of half its stride. Of one whose maps are all of one
    size, as a ViT's: the last, and that at two thirds of its depth. None where the tower names no maps.
    """
    if vision.is_timm:
        strides = [about["reduction"] for about in vision.tower.timm_model.feature_info]
        last = len(strides) - 1
        finer = [place for place, stride in enumerate(strides) if 2 * stride == strides[last]]
        return (finer[-1] if finer else 2 * last // 3, last)
    config = vision.config.vision_config
    if vision.takes_volumes or not vision.names_levels:
        return None
    return (2 * config.num_hidden_layers // 3, config.num_hidden_layers)


def _own_size(vision: RadIRVisionModel) -> int:
    """The side of the images that the tower was trained on, in pixels."""
    if vision.is_timm:
        return vision.tower.timm_model.pretrained_cfg.get("input_size", (3, _DEFAULT_SIZE))[1]
    size = getattr(vision.config.vision_config, "image_size", None) or _DEFAULT_SIZE
    return size if isinstance(size, int) else size[0]


def _normalisation(
    where: str, own: dict[str, Any], tower: PreTrainedModel
) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of the channels that the tower was trained on; None where nothing says them."""
    about: dict[str, Any] = own.get("pretrained_cfg") or {}
    found = about.get("mean"), about.get("std")
    timm_model: Any = getattr(tower, "timm_model", None)
    if not all(found) and timm_model is not None:
        found = timm_model.pretrained_cfg.get("mean"), timm_model.pretrained_cfg.get("std")
    if not all(found):
        path = cached_file(where, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        settings = {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))
        found = settings.get("image_mean"), settings.get("image_std")
    mean, std = found
    if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
        return None
    return [float(x) for x in mean], [float(x) for x in std]
