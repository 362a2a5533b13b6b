"""The whole flow on Open-i, timed: build, train RadIR and a plain CLIP, evaluate, index, search.

    python benchmarks/open_i.py --source DIR [--out runs] > benchmarks/results/open-i.md

Each step is the command that the README names, in a process of its own. Models that are trained already
are not trained again; their training time is then the one that training.json holds.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from dataset_scripts.folder import BuiltDataset

CONFIG = "configs/open-i.yaml"


def run(*command: object) -> tuple[float, str]:
    """Run a command with its progress on stderr; returns its seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, done.stdout


def train(dataset: Path, out: Path, method: str) -> float:
    """Train one method; returns the seconds of its training."""
    launch = Path(sys.executable).with_name("accelerate")
    threads = ("--num_cpu_threads_per_process", os.cpu_count())  # accelerate would use one core
    run(launch, "launch", *threads, "train_accelerate.py", CONFIG, "--dataset", dataset, "--output_dir", out,
        "--method", method)  # fmt: skip
    return float(json.loads((out / "training.json").read_text(encoding="utf-8"))["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    radir, out = Path(sys.executable).with_name("radir"), arguments.out
    data, models = out / "open-i", (out / "radir-cxr-open-i", out / "clip-cxr-open-i")
    seconds: dict[str, float] = {}
    seconds["build"], built = run(radir, "build", "open-i", "--source", arguments.source, "--out", data)
    for method, folder in zip(("radir", "clip"), models, strict=True):
        seconds[f"train {method}"] = train(data, folder, method)
    seconds["evaluate"], table = run(
        radir, "evaluate", "--model", models[0], "--model", models[1],
        "--baseline", "random", "--baseline", "oracle", "--dataset", data, "--out", out / "evaluation-open-i",
    )  # fmt: skip
    seconds["index"], _ = run(radir, "index", "--model", models[0], "--dataset", data, "--split", "train",
                              "--out", out / "index-open-i")  # fmt: skip
    held_out = BuiltDataset.open(data).studies("test")[0]["image_id"]
    image = arguments.source / "images" / f"{held_out}.dcm.jpg"
    seconds["search"], _ = run(radir, "search", "--index", out / "index-open-i", "--image", image,
                               "--anatomy", "heart")  # fmt: skip
    steps = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    tables = (out / "evaluation-open-i" / "tables.md").read_text(encoding="utf-8")
    minutes = sum(seconds.values()) / 60
    sys.stdout.write(f"# Open-i, {machine()}\n\n{built}\n{steps}: {minutes:.0f} minutes\n\n{table}\n{tables}")


if __name__ == "__main__":
    main()
