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

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.provenance import parts_of, training_data
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from modeling_radir import gather_with_gradient
from modeling_radir.checks import check_weights
from radir_training import optimisation
from radir_training.accelerators import build_accelerator
from radir_training.assemble import build_losses, build_model, check_model, spare_memory
from radir_training.batches import BatchOrder, read_batches, training_images
from radir_training.earlier_versions import dataset_digest
from radir_training.journal import Journal
from radir_training.run_folder import RECIPE, TRAINING, Progress, RunFolder, check_place
from radir_training.settings import TrainConfig, load_config
from radir_training.stopping import Interrupted, StopRequest, listening
from radir_training.targets import Targets
from radir_training.together import ToldByMainError, claimed, decide, largest, save_checkpoint
from radir_training.validation import Validation

logger = logging.getLogger(__name__)


class Trainer:
    """Runs the stages of one configuration over one dataset."""

    def __init__(self, config: TrainConfig, stop: StopRequest | None = None) -> None:
        self.config, self.stop = config, stop or StopRequest()
        self.out = Path(os.path.realpath(config.output_dir))
        set_seed(config.seed)
        self.data = BuiltDataset.open(config.dataset)
        self.settings = {**config.decisive, "dataset": self.data.digest}
        self.folder = RunFolder(self.out, self.settings, dataset_digest(self.data.folder))
        self.folder.check()
        if config.cache_dir:
            check_place("cache_dir", Path(config.cache_dir))
        self.made_from = training_data(self.data, parts_of(asdict(config)))
        studies = self.data.studies("train")
        names = [anatomy["name"] for anatomy in self.data.anatomies()]
        self.targets = Targets.of(self.data, studies, names, config.relevance)
        if any(stage == 2 for stage, _ in config.plan):
            self.targets.require_anatomies(self.data.name)
        self.model, self.processor = build_model(config, self.targets.texts, names, self.data.holds_volumes)
        check_model(self.model, self.processor)
        spare_memory(self.model, config.gradient_checkpointing)
        self.accelerator = build_accelerator(config, self.model)
        self.images = training_images(config, self.data, studies, self.processor)
        for stage, _ in config.plan:
            self._order(stage, range(0))  # a batch that does not fit is told before anything is written
        self.stage1_loss, self.stage2_loss = build_losses(config)
        if config.validate_every:
            self.validation = Validation(self.data, self.processor, config.validation_images, config.seed)
        self.journal = Journal(self.accelerator)

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
        checkpoint, start_stage, start_step = self._resume_point()
        self.out.mkdir(parents=True, exist_ok=True)
        self.journal.open(self.config)
        for stage, steps in self.config.plan:
            if stage == start_stage:
                self._run_stage(stage, steps, start_step, checkpoint)
            elif stage > start_stage:
                self._run_stage(stage, steps)
        check_weights(self.model, f"the run in {self.out}")
        decide(lambda: self.folder.finish(self._save))
        logger.info("%s is trained; this run took %.0f seconds", self.out, self.journal.close())

    # The loop, the step and the losses.

    def _run_stage(self, stage: int, steps: int, start: int = 0, checkpoint: Path | None = None) -> None:
        config, accelerator, parts = self.config, self.accelerator, self.config.gradient_accumulation
        optimisation.set_learning(self.model, stage, config)
        model, optimizer = accelerator.prepare(self.model, optimisation.build_optimizer(self.model, config))
        if checkpoint is not None:
            accelerator.load_state(str(checkpoint))
        schedule = optimisation.build_schedule(optimizer, config.warmup_steps, steps, start)
        batches = self._batches(stage, range(start * parts, steps * parts))
        self.stop.safe = True
        for step in self.journal.steps(stage, start, steps, images=parts * self.config.images_of(stage)):
            numbers = range(step * parts, (step + 1) * parts)
            losses, norm = self._update(model, optimizer, stage, batches, numbers)
            if step % config.log_every == 0 or step == steps - 1:
                rates = optimisation.learning_rates(optimizer)
                self.journal.log(stage, step, losses, {**rates, "gradient_norm": norm})
            schedule.step()
            if config.validate_every and ((step + 1) % config.validate_every == 0 or step + 1 == steps):
                self._validate(stage, step)
            stopped_by = largest(self.stop.number)  # the processes stop at one step
            if stopped_by or ((step + 1) % config.checkpoint_every == 0 and step + 1 < steps):
                self._checkpoint(stage, step + 1)
            if stopped_by:
                raise Interrupted(stopped_by, f"after step {step + 1} of stage {stage}, saved in {self.out}")
        accelerator.free_memory()
        self.model = accelerator.unwrap_model(model)

    def _update(
        self, model: Any, optimizer: Any, stage: int, batches: Iterator[Any], numbers: range
    ) -> tuple[dict[str, Tensor], Any]:
        """One step on the mean gradient of the batches of these numbers; their mean losses, and its norm."""
        accelerator, found, norm = self.accelerator, [], None
        for number in numbers:
            rows, pixels = next(batches)
            with accelerator.accumulate(model):
                losses = self._losses(model, stage, number, rows, pixels.to(accelerator.device))
                accelerator.backward(losses["loss"])
                if accelerator.sync_gradients:  # after the last of them
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
                optimizer.step()  # nothing before the last of them, as accelerate wraps it
                optimizer.zero_grad()
            found.append({name: value.detach() for name, value in losses.items()})
        optimisation.clamp_logit_scale(self.model)
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in found[0]}, norm

    def _losses(self, model: Any, stage: int, number: int, rows: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """The "loss" of a batch, and its parts before weighting, each () float32.

        Stage 1 has "image_to_text", "text_to_image" and "image_to_image", but for those of weight 0; stage 2
        "conditional" (eq. 9) and, where it has a weight, "unconditional" (eq. 6).
        """
        config, batch = self.config, self.accelerator.gather(rows.to(self.accelerator.device)).cpu().numpy()
        tokens: dict[str, Tensor] = {}
        if stage == 1 or config.stage1_weight:
            tokens |= self._tokens([self.targets.texts[row] for row in rows.tolist()])
        if stage == 1:
            loss, terms = self._unconditional_loss(model(pixel_values=pixels, **tokens), batch)
            return {"loss": loss, **terms}
        anatomies = self.targets.sample_anatomies(config.anatomies_per_step, (config.seed, number))
        tokens |= {f"anatomy_{name}": ids for name, ids in self._tokens(anatomies).items()}
        features = model(pixel_values=pixels, **tokens)
        conditional = self._conditional_loss(features, anatomies, batch)
        if not config.stage1_weight:
            return {"loss": conditional, "conditional": conditional}
        unconditional, _ = self._unconditional_loss(features, batch)
        loss = config.stage1_weight * unconditional + conditional
        return {"loss": loss, "conditional": conditional, "unconditional": unconditional}

    def _unconditional_loss(self, features: Any, batch: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 6 over the images of all processes; a plain CLIP knows only which report belongs to which."""
        images, texts = map(gather_with_gradient, (features.image_embeds, features.text_embeds))
        is_clip = self.config.method == "clip"
        relevance = torch.eye(len(batch)) if is_clip else self.targets.relevance(WHOLE_REPORT, batch)
        return self.stage1_loss.with_terms(images, texts, features.logit_scale, relevance.to(images.device))

    def _conditional_loss(self, features: Any, anatomies: list[str], batch: np.ndarray) -> Tensor:
        """Eq. 9 over the images of all processes."""
        embeds = gather_with_gradient(features.conditional_embeds).transpose(0, 1)  # (Q, N, d)
        relevance = torch.stack([self.targets.relevance(name, batch) for name in anatomies])  # (Q, N, N)
        return self.stage2_loss(embeds @ embeds.transpose(1, 2), relevance.to(embeds.device))

    def _validate(self, stage: int, step: int) -> None:
        """Look at the validation split, by the main process; the others wait for it at the next batch."""
        if self.accelerator.is_main_process:
            self.journal.log_validation(stage, step, self.validation.figures(self.model, stage))

    # What they take and leave.

    def _order(self, stage: int, numbers: range) -> BatchOrder:
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        seed = (self.config.seed, stage)
        return BatchOrder(len(self.images), self.config.images_of(stage), numbers, seed, *share)

    def _batches(self, stage: int, numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's shares of the batches of these numbers: rows (b,) int64 and pixel values."""
        return read_batches(self.images, self._order(stage, numbers), self.config.workers)

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        encoded = self.processor(text=texts, return_tensors="pt").to(self.accelerator.device)
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def _checkpoint(self, stage: int, step: int) -> None:
        """Write the state beside the last checkpoint, then take its place."""
        check_weights(self.model, f"the run in {self.out}, at step {step} of stage {stage},")
        processes, history = self.accelerator.num_processes, self.journal.history
        progress = Progress(stage, step, processes, self.settings, self.made_from, history, RECIPE)
        save_checkpoint(self.folder, self.accelerator, progress)

    def _resume_point(self) -> tuple[Path | None, int, int]:
        """(checkpoint, stage, step) to resume from; weights are loaded with their optimiser."""
        count, other = self.accelerator.num_processes, self.config.other_processes
        found = decide(lambda: self.folder.resume_point(count, other))
        if found is None:
            return None, self.config.plan[0][0], 0
        path, progress = found
        self.journal.history, self.made_from = progress.history, progress.data or self.made_from
        logger.warning("resuming at stage %d, step %d", progress.stage, progress.step)
        return path, progress.stage, progress.step

    def _save(self, folder: Path) -> None:
        """Model, processor and training.json."""
        self.model.eval().save_pretrained(folder)
        self.processor.save_pretrained(folder)
        report = {"settings": self.settings, "data": self.made_from, "history": self.journal.history}
        (folder / TRAINING).write_text(json.dumps(report, indent=1), encoding="utf-8")


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
