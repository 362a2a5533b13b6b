"""The whole flow on a dataset, timed: build, train RadIR and a plain CLIP, evaluate, index, search.

    python benchmarks/flow.py open-i --source DIR > benchmarks/results/open-i.md
    python benchmarks/flow.py phantom-ct > benchmarks/results/phantom-ct.md

Each step is a command of the documents, in a process of its own; further options go to `radir build`.
Models that are trained already are not trained again; their training then takes no time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import machine

from dataset_scripts.building.built_dataset import BuiltDataset

FLOWS = {
    "open-i": "cxr-open-i",
    "phantom-ct": "chestct-phantom",
}  # and its models' names
BASELINES = ("frozen", "frozen-centred", "random", "oracle-content", "oracle")
QUESTION = {"open-i": "heart", "phantom-ct": "left pleura"}  # the anatomy of the search


def run(*command: object) -> tuple[float, str]:
    """Run a command with its progress on stderr; returns its seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, done.stdout


def train(config: str, dataset: Path, out: Path, method: str) -> float:
    """Train one method; returns the seconds of its training."""
    launch = Path(sys.executable).with_name("accelerate")
    threads = ("--num_cpu_threads_per_process", os.cpu_count())  # accelerate would use one core
    seconds, _ = run(launch, "launch", *threads, "train_accelerate.py", config, "--dataset", dataset,
                     "--output_dir", out, "--method", method)  # fmt: skip
    return seconds


def held_out_image(data: Path, folder: Path) -> Path:
    """The file of the first image of the test split; one that lies in a table is written to the folder."""
    dataset = BuiltDataset.open(data)
    study = dataset.studies("test")[0]
    if dataset.holds_volumes:
        return dataset.path(study["image"])
    dataset.image(study).save(folder / "query.png")
    return folder / "query.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=FLOWS)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    arguments, build_options = parser.parse_known_args()
    name, out = arguments.name, arguments.out
    radir, data = Path(sys.executable).with_name("radir"), out / name
    models = {method: out / f"{method}-{FLOWS[name]}" for method in ("radir", "clip")}
    evaluation, index = out / f"evaluation-{name}", out / f"index-{name}"
    seconds: dict[str, float] = {}
    seconds["build"], built = run(radir, "build", name, *build_options, "--out", data)
    for method, folder in models.items():
        seconds[f"train {method}"] = train(f"configs/{name}.yaml", data, folder, method)
    seconds["evaluate"], table = run(
        radir, "evaluate", "--model", models["radir"], "--model", models["clip"],
        *(word for name in BASELINES for word in ("--baseline", name)),
        "--dataset", data, "--out", evaluation,
    )  # fmt: skip
    seconds["index"], _ = run(radir, "index", "--model", models["radir"], "--dataset", data,
                              "--split", "train", "--out", index)  # fmt: skip
    image = held_out_image(data, out)
    seconds["search"], _ = run(radir, "search", "--index", index, "--image", image,
                               "--anatomy", QUESTION[name])  # fmt: skip
    steps = ", ".join(f"{step} {value:.0f} s" for step, value in seconds.items())
    tables = (evaluation / "tables.md").read_text(encoding="utf-8")
    minutes = sum(seconds.values()) / 60
    sys.stdout.write(f"# {name}, {machine()}\n\n{built}\n{steps}: {minutes:.0f} minutes\n\n{table}\n{tables}")


if __name__ == "__main__":
    main()
