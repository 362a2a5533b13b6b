"""Heat-maps of a RadIR model over the images of a split: what two images share for an anatomy."""

import logging
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig

from modeling_radir.heat_maps.draw import picture
from modeling_radir.heat_maps.integrated_gradients import attention_map
from modeling_radir.inference import load
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.processing_radir import RadIRProcessor
from radir_eval.retrieval_split import RetrievalSplit

logger = logging.getLogger(__name__)

CPU_VALUES = 2**21  # numbers in an image beyond which the way back through the tower is left to a GPU


class ModelHeatMaps:
    """A model that draws heat-maps; its weights are loaded for the first of them.

    Args:
        model: a model folder or Hub id.
        items: the split.
        device: by default a GPU if there is one.

    Raises:
        ValueError: there is no such model.
    """

    def __init__(self, model: str, items: RetrievalSplit, device: str | torch.device | None = None) -> None:
        self.items = items
        self._location, self._device = model, device
        self._config = AutoConfig.from_pretrained(model)
        self._too_large = False

    @cached_property
    def _loaded(self) -> tuple[RadIRModel, RadIRProcessor]:
        return load(self._location, self._device)

    def draw(self, position: int, anatomy: str, hit: int | None = None) -> Image.Image | None:
        """One heat-map, see `Ranking.heat_map`.

        Returns:
            RGB. None where the model has no fusion or does not know the anatomy, and, which is logged, where
            images are too large for the machine.
        """
        known = self._config.fusion_config is not None and anatomy in self._config.anatomies
        if not known or self._too_large:
            return None
        image = self.items.image(position)
        pixels = self._pixels(image)
        self._too_large = self._loaded[0].device.type == "cpu" and pixels.numel() > CPU_VALUES
        if self._too_large:
            logger.warning("no heat-maps: images of %s values need a GPU", f"{pixels.numel():,}")
            return None
        other = None if hit is None else self._pixels(self.items.image(hit))
        try:
            heat = attention_map(self._loaded[0], pixels, anatomy, other)[0]
        except torch.OutOfMemoryError:
            logger.warning("no heat-maps: the GPU has too little memory")
            self._too_large = True
            return None
        return picture(image, heat, self._loaded[1])

    def _pixels(self, image: Any) -> torch.Tensor:
        return self._loaded[1](images=image, return_tensors="pt")["pixel_values"]
