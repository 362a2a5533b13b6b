"""All settings of a training run, and how a YAML file and the command line set them."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from transformers import HfArgumentParser

from dataset_scripts.relevance.formulas import RELEVANCES

METHODS = ("radir", "clip")
STAGES = ("1", "2", "both")
PRECISIONS = ("no", "bf16", "fp16")
_CHOICES = (
    *(("method", METHODS), ("relevance", RELEVANCES)),
    *(("stage", STAGES), ("mixed_precision", PRECISIONS)),
)
PRETRAINED = "pretrained"  # the key of a tower's settings that names its weights


@dataclass
class TrainConfig:
    """All settings of a run. Loss settings default to the released ones."""

    dataset: str = ""  # folder or Hub id of a built dataset
    output_dir: str = ""  # the model folder to write
    method: str = "radir"  # radir, or clip: eq. 6 without relevance, no fusion, stage 1 for all steps
    relevance: str = "paper"  # that T and T_Q are of: paper (eq. 3) or content (by what the texts affirm)
    stage: str = "both"  # 1, 2 (starts from `model`) or both
    model: str = ""  # a trained RadIR folder or id to start from, instead of the towers below
    seed: int = 0  # of weights, order, augmentation and sampled anatomies
    # towers: a transformers config with model_type, or {"pretrained": id_or_dir}; fields beside the id
    # override the tower's own, and model_type says how to read a repository that has code of its own
    vision: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)
    # feature maps of a 2D tower whose tokens are joined, by their places from 0; empty: the last one alone
    vision_levels: list[int] = field(default_factory=list)
    text_pooling: str = "cls"  # or mean, for a text tower from random weights
    fusion: dict = field(default_factory=dict)  # fields of RadIRFusionConfig
    projection_dim: int = 512  # d of eq. 4
    tokenizer: str = ""  # id or folder; empty: learnt from the training reports
    vocab_size: int = 8192  # of a learnt tokenizer
    max_tokens: int = 512  # longer reports are truncated
    image_size: int = 480  # pixels, square; of X-rays
    volume_size: list[int] = field(default_factory=lambda: [240, 480, 480])  # voxels: slices, rows, columns
    spacing_mm: list[float] = field(default_factory=lambda: [1.5, 0.75, 0.75])  # of these voxels, likewise
    augment: bool = False  # small rotations, shifts, zooms and contrast changes; never flips
    cache_images: bool = False  # keep the processed images in memory
    cache_volumes: bool = True  # keep volumes on disk as they are resampled, int16, and map them into memory
    cache_dir: str = ""  # where; empty: OUTPUT_DIR/prepared
    stage1_steps: int = 12_000  # updates of the weights
    stage2_steps: int = 12_000
    batch_size: int = 240  # images over all processes that are compared with each other, stage 1
    stage2_batch_size: int = 240
    # batches an update is the mean gradient of; images of different batches are not compared with each other
    gradient_accumulation: int = 1
    # of the forward pass: no, bf16, or fp16 as in the release (GPUs only); weights and losses stay float32
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False  # less memory for a third more time: activations are computed twice
    anatomies_per_step: int = 8  # stage 2: drawn with a probability that grows with log(count)
    train_vision: bool = False  # stage 2: let the image tower learn too (needed from random weights)
    stage1_weight: float = 0.0  # stage 2: weight of eq. 6 beside eq. 9, so that a learning tower keeps it
    learning_rate: float = 1e-4
    fusion_learning_rate: float = 0.0  # of the fusion in stage 2; 0: learning_rate
    vision_learning_rate: float = 0.0  # of the image tower, as where it is pretrained; 0: learning_rate
    text_learning_rate: float = 0.0  # of the text tower; 0: learning_rate
    weight_decay: float = 0.0  # not of biases, norms and logit_scale
    warmup_steps: int = 1_000  # of each stage, linear; then cosine to zero
    max_grad_norm: float = 0.5
    lambda_i2t: float = 0.5  # eq. 6
    lambda_t2i: float = 0.5  # eq. 6
    lambda_i2i: float = 1.0  # eq. 6
    tau: float = 0.75  # eq. 7: pairs at or above it leave the denominator
    positive_threshold: float = 0.75  # triplets: relevance above which a study is a positive
    gap: float = 0.25  # triplets: positive and negative differ by more than this in relevance
    margin: float = 0.1  # triplets: in similarity
    temperature: float = 0.07  # triplets: of the softplus
    workers: int = 0  # processes that read images
    checkpoint_every: int = 500  # steps
    log_every: int = 10  # steps
    validate_every: int = 0  # steps between two looks at the validation split; 0: none
    validation_images: int = 300  # of it, at most
    other_processes: bool = False  # resume with another number of processes: other weights
    tracker: str = "tensorboard"  # any of accelerate's, or none

    def __post_init__(self) -> None:
        if self.mixed_precision is False:  # what YAML makes of a bare no
            self.mixed_precision = "no"
        for item in fields(self):
            value = _checked(item.name, item.type, getattr(self, item.name))
            setattr(self, item.name, value)
            if item.name in RANGES:
                RANGES[item.name].check(item.name, value)
        for name, allowed in _CHOICES:
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("volume_size", "spacing_mm"):
            if len(getattr(self, name)) != 3:
                raise ValueError(
                    f"{name} must be three numbers (slices, rows, columns), got {getattr(self, name)}"
                )
        for part in ("vision", "text", "fusion"):
            for name, value in getattr(self, part).items():
                if not isinstance(name, str) or (name in _WORDS and not isinstance(value, str)):
                    raise ValueError(f"{part} sets {name!r} to {value!r}; a name is needed, not that")
        for name in ("dataset", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"{name} is not set: name it in the YAML file or as --{name} DIR")
        self._check_together()

    def _check_together(self) -> None:
        """Raise ValueError where settings do not go with each other."""
        if self.stage == "2" and not self.model:
            raise ValueError("stage 2 alone starts from a stage 1 model: set --model DIR, or --stage both")
        if self.stage1_weight and not self.train_vision:
            raise ValueError(
                "stage1_weight only matters where the image tower learns: set train_vision, or 0"
            )
        if self.method == "clip" and self.stage != "both":
            raise ValueError("method clip spends the steps of both stages on stage 1: leave stage at both")
        for stage, steps in self.plan:
            if not steps:
                raise ValueError(
                    f"stage{stage}_steps is 0: give stage {stage} steps, or leave it out by --stage"
                )

    @property
    def plan(self) -> list[tuple[int, int]]:
        """The (stage, steps) to run."""
        if self.method == "clip":
            return [(1, self.stage1_steps + self.stage2_steps)]
        steps = {1: self.stage1_steps, 2: self.stage2_steps}
        return [(stage, steps[stage]) for stage in (1, 2) if self.stage in (str(stage), "both")]

    def images_of(self, stage: int) -> int:
        """The images of a batch of a stage, over all processes."""
        return self.batch_size if stage == 1 else self.stage2_batch_size

    @property
    def decisive(self) -> dict[str, Any]:
        """The settings that decide the weights; the content of the dataset, not its place, does as well."""
        return {name: value for name, value in asdict(self).items() if name not in _HOUSEKEEPING}


_HOUSEKEEPING = (
    *("dataset", "output_dir", "cache_dir", "cache_images", "cache_volumes", "workers"),
    *("checkpoint_every", "log_every", "tracker", "other_processes", "validate_every", "validation_images"),
)


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be.

    Attributes:
        low, high: the least and the greatest; both are allowed unless `above` says that `low` is not.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError for a number, or a list with one, that is outside; NaN and infinity always are."""
        for number in value if isinstance(value, list) else [value]:
            inside = number > self.low if self.above else number >= self.low
            if not (math.isfinite(number) and inside and number <= self.high):
                raise ValueError(f"{name} must be {self}, got {value}")

    def __str__(self) -> str:
        low = f"above {self.low:,g}" if self.above else f"{self.low:,g} or more"
        return low if self.high == math.inf else f"{low} and at most {self.high:,.0f}"


_COUNT, _SHARE, _WEIGHT, _ABOVE_0 = Range(1), Range(0, 1), Range(0), Range(0, above=True)
# Of every setting that is a number or a list of numbers.
RANGES = {
    "seed": Range(0, 2**32 - 1),  # that of NumPy's seeds
    "projection_dim": _COUNT,
    "vocab_size": _COUNT,
    "max_tokens": Range(3),  # a word between the special tokens
    "image_size": _COUNT,
    "vision_levels": Range(0),
    "volume_size": _COUNT,
    "spacing_mm": _ABOVE_0,
    "stage1_steps": Range(0),
    "stage2_steps": Range(0),
    "batch_size": Range(2),  # images are compared with each other
    "stage2_batch_size": Range(2),
    "gradient_accumulation": _COUNT,
    "anatomies_per_step": _COUNT,
    "stage1_weight": _WEIGHT,
    "learning_rate": _ABOVE_0,
    "fusion_learning_rate": _WEIGHT,
    "vision_learning_rate": _WEIGHT,
    "text_learning_rate": _WEIGHT,
    "weight_decay": _WEIGHT,
    "warmup_steps": Range(0),
    "max_grad_norm": _ABOVE_0,
    "lambda_i2t": _WEIGHT,
    "lambda_t2i": _WEIGHT,
    "lambda_i2i": _WEIGHT,
    "tau": _WEIGHT,  # above 1: no pair leaves the denominator
    "positive_threshold": _SHARE,
    "gap": _SHARE,
    "margin": _WEIGHT,
    "temperature": _ABOVE_0,
    "workers": Range(0),
    "checkpoint_every": _COUNT,
    "log_every": _COUNT,
    "validate_every": Range(0),
    "validation_images": Range(10),
}


def _checked(name: str, kind: Any, value: Any) -> Any:
    """A setting's value in its type.

    Raises:
        ValueError: it is of another type.
    """
    if get_args(kind):  # list[int], list[float]
        (of,) = get_args(kind)
        if not isinstance(value, list):
            raise ValueError(f"{name} must be a list, got {value!r}")
        return [_checked(name, of, item) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and (is_number or isinstance(value, str)):  # YAML reads 1e-4 as a string
        try:
            return float(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not isinstance(value, kind) or (kind is int and not is_number):
        raise ValueError(f"{name} must be {_KINDS[kind]}, got {value!r}")
    return value


_WORDS = (PRETRAINED, "model_type")  # of a tower's settings
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping of names to values",
}


def load_config(argv: Sequence[str]) -> TrainConfig:
    """CONFIG.yaml, then `--name value` pairs.

    Raises:
        ValueError: the file is no mapping of settings, a name is not known, or a value is no such setting's.
    """
    parser = HfArgumentParser(TrainConfig, allow_abbrev=False)  # type: ignore[arg-type]
    parser.exit_on_error = False
    arguments = list(argv)
    values: dict[str, Any] = {}
    if arguments and not arguments[0].startswith("-"):
        values = _read(Path(arguments.pop(0)))
    parser.set_defaults(**values)
    try:
        _, left = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from None
    if left:
        names = [item.name for item in fields(TrainConfig)]
        close = get_close_matches(left[0].lstrip("-").partition("=")[0], names, n=1)
        hint = f"; is --{close[0]} meant?" if close else ""
        raise ValueError(f"the trainer does not know {' '.join(left)}{hint}")
    return parser.parse_args_into_dataclasses(arguments)[0]


def _read(path: Path) -> dict[str, Any]:
    """The settings in a YAML file."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ValueError(f"the configuration {path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"the configuration {path} is no YAML of plain settings: {said}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(
            f"the configuration {path} holds a {type(values).__name__}; a mapping of settings is needed, one "
            "`name: value` a line"
        )
    known = [item.name for item in fields(TrainConfig)]
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; is {close[0]} meant?" if close else ""
        raise ValueError(f"{path} sets {', '.join(unknown)}, which the trainer does not know{hint}")
    return values


class _Loader(yaml.SafeLoader):
    """Plain values alone, and no name twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({name for name in names if names.count(name) > 1 and name != "<<"})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(twice)} is set twice", node.start_mark
            )
        return super().construct_mapping(node, deep)
