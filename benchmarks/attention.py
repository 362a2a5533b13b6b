"""Do heat-maps point at the finding? The pointing game on phantom radiographs, whose truth is known.

    python benchmarks/attention.py [--demo runs/demo] > benchmarks/results/attention.md

Image and report of a phantom come from one state, and two states that differ in one anatomy give pictures
that differ by that anatomy alone. So the pixels that change when an anatomy's finding is taken away are its
region. Maps of the demo's trained model are asked for anatomies with a finding, on images of the test split.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import load_dataset
from machine import machine
from torch import Tensor

from dataset_scripts.sources.phantoms.cxr import ANATOMIES, NORMAL, nuisance_seed, render, sample_state
from modeling_radir import RadIRModel
from modeling_radir.heat_maps.integrated_gradients import attention_map, in_image_coordinates
from modeling_radir.inference import embed, load

CHANGED = 8  # of 255 grey levels: more than noise and rounding
SMALLEST = 20  # pixels; a finding that changes fewer cannot be seen
TOLERANCE_CM, FIELD_CM = 2.4, 38.0
MapOf = Callable[[Tensor, str, Tensor], Tensor]


@dataclasses.dataclass
class Case:
    """One anatomy with findings: images (B, 1, h, w), nearest other images, and regions (B, H, W) bool."""

    anatomy: str
    images: Tensor
    hits: Tensor
    regions: Tensor


def region(number: int, seed: int, size: int, anatomy: str) -> np.ndarray:
    """Pixels (size, size) bool that change when the anatomy's finding is taken away."""
    state, nuisance = sample_state(seed, number), nuisance_seed(seed, number)
    pair = [render(each, nuisance, size).astype(int) for each in (state, state.with_finding(anatomy))]
    return np.abs(pair[0] - pair[1]) > CHANGED


def cases(demo: Path, model: RadIRModel, processor: object, images: int, each: int) -> Iterator[Case]:
    """For each anatomy of the phantom and the model, up to `each` images that show a finding of it."""
    options = json.loads((demo / "phantom-cxr" / "build.json").read_text(encoding="utf-8"))["options"]
    seed, size = options["seed"], options["size"]
    studies = load_dataset(str(demo / "phantom-cxr"), "studies", split="test").select(range(images))
    numbers = [int(name.removeprefix("phantom-")) for name in studies["study_id"]]
    pixels = processor(images=list(studies["image"]), return_tensors="pt")["pixel_values"]  # (N, 1, h, w)
    known = [name for name in ANATOMIES if name in model.config.anatomies]
    _, fused = embed(
        model, pixels, model.encode_anatomies(*model.anatomy_tokens(known)).detach()
    )  # (N, Q, d)
    for query, anatomy in enumerate(known):
        nearest = (fused[:, query] @ fused[:, query].T).fill_diagonal_(-2).argmax(1)
        shown, regions = [], []
        for row, number in enumerate(numbers):
            if len(shown) < each and sample_state(seed, number).findings[anatomy].name != NORMAL:
                pixels_changed = region(number, seed, size, anatomy)
                if pixels_changed.sum() >= SMALLEST:
                    shown.append(row)
                    regions.append(torch.from_numpy(pixels_changed))
        if shown:
            yield Case(anatomy, pixels[shown], pixels[nearest[shown]], torch.stack(regions))


@torch.inference_mode()
def fusion_weights(model: RadIRModel, images: Tensor, anatomy: str, hits: Tensor) -> Tensor:
    """What a user would pick: the fusion's attention weights, averaged over its heads and layers."""
    taken: list[Tensor] = []
    handles = [
        layer.attention.register_forward_pre_hook(
            lambda attention, inputs: taken.append(attention.weights(*inputs[:2]).mean(1)[:, 0])
        )
        for layer in model.fusion_model.layers
    ]
    vision = model.encode_image(images)
    model.fuse(vision.tokens, vision.grid, model.encode_anatomies(*model.anatomy_tokens(anatomy)))
    for handle in handles:
        handle.remove()
    return torch.stack(taken).mean(0).unflatten(1, vision.grid)  # (B, rows, cols)


def scores(heat: Tensor, regions: Tensor) -> np.ndarray:
    """For each map (B, rows, cols): peak within the region's reach, share of heat there, share of pixels."""
    reach = round(TOLERANCE_CM / FIELD_CM * regions.shape[-1])
    near = F.max_pool2d(regions[:, None].float(), 2 * reach + 1, 1, reach)[:, 0] > 0  # (B, H, W)
    rows = []
    for one, where in zip(heat, near, strict=True):
        full = in_image_coordinates(one, where.shape)
        share = (full[where].sum() / full.sum()).item()
        rows.append((where.flatten()[full.argmax()].item(), share, where.float().mean().item()))
    return np.array(rows, dtype=float)


def table(found: dict[str, list[np.ndarray]], seconds: dict[str, float]) -> str:
    lines = [
        "| Map | Peak at the finding | Heat at the finding | ms an image |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, parts in found.items():
        rows = np.concatenate(parts)
        error = rows.std(axis=0) / np.sqrt(len(rows))
        lines.append(
            f"| {name} | {rows[:, 0].mean():.0%} ± {error[0]:.0%} | {rows[:, 1].mean():.0%} ± {error[1]:.0%} "
            f"| {1e3 * seconds[name] / len(rows):,.0f} |"
        )
    chance = np.concatenate(next(iter(found.values())))[:, 2].mean()
    lines.append(f"| a point, or heat, anywhere in the image | {chance:.0%} | {chance:.0%} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"))
    parser.add_argument("--images", type=int, default=100, help="of the test split, to draw from")
    parser.add_argument("--each", type=int, default=8, help="images for each anatomy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, processor = load(arguments.demo / "radir-cxr-phantom", "cpu")
    torch.manual_seed(0)
    untrained = RadIRModel(model.config).eval()
    maps: dict[str, MapOf] = {
        "heat-map with the nearest image as hit": lambda x, a, h: attention_map(model, x, a, h),
        "heat-map alone": lambda x, a, h: attention_map(model, x, a),
        "the fusion's attention weights, averaged": lambda x, a, h: fusion_weights(model, x, a, h),
        "heat-map of the model before training": lambda x, a, h: attention_map(untrained, x, a),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in maps}
    seconds = dict.fromkeys(maps, 0.0)
    anatomies = 0
    for case in cases(arguments.demo, model, processor, arguments.images, arguments.each):
        anatomies += 1
        for name, map_of in maps.items():
            started = time.perf_counter()
            heat = map_of(case.images, case.anatomy, case.hits)
            seconds[name] += time.perf_counter() - started
            found[name].append(scores(heat, case.regions))
    count = sum(len(part) for part in next(iter(found.values())))
    sys.stdout.write(
        f"# Heat-maps of the demo's model, {machine()}\n\n{count} findings of {anatomies} anatomies on "
        f"test images. The region of a finding: the pixels that change with it, and {TOLERANCE_CM} cm around "
        f"(half a token). Means with standard errors; one thread.\n\n{table(found, seconds)}\n"
    )


if __name__ == "__main__":
    main()
