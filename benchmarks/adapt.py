"""`radir adapt`: what it finds on a dataset, beside other models, and what it costs for many images.

    python benchmarks/adapt.py found --dataset runs/open-i --encoder runs/lite0 --image-size 256 \\
        --model runs/clip-cxr-open-i > benchmarks/results/adapt-open-i.md
    python benchmarks/adapt.py found --dataset runs/demo/phantom-cxr --encoder runs/demo/radir-cxr-phantom \\
        --level 2 --level 3 --level 4 --model runs/demo/radir-cxr-phantom \\
        --model runs/demo/clip-cxr-phantom > benchmarks/results/adapt-phantom-cxr.md
    python benchmarks/adapt.py cost > benchmarks/results/adapt.md

`found` adapts an encoder with three seeds and evaluates the models, those given, and the encoder's own
features. `cost` fits the heads to random tokens of 64 x 432 numbers, as EfficientNet-Lite0 gives them at 256
pixels, with 100 conditions of which each image has ten.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine

from radir_training.adapt.basis import fit_basis
from radir_training.adapt.ridge import NormalEquations

SEEDS = (0, 1, 2)
TOKENS, WIDTHS = 64, (112, 320)
BASIS, HEAD, CONDITIONS, CONDITIONS_OF_ONE = 1024, 96, 100, 10
COUNTS = (10_000, 100_000)


def found(arguments: argparse.Namespace) -> None:
    """Adapt and evaluate by the commands that a user would type."""
    radir = Path(sys.executable).with_name("radir")
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        folders, lines = [], []
        for seed in SEEDS:
            folder = Path(work, f"adapted-{seed}")
            started = time.perf_counter()
            done = subprocess.run(
                [radir, "adapt", "--encoder", arguments.encoder, "--dataset", arguments.dataset,
                 "--out", folder, "--image-size", str(arguments.image_size), "--seed", str(seed),
                 "--cache", f"{work}/tokens",
                 *(word for level in arguments.level for word in ("--level", level))],
                check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            lines.append(
                f"seed {seed}, {time.perf_counter() - started:.0f} s:\n{done.stdout.partition(chr(10))[2]}"
            )
            folders.append(folder)
        models = [word for folder in (*folders, *arguments.model) for word in ("--model", folder)]
        frozen = ("--baseline", "frozen", "--baseline", "frozen-centred")  # of the first model's tower
        subprocess.run(
            [radir, "evaluate", *models, *frozen, "--baseline", "random", "--dataset", arguments.dataset,
             "--out", f"{work}/evaluation"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        tables = Path(work, "evaluation", "tables.md").read_text(encoding="utf-8")
    sys.stdout.write(
        f"# radir adapt, {machine()}\n\nThe first seed reads the images; the others use its tokens.\n\n"
        + "\n".join(lines) + f"\n{tables}"
    )  # fmt: skip


def one_cost(count: int) -> None:
    """In a process of its own: fit to so many images, and print a row of the table."""
    rng, width = np.random.default_rng(0), TOKENS * sum(WIDTHS)
    with tempfile.TemporaryDirectory() as work:
        tokens = np.lib.format.open_memmap(Path(work, "tokens.npy"), "w+", np.float16, (count, width))
        for start in range(0, count, 1000):
            tokens[start : start + 1000] = rng.standard_normal((min(1000, count - start), width), np.float32)
        tokens.flush()
        started = time.perf_counter()
        x = (basis := fit_basis(tokens, WIDTHS, BASIS)).apply(tokens)
        after_basis = time.perf_counter()
        share = max(1, count * CONDITIONS_OF_ONE // CONDITIONS)
        for _ in range(CONDITIONS):
            rows = np.sort(rng.choice(count, share, replace=False))
            NormalEquations.of(x, rng.standard_normal((share, HEAD)), rows).solve(1.0)
        ended = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        size = tokens.nbytes / 2**30
    sys.stdout.write(
        f"| {count:,} | {size:.1f} GiB | {after_basis - started:,.0f} s | {ended - after_basis:,.0f} s "
        f"| {x.nbytes / 2**30:.2f} GiB | {peak:.1f} GiB | {basis.weight.nbytes / 2**20:.0f} MiB |\n"
    )


def cost() -> None:
    """The table of COUNTS."""
    sys.stdout.write(
        f"# radir adapt for many images, {machine()}\n\n"
        f"Random tokens, {TOKENS} x {sum(WIDTHS)} numbers an image; {CONDITIONS} conditions, "
        f"{CONDITIONS_OF_ONE} of each image; one penalty. The peak holds pages of the tokens' file that the "
        "system may drop.\n\n"
        "| Images | Tokens on disk | Basis | Heads | Short forms | Peak memory | Basis in the model |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    sys.stdout.flush()
    for count in COUNTS:
        subprocess.run([sys.executable, __file__, "cost", "--of", str(count)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("found", "cost"))
    parser.add_argument("--dataset")
    parser.add_argument("--encoder")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--level", action="append", default=[], help="a feature map; may be repeated")
    parser.add_argument("--model", action="append", default=[], help="beside it; may be repeated")
    parser.add_argument("--work", type=Path, help="where the models are made; a temporary folder by default")
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.of:
        one_cost(arguments.of)
    elif arguments.what == "cost":
        cost()
    else:
        found(arguments)


if __name__ == "__main__":
    main()
