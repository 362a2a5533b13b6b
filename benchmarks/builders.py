"""All five builders by the command line: what they print, and their wall time.

    python benchmarks/builders.py --shared ../shared/data > benchmarks/results/builders.md

Open data in the layouts of MIMIC-CXR-JPG and CT-RATE stand in for them (benchmarks/shaped_trees.py).
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from machine import machine
from shaped_trees import ctrate_shaped, mimic_shaped


def build(name: str, out: Path, *options: object) -> tuple[float, dict]:
    """Run `radir build`; return its seconds and its facts."""
    radir = Path(sys.executable).with_name("radir")
    command = [radir, "build", name, *options, "--out", out / name, "--json"]
    started = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, json.loads(done.stdout)


def straight(name: str, tree: Path, cache: Path) -> tuple[float, int]:
    """Load the findings of a tree by registered name; return the seconds and the number of rows."""
    import datasets

    import dataset_scripts  # noqa: F401

    started = time.perf_counter()
    loaded = datasets.load_dataset(name, "findings", data_dir=str(tree), cache_dir=str(cache))
    return time.perf_counter() - started, sum(map(len, loaded.values()))


def main() -> None:
    """Print a table and what was left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="holds open-i/ and ct-reports/")
    parser.add_argument("--out", type=Path, default=Path("runs/builders"))
    arguments = parser.parse_args()
    out, shared = arguments.out, arguments.shared
    shutil.rmtree(out, ignore_errors=True)
    mimic = mimic_shaped(shared / "open-i", out / "mimic-tree")
    ctrate = ctrate_shaped(shared / "ct-reports" / "reports.csv", out / "ctrate-tree")
    runs = {
        "phantom-cxr": (),
        "phantom-ct": (),
        "open-i": ("--source", shared / "open-i"),
        "mimic-ir": ("--source", mimic),
        "ctrate-ir": ("--source", ctrate),
    }
    lines = [f"# `radir build`, {machine()}", "", __doc__.split("\n\n")[2].strip(), ""]
    lines += ["| builder | train / validation / test images | findings | anatomies | left out | seconds |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    reasons = []
    for name, options in runs.items():
        seconds, facts = build(name, out, *options)
        images = " / ".join(f"{facts['images'].get(split, 0):,}" for split in ("train", "validation", "test"))
        findings, left_out = sum(facts["findings"].values()), sum(facts["skipped"].values())
        lines.append(
            f"| {name} | {images} | {findings:,} | {len(facts['findings'])} | {left_out:,} | {seconds:.0f} |"
        )
        reasons += [f"- {name}: {count:,} times: {reason}" for reason, count in facts["skipped"].items()]
    lines += ["", "Left out:", "", *reasons, ""]
    for name, tree in (("mimic_ir", mimic), ("ctrate_ir", ctrate)):
        seconds, rows = straight(name, tree, out / "cache")
        lines.append(f'`load_dataset("{name}", "findings", data_dir=...)`: {rows:,} rows in {seconds:.0f} s')
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
