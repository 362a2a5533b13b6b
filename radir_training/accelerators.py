"""What a training runs on: accelerate's view of the processes, devices and precision that there are."""

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from modeling_radir import RadIRModel
from radir_training.settings import TrainConfig


def build_accelerator(config: TrainConfig, model: RadIRModel) -> Accelerator:
    """What runs the training on whatever there is.

    Raises:
        ValueError: fp16 is asked for, and there is no GPU; accelerate would train in float32 without a word.
    """
    # The precision stays what a process has set first: without this, no second training could choose its own.
    AcceleratorState._reset_state()
    # A tower that serves single images and volumes has layers that only the one or the other reach, and one
    # of which feature maps are taken has layers behind them.
    has_unused = model.vision_model.takes_volumes or model.config.vision_levels is not None
    unused = DistributedDataParallelKwargs(find_unused_parameters=has_unused)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation,
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=config.output_dir,
        kwargs_handlers=[unused],
    )
    if config.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("mixed_precision fp16 needs a GPU, and there is none here: set it to bf16 or no")
    return accelerator
