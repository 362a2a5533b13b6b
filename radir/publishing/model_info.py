"""What a model folder says of its model: sizes, parameters, training data and settings."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from dataset_scripts.sources.base import Sharing

CONFIG, TRAINING, WEIGHTS = "config.json", "training.json", "model*.safetensors"
# Of batch normalisation: saved beside the parameters, learnt by none.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
_FROM_A_ROOT = re.compile(r"[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|file:")


@dataclass(frozen=True)
class ModelInfo:
    """The facts of a model folder; what the folder does not say is empty.

    Attributes:
        name: of the folder, by which results refer to the model.
        config: config.json.
        parameters: part of the model ("vision_model", ...) -> number of parameters.
        images: the image processor's settings.
        training: training.json.
    """

    name: str
    config: dict[str, Any]
    parameters: dict[str, int]
    images: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "ModelInfo":
        """Read a folder, without loading the weights.

        Raises:
            ValueError: it is no RadIR model's folder, or has no safetensors.
        """
        if not (folder / CONFIG).is_file():
            raise ValueError(f"{folder} has no {CONFIG}: give a folder that a RadIR model was saved to")
        config = read_json(folder / CONFIG)
        if config.get("model_type") != "radir":
            raise ValueError(
                f"{folder} holds a model of type {config.get('model_type')!r}, not a RadIR model"
            )
        images: dict[str, Any] = {}
        for path in (folder / name for name in reversed(PROCESSORS)):
            if path.is_file():
                images = read_json(path)
        return cls(
            name=folder.resolve().name,
            config=config,
            parameters=_count_parameters(folder),
            images=images.get("image_processor", images),
            training=read_json(folder / TRAINING) if (folder / TRAINING).is_file() else {},
        )

    @property
    def takes_volumes(self) -> bool:
        """Whether the model folder is for CT volumes, by its image processor."""
        return self.images.get("image_processor_type") == "RadIRCTImageProcessor"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the training, without paths of this machine."""
        return without_local_paths(self.training.get("settings", {}))

    @property
    def data(self) -> dict[str, Any]:
        """Name, licence, sharing, homepage and digest of the training data."""
        return self.training.get("data") or {}

    @property
    def is_open(self) -> bool:
        """Whether all may have the training data; False too where that is not known."""
        return self.data.get("sharing") == Sharing.OPEN


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the file does not hold one.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}): save the model again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, not an object: save the model again")
    return value


def without_local_paths(value: Any) -> Any:
    """A JSON value in which a path of this machine is its last part alone; Hub ids stay.

    A path is what is absolute or begins with a dot and a separator, has more than one separator, or is there.

    Example:
        >>> without_local_paths({"model": "/home/me/runs/stage-1", "text": "org/encoder", "steps": 3})
        {'model': 'stage-1', 'text': 'org/encoder', 'steps': 3}
    """
    if isinstance(value, Mapping):
        return {key: without_local_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_local_paths(item) for item in value]
    return local_name(value) if isinstance(value, str) and is_local_path(value) else value


def is_local_path(text: str) -> bool:
    """Whether a string is a path of this machine, not a Hub id or a word."""
    separators = text.count("/") + text.count("\\")
    if not separators or text.startswith(("http://", "https://")):
        return False
    return bool(_FROM_A_ROOT.match(text)) or os.path.exists(text) or (separators > 1 and " " not in text)


def local_name(path: str) -> str:
    """The last part of a path."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _count_parameters(folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    files = sorted(folder.glob(WEIGHTS))
    if not files:
        pickled = any(folder.glob("*.bin"))
        raise ValueError(
            f"{folder} has no model.safetensors"
            + (", only pickled weights, which can run code when they are opened" if pickled else "")
            + ": save the model with save_pretrained"
        )
    for path in files:
        with safe_open(path, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                if name.endswith(_STATISTICS):
                    continue
                part = name.split(".")[0]
                counts[part] = counts.get(part, 0) + math.prod(weights.get_slice(name).get_shape())
    return counts
