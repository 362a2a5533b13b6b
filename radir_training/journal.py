"""What a run tells while it is under way: its history, the tracker, and a progress bar."""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from dataset_scripts.plumbing.bars import progress_bar
from radir_training.feature_geometry import LOW_RANK, NARROW_COSINE
from radir_training.settings import TrainConfig

logger = logging.getLogger(__name__)


class Journal:
    """The history of a run, of which the main process also tells a tracker and a progress bar.

    Attributes:
        history: stage, step, loss and its parts of the logged steps; no times or speeds, since the same
            command shall give the same bytes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.history: list[dict[str, float]] = []
        self._accelerator = accelerator
        self._bar: Any = None
        self._images = 0
        self._since = (0, 0.0)  # step and time of the last look at the clock

    def open(self, config: TrainConfig) -> None:
        """Start the tracker, which gets the whole configuration."""
        self._accelerator.init_trackers("logs", config=plain_values(asdict(config)))
        self._started = time.perf_counter()

    def steps(self, stage: int, start: int, steps: int, images: int) -> Iterable[int]:
        """The numbers of the steps to do, with a progress bar; `images` are those of one step."""
        self._images, self._since = images, (start, time.perf_counter())
        self._bar = progress_bar(
            range(start, steps), desc=f"stage {stage}", initial=start, total=steps, unit="step",
            shown=self._accelerator.is_main_process,
        )  # fmt: skip
        return self._bar

    def log(self, stage: int, step: int, losses: Mapping[str, Tensor], others: Mapping[str, Any]) -> None:
        """Record a step.

        Args:
            stage: 1 or 2.
            step: its number in the stage.
            losses: "loss", and its parts before weighting, each () float32; they go to the history as well.
            others: numbers for the tracker alone; images a second are added.

        Raises:
            ValueError: the loss is no finite number.
        """
        values = {name: value.item() for name, value in losses.items()}
        if not math.isfinite(values["loss"]):
            raise ValueError(
                f"the loss became {values['loss']} at stage {stage}, step {step}: lower the learning rate"
            )
        self.history.append({"stage": stage, "step": step, **values})
        told = {**values, **{name: float(value) for name, value in others.items()}}
        told["images_per_second"] = self._images_per_second(step + 1)
        self._accelerator.log({f"stage{stage}/{name}": value for name, value in told.items()}, step=step)
        self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)

    def log_validation(self, stage: int, step: int, figures: Mapping[str, float]) -> None:
        """Tell what was found on the validation split after a step; a collapse of the features is named."""
        told = {f"stage{stage}/validation/{name}": value for name, value in figures.items()}
        self._accelerator.log(told, step=step)
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        logger.info("stage %d, after step %d: %s on the validation split", stage, step + 1, said)
        if figures["mean_cosine"] > NARROW_COSINE or figures["effective_rank"] < LOW_RANK:
            logger.warning(
                "stage %d, after step %d: the features hardly tell images apart (%s): lower the learning "
                "rate, or look at the objective", stage, step + 1, said,
            )  # fmt: skip

    def close(self) -> float:
        """End the tracker; returns the seconds since `open`."""
        seconds = time.perf_counter() - self._started
        self._accelerator.log({"seconds": seconds})
        self._accelerator.end_training()
        return seconds

    def _images_per_second(self, step: int) -> float:
        """The mean since the step that was logged before."""
        (before, then), now = self._since, time.perf_counter()
        self._since = (step, now)
        return self._images * (step - before) / max(now - then, 1e-9)


def plain_values(settings: Mapping[str, Any], prefix: str = "") -> dict[str, int | float | str | bool]:
    """Settings as every tracker takes them: a mapping's names are joined by dots, a list is JSON.

    Example:
        >>> plain_values({"seed": 0, "vision": {"image_size": 32}, "spacing_mm": [1.5, 0.75, 0.75]})
        {'seed': 0, 'vision.image_size': 32, 'spacing_mm': '[1.5, 0.75, 0.75]'}
    """
    plain: dict[str, int | float | str | bool] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            plain |= plain_values(value, f"{prefix}{name}.")
        else:
            is_plain = isinstance(value, int | float | str | bool)
            plain[prefix + name] = value if is_plain else json.dumps(value, default=str)
    return plain
