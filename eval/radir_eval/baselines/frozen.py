"""Features of an image tower without training, raw and centred: a floor above chance.

`frozen` of a RadIR model is its image tower as the training found it: with the pretrained weights that its
training.json names, else with untrained ones (seed 0), behind the model's own image processor. Of any other
model of transformers it is the model as it is. `frozen-centred` takes the mean over training images off.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig

from modeling_radir.inference import check_model
from modeling_radir.modeling_base import load_tower
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.modeling_vision import RadIRVisionModel
from modeling_radir.processing_radir import RadIRProcessor
from radir_eval.baselines.base import Baseline, BaselineEmbeddings, best_device, unit
from radir_eval.baselines.transformers_models import TransformersBaseline
from radir_eval.fingerprint import model_digest
from radir_eval.retrieval_split import RetrievalSplit

CENTRED = "frozen-centred"
MOST_FOR_MEAN = 2_000  # training images that the mean is taken of
_SEED = 0
_PRETRAINED = "pretrained"


class FrozenTower(Baseline):
    """The image tower of a RadIR model before its training; see the module."""

    name = "frozen"
    choices = MappingProxyType({"images": "pooled features of the tower, not projected"})

    def __init__(
        self, tower: RadIRVisionModel, processor: Any, device: str | torch.device | None = None
    ) -> None:
        self.device = best_device(device)
        self.tower, self.processor = tower.eval().to(self.device), processor

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is None:
            raise ValueError(
                f"{cls.name} is the image tower of the first --model before its training: give a --model, or "
                f"{cls.name}=ID_OR_FOLDER of a model"
            )
        if not _is_radir(location):
            return TransformersBaseline.check(location)
        check_model(location)
        return None

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        cls.check(location)
        assert location is not None
        if not _is_radir(location):
            return TransformersBaseline.digest(location)
        start = _start_of(location)
        return f"tower of {model_digest(location)} before training, seed {_SEED}, {_weights(start)}"

    @classmethod
    def load(cls, location: str | Path | None = None, device: str | torch.device | None = None) -> Any:
        cls.check(location)
        assert location is not None
        if not _is_radir(location):
            return TransformersBaseline.load(location, device)
        config = RadIRVisionModel.config_class.from_pretrained(location)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            vision = RadIRVisionModel(config)
        start = dict(_start_of(location))
        if (where := start.pop(_PRETRAINED, None)) is not None:
            try:
                vision.tower = _tower_at(where, start)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"the image tower {where}, which {location} was trained from, cannot be loaded: {error}; "
                    f"give {cls.name}=ID_OR_FOLDER of a tower that is there"
                ) from error
        return cls(vision, RadIRProcessor.from_pretrained(location), device)

    def preprocess(self, image: Any) -> Tensor:
        """(C, H, W), or (1, D, H, W) of a volume: what the model is given."""
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.tower(batch.to(self.device)).pooled)

    def encode_texts(self, texts: Sequence[str]) -> None:
        return None


class CentredEmbeddings(BaselineEmbeddings):
    """A baseline whose features lose their mean over training images before they are compared.

    The mean is that of at most MOST_FOR_MEAN images of the training split, drawn with a fixed seed; of the
    evaluated images where the dataset has no training split. Report texts are not ranked.
    """

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}, centred by {MOST_FOR_MEAN} images"

    def encode_images(
        self, model: Baseline, items: RetrievalSplit, positions: Iterable[int], conditions: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, None]]:
        mean = self._mean(model, items)
        for features, _ in super().encode_images(model, items, positions, conditions):
            centred = features - mean
            yield centred / np.linalg.norm(centred, axis=1, keepdims=True), None

    def encode_texts(self, model: Baseline, texts: Sequence[str]) -> None:
        return None

    def _mean(self, model: Baseline, items: RetrievalSplit) -> np.ndarray:
        """(d,) float32."""
        dataset = items.dataset
        rows = dataset.studies("train") if "train" in dataset.splits else items.studies
        chosen = np.arange(len(rows))
        if len(rows) > MOST_FOR_MEAN:
            chosen = np.sort(np.random.default_rng(_SEED).choice(chosen, MOST_FOR_MEAN, replace=False))
        total, count = 0.0, 0
        for position in chosen.tolist():
            try:
                image = dataset.image(rows[position])
            except ValueError:  # one image less for the mean; the evaluated ones are checked on their own
                continue
            total = total + model.encode_images(model.preprocess(image)[None]).numpy()[0].astype(np.float64)
            count += 1
        if not count:
            raise ValueError(f"no training image of {dataset.name} can be read: there is no mean to take off")
        return np.asarray(total / count, dtype=np.float32)


def _is_radir(location: str | Path) -> bool:
    try:
        config, _ = PretrainedConfig.get_config_dict(str(location))
    except (OSError, ValueError):
        return False
    return str(config.get("model_type", "")) == RadIRVisionModel.config_class.model_type


def _tower_at(where: str, settings: dict[str, Any]) -> Any:
    """The tower of a folder or Hub id; of a RadIR model, which was adapted further, its image tower."""
    if _is_radir(where):
        return RadIRModel.from_pretrained(where).vision_model.tower
    return load_tower(where, **settings)


def _start_of(location: str | Path) -> dict[str, Any]:
    """What training.json says of the tower's first weights: {"pretrained": ID_OR_FOLDER, ...}, or nothing."""
    path = Path(location) / "training.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        if settings.get("model"):  # it went on from a model: what that one started from
            return _start_of(settings["model"])
        vision = settings.get("vision") or {}
        return dict(vision) if _PRETRAINED in vision else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _weights(start: dict[str, Any]) -> str:
    where = start.get(_PRETRAINED)
    return "untrained" if where is None else f"{json.dumps(start, sort_keys=True)} {model_digest(where)}"
