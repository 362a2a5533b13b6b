"""Train RadIR: stage 1 (image-text, eq. 6) and stage 2 (anatomy-conditioned fusion, eq. 9).

    accelerate launch train_accelerate.py configs/demo.yaml --dataset DIR --output_dir DIR
    accelerate launch train_accelerate.py configs/open-i.yaml --dataset DIR --method clip    # the baseline
    accelerate launch train_accelerate.py configs/phantom-ct.yaml --dataset DIR --output_dir DIR  # volumes

The YAML file sets any field of `TrainConfig`; `--name value` overrides it. The same command again
resumes from the last checkpoint and, by the end, has the weights of an uninterrupted run.
"""

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from configs.models import build_losses, build_model
from configs.settings import TrainConfig, load_config
from dataset_scripts.folder import BuiltDataset
from dataset_scripts.prepared import PreparedVolumes
from dataset_scripts.provenance import parts_of, training_data
from dataset_scripts.relevance_tables import WHOLE_REPORT
from dataset_scripts.training import BatchOrder, Targets, TrainingImages, augmentation
from modeling_radir import gather_with_gradient

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"  # the last one, below output_dir
PREPARED = "prepared"  # volumes made ready once, below output_dir unless cache_dir is set


class Trainer:
    """Runs the stages of one configuration over one dataset."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.output_dir)
        set_seed(config.seed)
        self.data = BuiltDataset.open(config.dataset)
        self.made_from = training_data(self.data, parts_of(asdict(config)))
        images = self.data.studies("train")
        self.targets = Targets.of(self.data, images)
        self.settings = {
            **{k: v for k, v in asdict(config).items() if k not in _HOUSEKEEPING},
            "dataset": self.data.digest,
        }
        names = [anatomy["name"] for anatomy in self.data.anatomies()]
        volumes = self.data.holds_volumes
        self.model, self.processor = build_model(config, self.targets.texts, names, volumes)
        self._fit_memory()
        self.accelerator = _accelerator(config, self.model)
        augment = augmentation(volumes) if config.augment else None
        self.images = TrainingImages(images, self._pixels, augment, config.cache_images)
        self._read: Callable[[dict[str, Any]], Any] = self.data.image
        if volumes and config.cache_volumes:
            folder = Path(config.cache_dir) if config.cache_dir else self.out / PREPARED
            self._read = PreparedVolumes(self.data, self.processor.image_processor, folder)
        self.stage1_loss, self.stage2_loss = build_losses(config)
        self.history: list[dict[str, float]] = []

    def run(self) -> Path:
        """Train whatever is left to train and save the model folder."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self._finished():
            logger.warning("%s is already trained with these settings", self.out)
            return self.out
        self.accelerator.init_trackers("logs")
        started, start_stage, start_step = time.time(), *self._resume_point()
        for stage, steps in self.config.plan:
            if stage >= start_stage:
                self._run_stage(stage, steps, start_step if stage == start_stage else 0)
        if self.accelerator.is_main_process:
            self._save(time.time() - started)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return self.out

    def _fit_memory(self) -> None:
        if self.config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        if not self.model.vision_model.takes_volumes:
            # 2D convolutions run a quarter faster so; transformers' `to` hides its arguments from mypy.
            self.model.vision_model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]

    def _pixels(self, row: dict[str, Any]) -> Tensor:
        return self.processor(images=self._read(row), return_tensors="pt")["pixel_values"][0]

    def _run_stage(self, stage: int, steps: int, start: int) -> None:
        config, accelerator = self.config, self.accelerator
        self._freeze(stage)
        optimizer = torch.optim.AdamW(
            self._parameter_groups(), betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        model, optimizer = accelerator.prepare(self.model, optimizer)
        if start:
            accelerator.load_state(str(self.out / CHECKPOINT))
        parts = config.gradient_accumulation
        batches = self._batches(stage, range(start * parts, steps * parts))
        bar = tqdm(
            range(start, steps), desc=f"stage {stage}", initial=start, total=steps, unit="step",
            disable=not accelerator.is_main_process,
        )  # fmt: skip
        self._set_mode(stage)
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self._schedule(step, steps)
            loss = self._update(model, optimizer, stage, batches, range(step * parts, (step + 1) * parts))
            if step % config.log_every == 0 or step == steps - 1:
                self._log(stage, step, loss, bar)
            if (step + 1) % config.checkpoint_every == 0 and step + 1 < steps:
                self._checkpoint(stage, step + 1)
        accelerator.free_memory()
        self.model = accelerator.unwrap_model(model)

    def _batches(self, stage: int, numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's shares of the batches of these numbers: rows (b,) int64 and pixel values."""
        config, accelerator = self.config, self.accelerator
        batch = config.batch_size if stage == 1 else config.stage2_batch_size
        order = BatchOrder(
            len(self.images), batch, numbers, (config.seed, stage),
            accelerator.process_index, accelerator.num_processes,
        )  # fmt: skip
        # With a generator of its own the loader leaves the default one, which decides the dropout, alone.
        generator = torch.Generator()
        return iter(
            DataLoader(self.images, batch_sampler=order, num_workers=config.workers, generator=generator)
        )

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
        bar.set_postfix(loss=f"{value:.4f}")

    def _checkpoint(self, stage: int, step: int) -> None:
        """Write the state beside the last checkpoint, then take its place."""
        target, fresh = self.out / CHECKPOINT, self.out / f"{CHECKPOINT}.part"
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            progress = {"stage": stage, "step": step, "settings": self.settings, "history": self.history}
            (fresh / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        self.accelerator.wait_for_everyone()

    def _resume_point(self) -> tuple[int, int]:
        """(stage, step) to go on from; the weights of a checkpoint are loaded with their optimiser."""
        path = self.out / CHECKPOINT / "progress.json"
        first = self.config.plan[0][0]
        if not path.is_file():
            return first, 0
        progress = json.loads(path.read_text(encoding="utf-8"))
        self._require_same(progress["settings"], "holds a checkpoint")
        self.history = progress["history"]
        logger.warning("resuming at stage %d, step %d", progress["stage"], progress["step"])
        return progress["stage"], progress["step"]

    def _finished(self) -> bool:
        path = self.out / "training.json"
        if not path.is_file():
            return False
        self._require_same(json.loads(path.read_text(encoding="utf-8"))["settings"], "holds a model")
        return True

    def _require_same(self, earlier: dict[str, Any], what: str) -> None:
        now = json.loads(json.dumps(self.settings))
        changed = [name for name in now if earlier.get(name) != now[name]]
        if changed:
            raise ValueError(
                f"{self.out} {what} trained with another {', '.join(changed)}: "
                "give another --output_dir, or remove that folder"
            )

    def _save(self, seconds: float) -> None:
        """Model, processor and training.json; each file is whole before it takes its place."""
        fresh = self.out / "model.part"
        self.model.eval().save_pretrained(fresh)
        self.processor.save_pretrained(fresh)
        report = {
            "settings": self.settings,
            "data": self.made_from,
            "history": self.history,
            "seconds": round(seconds, 1),
        }
        (fresh / "training.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == "training.json"):
            os.replace(path, self.out / path.name)
        fresh.rmdir()
        shutil.rmtree(self.out / CHECKPOINT, ignore_errors=True)


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
)


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
    """Train one configuration, or what is left of it; returns the model folder."""
    return Trainer(config).run()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: 0, or 2 and a sentence for bad input."""
    try:
        train(load_config(sys.argv[1:] if argv is None else argv))
    except ValueError as error:
        sys.stderr.write(f"train_accelerate: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
