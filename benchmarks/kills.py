"""Kill every command that writes, at random moments and at each change of a name, and run it again.

    python benchmarks/kills.py --out benchmarks/results/kills.md

A process that has imported everything forks a child for each trial. In the child an audit hook counts the
calls of rename, exchange, remove, rmdir and mkdir, and kills the process group (SIGKILL) right before the
chosen one; a push is killed by the Hub, at each request; random kills come from outside. Then the same
command runs to its end, and everything around its output is compared, name by name and byte by byte, with
what an uninterrupted run leaves. Calls of worker processes are not counted: the builds run with one process,
and one with two, whose first process alone is killed at random moments. `--command` chooses by name,
`--random` says how many kills at random moments.
"""

import argparse
import contextlib
import fcntl
import importlib
import io
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from kill_commands import COMMANDS, call
from kill_hub import Hub
from kill_trials import Place, Tally, Trials, ending
from machine import machine

MODULES = (
    *(
        "datasets",
        "pandas",
        "pyarrow.parquet",
        "transformers",
        "dataset_scripts.building.build",
        "radir_eval.benchmark",
    ),
    *(
        "radir.publishing.push_dataset",
        "dataset_scripts.relevance.neural.extractor",
        "radir.score_shards",
        "radir_eval.report.page",
    ),
    *(
        "radir_eval.rankers.radir_model",
        "radir.publishing.push_model",
        "radir_eval.export.export",
        "train_accelerate",
        "radir",
    ),
)


def import_everything(hub: Hub, work: Path) -> None:
    """All that the commands use, once: children are forked from here."""
    home = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_fake", "HF_HOME": str(work / "home")}
    switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= home | switches | {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    for name in MODULES:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    warm = [
        "radir",
        "build",
        "phantom-cxr",
        "--count",
        12,
        "--size",
        64,
        "--processes",
        1,
        "--out",
        work / "warm",
    ]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        call([*warm, "--processes", 1, "--json"])  # what numba compiled is loaded once


def run_all(names: list[str], work: Path, hub: Hub, options: argparse.Namespace) -> list[Tally]:
    """The commands' trials, a few commands at a time, each in a process without threads."""
    waiting, running = list(names), dict[int, str]()
    while waiting or running:
        if waiting and len(running) < options.jobs:
            name = waiting.pop(0)
            if not (child := os.fork()):
                os._exit(ending(lambda name=name: try_one(name, work, hub, options)))
            running[child] = name
            continue
        child, status = os.wait()
        if child in running:
            sys.stderr.write(
                f"{running.pop(child)}: {'ended' if status else 'done'}; {len(waiting)} to come\n"
            )
    return [Tally(**json.loads(tally_file(work, name).read_text())) for name in names]


def tally_file(work: Path, name: str) -> Path:
    return work / f"{name}.json"


def try_one(name: str, work: Path, hub: Hub, options: argparse.Namespace) -> None:
    """One command's trials; the tally goes into a file."""
    import datasets.config

    place = Place(name, COMMANDS[name], work, hub)
    datasets.config.HF_DATASETS_CACHE = place.folder / "cache"
    trials = Trials(name, place, options.seed)
    try:
        with open(work / "hub.lock", "w") as lock:
            if place.command.pushes:  # there is one Hub
                fcntl.flock(lock, fcntl.LOCK_EX)
            trials.all(options.random, options.every)
    except Exception as error:
        trials.tally.problems[f"trials ended: {error!r}"] = {"no kill": 1}
    tally = trials.tally
    sys.stderr.write(f"{name}: {tally.kills} kills, {tally.equal} equal\n")
    sys.stderr.write("".join(f"{line}\n" for line in problems(tally)))
    tally_file(work, name).write_text(json.dumps(asdict(tally)))
    shutil.rmtree(place.folder)


def report(tallies: list[Tally], seconds: float, arguments: list[str]) -> str:
    """The table, and what went wrong with the kills that caused it."""
    lines = [
        f"# Kills of every command that writes, {machine()}",
        "",
        f"`{shlex.join(['python', 'benchmarks/kills.py', *arguments])}`",
        "",
        *PREAMBLE,
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * (len(COLUMNS) - 1)}",
    ]
    for tally in tallies:
        lines.append(
            f"| {tally.name} | {tally.seconds:.1f} | {tally.events or '-'} | {tally.kills} | {tally.late} | "
            f"{tally.equal} | {tally.kills - tally.equal} | {tally.torn} |"
        )
    kills, equal = (sum(getattr(tally, what) for tally in tallies) for what in ("kills", "equal"))
    lines += [
        "",
        f"{kills:,} kills, {equal:,} equal, {kills - equal:,} not; {seconds / 60:.0f} minutes in all.",
    ]
    for tally in tallies:
        lines += problems(tally)
    return "\n".join(lines) + "\n"


def problems(tally: Tally) -> list[str]:
    """What was not equal, the most frequent first, with the kills that led there."""
    if not (tally.problems or tally.differing):
        return []
    lines = ["", f"## {tally.name}", ""]
    if tally.differing:
        lines.append(
            f"Two uninterrupted runs differ in {', '.join(tally.differing)}, compared by name alone."
        )
    for problem, causes in sorted(tally.problems.items(), key=lambda item: -sum(item[1].values())):
        most = sorted(causes.items(), key=lambda item: -item[1])
        named = "; ".join(f"{cause} ({count})" for cause, count in most[:3])
        more = f"; and {len(most) - 3} other kinds of moment" if len(most) > 3 else ""
        lines.append(f"- {sum(causes.values())} x {problem}: {named}{more}")
    return lines


COLUMNS = (
    *(
        "command",
        "one run, s",
        "moments",
        "kills",
        "of these too late",
        "run again: equal",
        "not equal",
    ),
    "half an output",
)
PREAMBLE = (
    "Killed right before each rename, exchange, remove, rmdir and mkdir of an uninterrupted run (a",
    "push: when each request comes to the Hub, and again before its answer), and at random moments;",
    "then the same command ran to its end. Of changes that are alike (the same call, as deep in the",
    "same place) the first and the last were taken, unless `--every` was given. Equal: it ended with",
    "exit code 0, and every name and byte around the output, in the folder for temporary files and on",
    "the Hub is what an uninterrupted run leaves (training's logs/ aside). Half an output: after the",
    "kill, a build or a push showed neither the old output, nor the new one, nor none. Too late: the",
    "run had ended. Changes of names by worker processes are not counted.",
)


def chosen(wanted: list[str] | None) -> list[str]:
    """The commands of these names, or those whose names hold these words."""
    if not wanted:
        return list(COMMANDS)
    return [name for name in COMMANDS if any(w == name or (w not in COMMANDS and w in name) for w in wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", action="append", help="names that hold these words; all by default")
    parser.add_argument("--random", type=int, default=12, help="kills of each command at random moments")
    parser.add_argument("--every", action="store_true", help="each change of a name, however alike")
    parser.add_argument("--jobs", type=int, default=2, help="commands at a time")
    parser.add_argument("--out", type=Path, help="the Markdown file to write; printed in any case")
    parser.add_argument("--seed", type=int, default=0)
    given = sys.argv[1:]
    options = parser.parse_args(given)
    options.commands = chosen(options.command)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the tests' made-up inputs
    work = Path(tempfile.mkdtemp(prefix="kills-")).resolve()  # children would remove a TemporaryDirectory
    try:
        hub = Hub()
        import_everything(hub, work)
        tallies = run_all(options.commands, work, hub, options)
        hub.close()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = report(tallies, time.monotonic() - started, given)
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
