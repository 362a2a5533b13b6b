"""Training steps of RadIR models beside their towers alone and open_clip; 90 anatomies beside one.

    python benchmarks/models.py > benchmarks/results/models.md

Random weights and inputs; no optimiser, no data loading, no dropout. Each kind of step runs in a process of
its own, so that its memory can be told; several rounds of these go in turns.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch import Tensor
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from modeling_radir import RadIRConfig, RadIRModel

THREADS = 2
BATCH, TOKENS, VOCABULARY = 8, 64, 30522  # images and reports; tokens of a report
ANATOMIES, NAME_TOKENS = 90, 6
STAGE_2_ANATOMIES = 40  # in a training step
VISION = {"image_size": 224, "patch_size": 16, "num_channels": 3}  # three channels, as open_clip takes
TEXT = {"vocab_size": VOCABULARY, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
Step = Callable[[], Any]


def our_model(vision: dict[str, Any]) -> RadIRModel:
    """BERT-base, four fusion layers of width 512, and an image tower."""
    return RadIRModel(
        RadIRConfig(
            vision_config=vision,
            text_config={"model_type": "bert", **TEXT},
            fusion_config={"dropout": 0.0},
        )
    )


def images(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def texts(count: int, length: int) -> Tensor:
    return torch.randint(1, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(0))


def towers_alone(frozen: bool = False) -> tuple[Step, int]:
    """Both towers of transformers; forward and backward from a sum, or, if frozen, forward alone."""
    vision = ViTModel(ViTConfig(**VISION), add_pooling_layer=False).train()
    text = BertModel(BertConfig(**TEXT), add_pooling_layer=False).train()
    pixels = images(BATCH, 3, 224, 224)
    words = texts(STAGE_2_ANATOMIES, NAME_TOKENS) if frozen else texts(BATCH, TOKENS)

    def step() -> None:
        with torch.set_grad_enabled(not frozen):
            pooled = [vision(pixels).last_hidden_state[:, 0], text(words).last_hidden_state[:, 0]]
        if not frozen:
            (pooled[0].sum() + pooled[1].sum()).backward()

    return step, _count(vision) + _count(text)


def stage_1() -> tuple[Step, int]:
    model = our_model({"model_type": "vit", **VISION}).train()
    inputs = {"pixel_values": images(BATCH, 3, 224, 224), "input_ids": texts(BATCH, TOKENS)}
    relevance = torch.rand(BATCH, BATCH).fill_diagonal_(1)
    parameters = _count(model) - _count(model.fusion_model)
    return lambda: model(**inputs, relevance=relevance).loss.backward(), parameters


def stage_2() -> tuple[Step, int]:
    """The fusion is trained, the towers are not."""
    model = our_model({"model_type": "vit", **VISION}).train()
    model.requires_grad_(False)
    model.fusion_model.requires_grad_(True)
    inputs = {
        "pixel_values": images(BATCH, 3, 224, 224),
        "anatomy_input_ids": texts(STAGE_2_ANATOMIES, NAME_TOKENS),
        "conditional_relevance": torch.rand(STAGE_2_ANATOMIES, BATCH, BATCH),
    }
    return lambda: model(**inputs).loss.backward(), _count(model)


def clip_of_open_clip() -> tuple[Step, int]:
    """The same widths, depths, heads, patches and lengths, with the loss that it trains with."""
    import open_clip
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=12, width=768, head_width=64, patch_size=16, image_size=224)
    text = CLIPTextCfg(context_length=TOKENS, vocab_size=VOCABULARY, width=768, heads=12, layers=12)
    model, loss = CLIP(512, vision, text).train(), open_clip.ClipLoss()
    pixels, reports = images(BATCH, 3, 224, 224), texts(BATCH, TOKENS)
    return lambda: loss(*model(pixels, reports)).backward(), _count(model)


STEPS: dict[str, Callable[[], tuple[Step, int]]] = {
    "towers alone, forward and backward": towers_alone,
    "RadIR, stage 1": stage_1,
    "open_clip, CLIP": clip_of_open_clip,
    "towers alone, forward": lambda: towers_alone(frozen=True),
    "RadIR, stage 2": stage_2,
}


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def resident(field: str) -> float:
    """This process's memory in MB: VmRSS, now, or VmHWM, at its highest."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def seconds_of(step: Step) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def measure(name: str, repeats: int) -> dict[str, float]:
    """Seconds of the best step after a first one, and the memory above that of the imports."""
    torch.manual_seed(0)
    before = resident("VmRSS")
    step, parameters = STEPS[name]()
    seconds = [seconds_of(step) for _ in range(repeats + 1)][1:]
    return {"seconds": min(seconds), "memory": resident("VmHWM") - before, "parameters": parameters}


def training(rounds: int, repeats: int) -> str:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in STEPS}
    for _ in range(rounds):
        for name in STEPS:
            command = [sys.executable, __file__, "--step", name, "--repeats", str(repeats)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(done.stdout))
    best = {name: min(found, key=lambda run: run["seconds"]) for name, found in runs.items()}
    memory = {name: min(run["memory"] for run in found) for name, found in runs.items()}
    lines = [
        "| Step | Parameters | Images a second | Of the towers' | Memory, MB | Of the towers' |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, run in best.items():
        towers = "towers alone, forward" + ("" if name in list(STEPS)[3:] else " and backward")
        lines.append(
            f"| {name} | {run['parameters'] / 1e6:.1f} M | {BATCH / run['seconds']:.2f} "
            f"| {best[towers]['seconds'] / run['seconds']:.2f} | {memory[name]:,.0f} "
            f"| {memory[name] / memory[towers]:.2f} |"
        )
    return "\n".join(lines)


def in_turns(steps: list[Step], rounds: int) -> list[float]:
    """Best seconds of each step, run in turns after one round that does not count."""
    found = [[seconds_of(step) for step in steps] for _ in range(rounds + 1)][1:]
    return [min(column) for column in zip(*found, strict=True)]


@torch.inference_mode()
def anatomies(name: str, vision: dict[str, Any], pixels: Tensor, rounds: int) -> str:
    """A row: conditional features of a batch under one anatomy and under 90."""
    torch.manual_seed(0)
    model = our_model(vision).eval()
    names = texts(ANATOMIES, NAME_TOKENS)
    queries = model.encode_anatomies(names)  # (90, d)

    def at_hand(count: int) -> Tensor:
        encoded = model.encode_image(pixels, pool=False)
        return model.fuse(encoded.tokens, encoded.grid, queries[:count])

    steps: list[Step] = [
        lambda: at_hand(1),
        lambda: at_hand(ANATOMIES),
        lambda: model.get_conditional_features(pixels, input_ids=names[:1]),
        lambda: model.get_conditional_features(pixels, input_ids=names),
    ]
    one, many, one_encoded, many_encoded = in_turns(steps, rounds)
    return (
        f"| {name} | {one:.2f} s | {many:.2f} s | {many / one:.2f} "
        f"| {one_encoded:.2f} s | {many_encoded:.2f} s | {many_encoded / one_encoded:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", choices=STEPS, help="measure this one alone, as JSON")
    parser.add_argument("--repeats", type=int, default=1, help="steps in a process, beside a first one")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each kind of step")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.step:
        sys.stdout.write(json.dumps(measure(arguments.step, arguments.repeats)))
        return
    before = os.getloadavg()[0]
    grey = {"model_type": "vit", "image_size": 224, "patch_size": 16, "num_channels": 1}
    rows = [
        ("ViT-B/16, 8 images of 224 px", grey, images(8, 1, 224, 224)),
        ("the release's CTViT, 4 of 480 px", {"model_type": "radir_ctvit"}, images(4, 1, 480, 480)),
    ]
    parts = [
        f"# Models, {machine()}, {THREADS} threads",
        f"## A training step: {BATCH} images of 224 px and {BATCH} reports of {TOKENS} tokens; in stage 2 "
        f"{STAGE_2_ANATOMIES} anatomies and frozen towers. ViT-B/16 and BERT-base or their like",
        training(arguments.rounds, arguments.repeats),
        f"## {ANATOMIES} anatomies beside one",
        "| Image tower | One | 90 | Ratio | One, name encoded | 90, names encoded | Ratio |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        + "\n".join(anatomies(*row, rounds=2) for row in rows),
        f"Load of the machine before and after: {before:.1f}, {os.getloadavg()[0]:.1f}.",
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
