"""`radir demo` from end to end: its times and the tables of its evaluation.

python benchmarks/demo.py [--out runs/demo] > benchmarks/results/demo.md
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    out = parser.parse_args().out
    radir = Path(sys.executable).with_name("radir")
    started = time.perf_counter()
    done = subprocess.run(
        [str(radir), "demo", "--out", str(out)], check=True, stdout=subprocess.PIPE, text=True
    )
    minutes = (time.perf_counter() - started) / 60
    times = next(line for line in done.stdout.splitlines() if line.startswith("time: "))
    tables = (out / "evaluation" / "tables.md").read_text(encoding="utf-8")
    sys.stdout.write(f"# radir demo, {machine()}\n\n{times}; {minutes:.1f} minutes in all\n\n{tables}")


if __name__ == "__main__":
    main()
