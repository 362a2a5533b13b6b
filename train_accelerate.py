"""Train RadIR: stage 1 (image-text, eq. 6) and stage 2 (anatomy-conditioned fusion, eq. 9).

    accelerate launch train_accelerate.py radir/commands/demo.yaml --dataset DIR --output_dir DIR
    accelerate launch train_accelerate.py configs/open-i.yaml --dataset DIR --method clip    # the baseline
    accelerate launch train_accelerate.py configs/phantom-ct.yaml --dataset DIR --output_dir DIR  # volumes

The YAML file sets any field of `TrainConfig`; `--name value` overrides it. The same command again
resumes from the last checkpoint and, by the end, has the weights of an uninterrupted run.

Ctrl-C, SIGTERM (with which clusters pre-empt) and a closed terminal end the running step, save a checkpoint
and say so; a second signal stops at once. Exit codes: 0 trained; 2 bad input, with a sentence; 130 Ctrl-C;
143 SIGTERM, or the launcher is gone. `accelerate launch` hides them: it ends with 1 for any code but 0 of
this script (with a traceback of its own; without one if given --quiet), also where it hands a SIGTERM on to
several processes; with one process it dies of SIGTERM itself (143), and the script saves on after it.
"""

import hashlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.layout import CARD
from dataset_scripts.building.provenance import parts_of, training_data
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from modeling_radir import gather_with_gradient
from modeling_radir.checks import check_weights
from radir_training.assemble import build_losses, build_model, check_model
from radir_training.batches import BatchOrder, Targets, TrainingImages, augmentation, collate
from radir_training.run_folder import TRAINING, Progress, RunFolder, check_place
from radir_training.settings import TrainConfig, load_config
from radir_training.stopping import Interrupted, StopRequest, leave_signals_to_the_parent, listening
from radir_training.together import ToldByMainError, claimed, decide
from radir_training.volume_cache import VolumeCache

logger = logging.getLogger(__name__)

BAR_EVERY_S = 30.0  # between two prints of the progress bar where nobody watches it
PREPARED = "prepared"  # volumes made ready once, below output_dir unless cache_dir is set


class Trainer:
    """Runs the stages of one configuration over one dataset."""

    def __init__(self, config: TrainConfig, stop: StopRequest | None = None) -> None:
        self.config, self.stop = config, stop or StopRequest()
        self.out = Path(os.path.realpath(config.output_dir))
        set_seed(config.seed)
        self.data = BuiltDataset.open(config.dataset)
        self.settings = {
            **{k: v for k, v in asdict(config).items() if k not in _HOUSEKEEPING},
            "dataset": self.data.digest,
        }
        self.folder = RunFolder(self.out, self.settings, _card_digest(self.data))
        self.folder.check()
        if config.cache_dir:
            check_place("cache_dir", Path(config.cache_dir))
        self.made_from = training_data(self.data, parts_of(asdict(config)))
        images = self.data.studies("train")
        names = [anatomy["name"] for anatomy in self.data.anatomies()]
        self.targets = Targets.of(self.data, images, names)
        if any(stage == 2 for stage, _ in config.plan):
            self.targets.require_anatomies(self.data.name)
        volumes = self.data.holds_volumes
        self.model, self.processor = build_model(config, self.targets.texts, names, volumes)
        check_model(self.model, self.processor)
        self._fit_memory()
        self.accelerator = _accelerator(config, self.model)
        augment = augmentation(volumes) if config.augment else None
        self.images = TrainingImages(images, self._pixels, augment, config.cache_images)
        for stage, _ in config.plan:
            self._order(stage, range(0))
        self._read: Callable[[dict[str, Any]], Any] = self.data.image
        if volumes and config.cache_volumes:
            folder = Path(config.cache_dir) if config.cache_dir else self.out / PREPARED
            self._read = VolumeCache(self.data, self.processor.image_processor, folder)
        self.stage1_loss, self.stage2_loss = build_losses(config)
        self.history: list[dict[str, float]] = []

    def run(self) -> Path:
        """Train whatever is left to train and save the model folder."""
        with claimed(self.out):
            decide(self.folder.check)
            if decide(self.folder.is_finished):
                logger.warning("%s is already trained with these settings", self.out)
            else:
                self._train()
        return self.out

    def _train(self) -> None:
        started, config = time.time(), self.config
        checkpoint, start_stage, start_step = self._resume_point()
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator.init_trackers("logs")
        for stage, steps in config.plan:
            if stage == start_stage:
                self._run_stage(stage, steps, start_step, checkpoint)
            elif stage > start_stage:
                self._run_stage(stage, steps)
        check_weights(self.model, f"the run in {self.out}")
        decide(lambda: self.folder.finish(self._save))
        seconds = time.time() - started
        logger.info("%s is trained; this run took %.0f seconds", self.out, seconds)
        self.accelerator.log({"seconds": seconds})
        self.accelerator.end_training()

    def _fit_memory(self) -> None:
        if self.config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        if not self.model.vision_model.takes_volumes:
            # 2D convolutions run a quarter faster so; transformers' `to` hides its arguments from mypy.
            self.model.vision_model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]

    def _pixels(self, row: dict[str, Any]) -> Tensor:
        image = self._read(row)  # which names the image in what goes wrong
        try:
            return self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        except ValueError as error:
            raise ValueError(
                f"image {row['image_id']} of {self.data.name} cannot be prepared: {error}"
            ) from error

    def _run_stage(self, stage: int, steps: int, start: int = 0, checkpoint: Path | None = None) -> None:
        config, accelerator = self.config, self.accelerator
        self._freeze(stage)
        optimizer = torch.optim.AdamW(
            self._parameter_groups(), betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        model, optimizer = accelerator.prepare(self.model, optimizer)
        if checkpoint is not None:
            accelerator.load_state(str(checkpoint))
        parts = config.gradient_accumulation
        batches = self._batches(stage, range(start * parts, steps * parts))
        bar = _bar(range(start, steps), f"stage {stage}", steps, accelerator.is_main_process)
        self._set_mode(stage)
        self.stop.safe = True
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self._schedule(step, steps)
            loss = self._update(model, optimizer, stage, batches, range(step * parts, (step + 1) * parts))
            if step % config.log_every == 0 or step == steps - 1:
                self._log(stage, step, loss, bar)
            stopped_by = self._stopped_by()
            if stopped_by or ((step + 1) % config.checkpoint_every == 0 and step + 1 < steps):
                self._checkpoint(stage, step + 1)
            if stopped_by:
                raise Interrupted(stopped_by, f"after step {step + 1} of stage {stage}, saved in {self.out}")
        accelerator.free_memory()
        self.model = accelerator.unwrap_model(model)

    def _order(self, stage: int, numbers: range) -> BatchOrder:
        config, accelerator = self.config, self.accelerator
        batch = config.batch_size if stage == 1 else config.stage2_batch_size
        return BatchOrder(
            len(self.images), batch, numbers, (config.seed, stage),
            accelerator.process_index, accelerator.num_processes,
        )  # fmt: skip

    def _batches(self, stage: int, numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's shares of the batches of these numbers: rows (b,) int64 and pixel values."""
        # With a generator of its own the loader leaves the default one, which decides the dropout, alone.
        loader = DataLoader(
            self.images, batch_sampler=self._order(stage, numbers), num_workers=self.config.workers,
            generator=torch.Generator(), collate_fn=collate, worker_init_fn=leave_signals_to_the_parent,
        )  # fmt: skip
        for batch in loader:
            if isinstance(batch, ValueError):
                raise batch
            yield batch

    def _stopped_by(self) -> int:
        """The signal that asks to stop, 0 for none; the processes agree, so that they stop at one step."""
        number = self.stop.number
        if self.accelerator.num_processes == 1:
            return number
        asked = torch.tensor([number], device=self.accelerator.device)
        return int(self.accelerator.gather(asked).max().item())

    def _update(
        self, model: Any, optimizer: Any, stage: int, batches: Iterator[Any], numbers: range
    ) -> Tensor:
        """One step on the mean gradient of the batches of these numbers; returns their mean loss."""
        accelerator, losses = self.accelerator, []
        for number in numbers:
            rows, pixels = next(batches)
            with accelerator.accumulate(model):
                loss = self._loss(model, stage, number, rows, pixels.to(accelerator.device))
                accelerator.backward(loss)
                if accelerator.sync_gradients:  # after the last of them
                    accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
                optimizer.step()  # nothing before the last of them, as accelerate wraps it
                optimizer.zero_grad()
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def _freeze(self, stage: int) -> None:
        """Stage 1 learns all but the fusion; stage 2 the fusion and, on request, the image side.

        The text side rests in stage 2: a tower that only sees anatomy names forgets to tell them apart.
        """
        learning = ["vision_model.", "visual_projection.", "text_model.", "text_projection.", "logit_scale"]
        if stage == 2:
            learning = ["fusion_model."]
            learning += ["vision_model."] if self.config.train_vision else []
            learning += ["visual_projection."] if self.config.stage1_weight else []
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(tuple(learning)))

    def _set_mode(self, stage: int) -> None:
        """Resting towers also keep their dropout and normalisation statistics still."""
        self.model.train()
        self.model.text_model.train(stage == 1)
        self.model.vision_model.train(stage == 1 or self.config.train_vision)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """What learns in this stage, with its highest learning rate; the fusion may learn at its own."""
        config = self.config
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        fusion = [p for name, p in named if name.startswith("fusion_model.")]
        rest = [p for name, p in named if not name.startswith("fusion_model.")]
        peaks = (config.learning_rate, config.fusion_learning_rate or config.learning_rate)
        return [
            {"params": group, "peak": peak}
            for group, peak in zip((rest, fusion), peaks, strict=True)
            if group
        ]

    def _schedule(self, step: int, steps: int) -> float:
        """Share of the highest learning rate: linear warm-up, then half a cosine to zero."""
        warmup = min(self.config.warmup_steps, steps)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    def _loss(self, model: Any, stage: int, number: int, rows: Tensor, pixels: Tensor) -> Tensor:
        config, batch = self.config, self.accelerator.gather(rows.to(self.accelerator.device)).cpu().numpy()
        tokens: dict[str, Tensor] = {}
        with_text = stage == 1 or config.stage1_weight > 0
        if with_text:
            tokens |= self._tokens([self.targets.texts[row] for row in rows.tolist()])
        anatomies: list[str] = []
        if stage == 2:
            anatomies = self.targets.sample_anatomies(config.anatomies_per_step, (config.seed, number))
            tokens |= {f"anatomy_{name}": ids for name, ids in self._tokens(anatomies).items()}
        features = model(pixel_values=pixels, **tokens)
        loss = pixels.new_zeros(())
        if with_text:
            weight = 1.0 if stage == 1 else config.stage1_weight
            loss = loss + weight * self._unconditional_loss(features, batch)
        if stage == 2:
            loss = loss + self._conditional_loss(features, anatomies, batch)
        return loss

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        encoded = self.processor(text=texts, return_tensors="pt").to(self.accelerator.device)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def _unconditional_loss(self, features: Any, batch: np.ndarray) -> Tensor:
        """Eq. 6 over the images of all processes; a plain CLIP knows only which report belongs to which."""
        images, texts = map(gather_with_gradient, (features.image_embeds, features.text_embeds))
        relevance = (
            torch.eye(len(batch))
            if self.config.method == "clip"
            else self.targets.relevance(WHOLE_REPORT, batch)
        )
        return self.stage1_loss(images, texts, features.logit_scale, relevance.to(images.device))

    def _conditional_loss(self, features: Any, anatomies: list[str], batch: np.ndarray) -> Tensor:
        """Eq. 9 over the images of all processes."""
        embeds = gather_with_gradient(features.conditional_embeds).transpose(0, 1)  # (Q, N, d)
        relevance = torch.stack([self.targets.relevance(name, batch) for name in anatomies])  # (Q, N, N)
        return self.stage2_loss(embeds @ embeds.transpose(1, 2), relevance.to(embeds.device))

    def _log(self, stage: int, step: int, loss: Tensor, bar: Any) -> None:
        value = loss.item()
        if not math.isfinite(value):
            raise ValueError(
                f"the loss became {value} at stage {stage}, step {step}: lower the learning rate"
            )
        self.history.append({"stage": stage, "step": step, "loss": value})
        self.accelerator.log({f"stage{stage}/loss": value}, step=step)
        bar.set_postfix(loss=f"{value:.4f}", refresh=False)

    def _checkpoint(self, stage: int, step: int) -> None:
        """Write the state beside the last checkpoint, then take its place."""
        check_weights(self.model, f"the run in {self.out}, at step {step} of stage {stage},")
        accelerator = self.accelerator
        progress = Progress(
            stage, step, accelerator.num_processes, self.settings, self.made_from, self.history
        )
        is_main = accelerator.is_main_process
        with self.folder.new_checkpoint(progress) if is_main else nullcontext() as fresh:
            where = broadcast_object_list([fresh])[0] if accelerator.num_processes > 1 else fresh
            accelerator.save_state(str(where))
            accelerator.wait_for_everyone()
        accelerator.wait_for_everyone()

    def _resume_point(self) -> tuple[Path | None, int, int]:
        """(checkpoint, stage, step) to go on from; weights are loaded with their optimiser."""
        count, other = self.accelerator.num_processes, self.config.other_processes
        found = decide(lambda: self.folder.resume_point(count, other))
        if found is None:
            return None, self.config.plan[0][0], 0
        path, progress = found
        self.history, self.made_from = progress.history, progress.data or self.made_from
        logger.warning("resuming at stage %d, step %d", progress.stage, progress.step)
        return path, progress.stage, progress.step

    def _save(self, folder: Path) -> None:
        """Model, processor and training.json."""
        self.model.eval().save_pretrained(folder)
        self.processor.save_pretrained(folder)
        report = {"settings": self.settings, "data": self.made_from, "history": self.history}
        (folder / TRAINING).write_text(json.dumps(report, indent=1), encoding="utf-8")


_HOUSEKEEPING = (
    "dataset",
    "output_dir",
    "workers",
    "cache_images",
    "cache_volumes",
    "cache_dir",
    "checkpoint_every",
    "log_every",
    "tracker",
    "other_processes",
)


def _card_digest(data: BuiltDataset) -> str:
    """What earlier versions called the digest of a dataset."""
    path = data.folder / CARD
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _bar(steps: range, name: str, total: int, shown: bool) -> Any:
    """A progress bar; in a log file it prints at most every BAR_EVERY_S seconds."""
    often = sys.stderr.isatty()
    return tqdm(
        steps, desc=name, initial=steps.start, total=total, unit="step", disable=not shown,
        mininterval=0.1 if often else BAR_EVERY_S, maxinterval=10.0 if often else BAR_EVERY_S,
    )  # fmt: skip


def _accelerator(config: TrainConfig, model: Any) -> Accelerator:
    """What runs the training on whatever there is.

    Raises:
        ValueError: fp16 is asked for, and there is no GPU; accelerate would train in float32 without a word.
    """
    # The precision stays what a process has set first: without this, no second training could choose its own.
    AcceleratorState._reset_state()
    # A tower that serves single images and volumes has layers that only the one or the other reach.
    unused = DistributedDataParallelKwargs(find_unused_parameters=model.vision_model.takes_volumes)
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


def train(config: TrainConfig) -> Path:
    """Train one configuration, or what is left of it; returns the model folder.

    Raises:
        ValueError: the settings, the dataset, a start or the output_dir are not what they should be.
        Interrupted: a signal asked to stop; a checkpoint is saved once there was a step.
    """
    with listening() as stop:
        return Trainer(config, stop).run()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0, 2 and a sentence for bad input, or 128 + the signal that stopped it."""
    is_main = os.environ.get("RANK", "0") == "0"
    try:
        train(load_config(sys.argv[1:] if argv is None else argv))
    except (ToldByMainError, Interrupted) as error:  # known to all processes, said by one
        if is_main:
            sys.stderr.write(f"train_accelerate: {error}\n")
        return error.code if isinstance(error, Interrupted) else 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"train_accelerate: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("train_accelerate: stopped\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
