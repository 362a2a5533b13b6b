"""All settings of a training run, and how a YAML file and the command line set them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import yaml
from transformers import HfArgumentParser

METHODS = ("radir", "clip")
STAGES = ("1", "2", "both")
PRECISIONS = ("no", "bf16", "fp16")


@dataclass
class TrainConfig:
    """All settings of a run. Loss settings default to the released ones."""

    dataset: str = ""  # folder or Hub id of a built dataset
    output_dir: str = ""  # the model folder to write
    method: str = "radir"  # radir, or clip: eq. 6 without relevance, no fusion, stage 1 for all steps
    stage: str = "both"  # 1, 2 (starts from `model`) or both
    model: str = ""  # a trained RadIR folder or id to start from, instead of the towers below
    seed: int = 0  # of weights, order, augmentation and sampled anatomies
    # towers: a transformers config with model_type, or {"pretrained": id_or_dir}; fields beside the id
    # override the tower's own, and model_type says how to read a repository that has code of its own
    vision: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)
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
    weight_decay: float = 0.0
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
    tracker: str = "tensorboard"  # any of accelerate's, or none

    def __post_init__(self) -> None:
        if self.mixed_precision is False:  # what YAML makes of a bare no
            self.mixed_precision = "no"
        for item in fields(self):
            setattr(self, item.name, _checked(item.name, item.type, getattr(self, item.name)))
        for name, allowed in (("method", METHODS), ("stage", STAGES), ("mixed_precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("volume_size", "spacing_mm"):
            values = getattr(self, name)
            if len(values) != 3 or min(values) <= 0:
                raise ValueError(
                    f"{name} must be three numbers above 0 (slices, rows, columns), got {values}"
                )
        if self.gradient_accumulation < 1:
            raise ValueError(f"gradient_accumulation must be 1 or more, got {self.gradient_accumulation}")
        for name in ("dataset", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"{name} is not set: name it in the YAML file or as --{name} DIR")
        if self.stage == "2" and not self.model:
            raise ValueError("stage 2 alone starts from a stage 1 model: set --model DIR, or --stage both")
        if self.stage1_weight and not self.train_vision:
            raise ValueError(
                "stage1_weight only matters where the image tower learns: set train_vision, or 0"
            )
        if self.method == "clip" and self.stage != "both":
            raise ValueError("method clip spends the steps of both stages on stage 1: leave stage at both")

    @property
    def plan(self) -> list[tuple[int, int]]:
        """The (stage, steps) to run."""
        if self.method == "clip":
            return [(1, self.stage1_steps + self.stage2_steps)]
        steps = {1: self.stage1_steps, 2: self.stage2_steps}
        return [(stage, steps[stage]) for stage in (1, 2) if self.stage in (str(stage), "both")]


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
    if kind is float and isinstance(value, int | str):  # YAML reads 1e-4 as a string
        return float(value)
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be of type {kind}, got {value!r}")
    return value


def load_config(argv: Sequence[str]) -> TrainConfig:
    """CONFIG.yaml, then `--name value` pairs; unknown names raise a ValueError."""
    parser = HfArgumentParser(TrainConfig)  # type: ignore[arg-type]
    parser.exit_on_error = False
    arguments = list(argv)
    values: dict[str, Any] = {}
    if arguments and not arguments[0].startswith("--"):
        path = Path(arguments.pop(0))
        if not path.is_file():
            raise ValueError(f"the configuration {path} does not exist")
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        unknown = sorted(set(values) - {item.name for item in fields(TrainConfig)})
        if unknown:
            raise ValueError(f"{path} sets {', '.join(unknown)}, which the trainer does not know")
    parser.set_defaults(**values)
    return parser.parse_args_into_dataclasses(arguments)[0]
