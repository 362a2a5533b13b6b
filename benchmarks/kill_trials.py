"""A trial of `kills.py`: a command is killed, runs again, and all that it leaves is compared."""

import atexit
import faulthandler
import hashlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kill_commands import Command, call
from kill_hub import Hub
from tqdm import tqdm

LIMIT_SECONDS = 300  # of a run again: beyond that it hangs
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")

Tree = dict[str, str]  # relative name -> SHA-256 of a file, target of a link, "folder"


@dataclass
class Tally:
    """What became of a command's trials.

    Attributes:
        events: changes of names in an uninterrupted run.
        seconds: of an uninterrupted run.
        differing: files that differ between two uninterrupted runs, and are compared by name alone.
        kills, late, equal: trials; those whose run ended before the kill; those whose second run left all as
            an uninterrupted one.
        problems: sentence -> how often, over all trials that were not equal.
        torn: kills after which the output was neither the old one, nor the new one, nor missing.
    """

    name: str
    events: int = 0
    seconds: float = 0.0
    differing: list[str] = field(default_factory=list)
    kills: int = 0
    late: int = 0
    equal: int = 0
    torn: int = 0
    problems: dict[str, int] = field(default_factory=dict)


class Place:
    """A command's folders: inputs, what lies at the output before, the place that trials use in turn."""

    def __init__(self, name: str, command: Command, work: Path, hub: Hub) -> None:
        self.command, self.hub = command, hub
        self.folder = work / re.sub(r"\W+", "-", name)
        self.inputs, self.start = self.folder / "inputs", self.folder / "start"
        self.place, self.temporary = self.folder / "place", self.folder / "temporary"
        self.out = self.place / "out"
        self.log, self.events = self.folder / "log.txt", self.folder / "events.txt"
        for folder in (self.inputs, self.start, self.place):
            folder.mkdir(parents=True)

    def prepare(self) -> None:
        """Make the inputs, and what lies at the output before any run."""
        self.reset()
        for words in (None, *self.command.before(self.inputs, self.out)):
            work = (lambda: self.command.inputs(self.inputs)) if words is None else (lambda w=words: call(w))
            if wait(self.fork(work)) != 0:
                raise RuntimeError(f"the inputs could not be made: {self.said()}")
        shutil.rmtree(self.start)
        shutil.copytree(self.place, self.start, symlinks=True)

    def reset(self) -> None:
        """Put everything back to what it was before any run."""
        for folder in (self.place, self.temporary):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, self.place, symlinks=True)
        self.temporary.mkdir()
        if self.command.pushes:
            self.hub.ask("reset")

    def run(self, kill_at: int = 0) -> int:
        """Start the command in a child; it is killed right before event number `kill_at`."""
        child = self.fork(lambda: call(self.command.run(self.inputs, self.out)), kill_at)
        if self.command.pushes:
            self.hub.ask(f"kill {child} {kill_at}")
        return child

    def fork(self, work: Callable[[], None], kill_at: int = 0) -> int:
        """Do something in a forked child, which leads a process group of its own; returns its id."""
        if child := os.fork():
            return child
        os._exit(ending(lambda: self._child(work, kill_at)))

    def _child(self, work: Callable[[], None], kill_at: int) -> None:
        os.setsid()
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["TMPDIR"], tempfile.tempdir = str(self.temporary), None
        os.chdir(self.folder)
        tqdm.set_lock(threading.RLock())  # the usual one is shared with other trials, and kills leave it held
        faulthandler.dump_traceback_later(LIMIT_SECONDS / 2)
        count_events(self.events, kill_at)
        work()

    def said(self) -> str:
        """The last thing that a child said."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return self.neutral(lines[-1])[-240:] if lines else "nothing"

    def events_seen(self) -> list[str]:
        """Changes of names, or what the Hub was asked, since the last start."""
        if self.command.pushes:
            return [self.neutral(event) for event in self.hub.ask("events")]
        return [self.neutral(line) for line in self.events.read_text(encoding="utf-8").splitlines()]

    def neutral(self, text: str) -> str:
        """Without what differs from trial to trial."""
        text = text.replace(f"{self.out}", "OUT").replace(f"{self.place}/", "").replace(f"{self.folder}/", "")
        return re.sub(r"[0-9a-f]{12,}|(?<=tmp)[a-z0-9_]{8}", "*", text)

    def tree(self) -> Tree:
        """All that lies around the output, in the folder for temporary files, and on the Hub."""
        found = {f"tmp/{name}": what for name, what in tree_of(self.temporary).items()}
        for name, what in tree_of(self.place).items():
            if not any(name.startswith(f"out/{ignored}") for ignored in self.command.ignored):
                found[name] = what
        if self.command.pushes:
            found |= {f"hub/{name}": what for name, what in self.hub.ask("files").items()}
        return found


def count_events(path: Path, kill_at: int) -> None:
    """Note each change of a name in a file; end the process group right before number `kill_at`."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        exchange = event == "ctypes.dlsym" and arguments[1] in ("renameat2", "renamex_np")
        if not (exchange or event in EVENTS) or "__pycache__" in str(arguments[0]):
            return
        count += 1
        what = "exchange" if exchange else f"{event.removeprefix('os.')} {arguments[0]}"
        os.write(log, f"{what}\n".encode())
        if count == kill_at:
            os.killpg(0, signal.SIGKILL)
            signal.pause()

    sys.addaudithook(hook)


def ending(work: Callable[[], None]) -> int:
    """Do the work and end as the interpreter would; returns the exit code."""
    code = 0
    try:
        work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def wait(child: int, seconds: float = LIMIT_SECONDS, group: bool = True) -> int | None:
    """A child's exit code (negative: the signal); after `seconds` it is killed, which gives None."""
    end, parent = time.monotonic() + seconds, os.getppid()
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                child = 0
                return os.waitstatus_to_exitcode(status)
            if os.getppid() != parent:
                raise RuntimeError("whoever asked for the trials is gone")
            time.sleep(0.002)
        return None
    finally:
        if child:
            try:
                (os.killpg if group else os.kill)(child, signal.SIGKILL)
            except ProcessLookupError:  # it leads no group yet
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def tree_of(folder: Path) -> Tree:
    """Every name below a folder, with what it is."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(expected: Tree, found: Tree) -> list[str]:
    """What is missing, left over or different, in sentences."""
    return [
        *(f"left over: {name}" for name in sorted(found.keys() - expected.keys())),
        *(f"missing: {name}" for name in sorted(expected.keys() - found.keys())),
        *(
            f"other content: {name}"
            for name in sorted(expected)
            if found.get(name, expected[name]) != expected[name]
        ),
    ]


def visible(tree: Tree) -> Tree:
    """The output itself and the Hub, hidden names aside: what others see."""
    shown = {name: what for name, what in tree.items() if name.startswith(("out/", "hub/"))}
    return {name: what for name, what in shown.items() if "/." not in name}


def first_and_last(events: list[str]) -> list[int]:
    """Of events that are alike (the same call, as deep in the same place) the first and the last.

    >>> first_and_last(["mkdir a", "rename b/0.csv", "rename b/1.csv", "rename b/2.csv", "rename b/3.csv"])
    [1, 2, 5]
    """
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number, event in enumerate(events, 1):
        call, _, path = event.partition(" ")
        *folders, name = path.split("/")
        kind = (call, *folders[:2], str(len(folders)), name.rpartition(".")[2] if "." in name else "")
        kinds.setdefault(kind, []).append(number)
    return sorted({number for of in kinds.values() for number in (of[0], of[-1])})


class Trials:
    """The trials of one command, and their tally."""

    def __init__(self, name: str, place: Place, seed: int) -> None:
        self.place, self.tally = place, Tally(name)
        self.random = random.Random(f"{seed} {name}")

    def all(self, kills_at_random: int, every: bool = False) -> Tally:
        """An uninterrupted run, twice, then a kill at each event and some at random moments."""
        self.place.prepare()
        self.old = visible(self.place.tree())
        first, self.expected = self._whole_run(), self._whole_run()
        self.tally.differing = [name for name in first if first[name] != self.expected.get(name)]
        if first.keys() != self.expected.keys():
            raise RuntimeError(f"two uninterrupted runs differ: {differences(first, self.expected)}")
        if not self.place.command.parent_only:
            events = self.place.events_seen()
            self.tally.events = len(events)
            all_of_them = every or self.place.command.pushes
            chosen = list(range(1, len(events) + 1)) if all_of_them else first_and_last(events)
            sys.stderr.write(f"{self.tally.name}: {len(chosen)} of {len(events)} changes of names\n")
            for number in chosen:
                self._trial(kill_at=number)
        for _ in range(kills_at_random):
            self._trial(kill_after=self.random.uniform(0, self.tally.seconds))
        return self.tally

    def _whole_run(self) -> Tree:
        self.place.reset()
        started = time.monotonic()
        if (code := wait(self.place.run())) != 0:
            raise RuntimeError(f"an uninterrupted run ends with {code}: {self.place.said()}")
        self.tally.seconds = time.monotonic() - started
        return self.place.tree()

    def _trial(self, kill_at: int = 0, kill_after: float = LIMIT_SECONDS) -> None:
        place, tally = self.place, self.tally
        place.reset()
        code = wait(place.run(kill_at), kill_after, group=not place.command.parent_only)
        if code not in (None, -signal.SIGKILL):
            tally.late += 1
            cause = "after its end"
        else:
            cause = f"before {place.events_seen()[-1]}" if kill_at else "at a random moment"
        tally.kills += 1
        torn = self._torn()
        problems = []
        if (code := wait(place.run())) != 0:
            problems.append(
                f"the second run {'hangs' if code is None else f'ends with {code}'}: {place.said()}"
            )
        else:
            found = differences(self.expected, place.tree())
            away = {f"other content: {name}" for name in tally.differing}
            problems += [problem for problem in map(place.neutral, found) if problem not in away]
        tally.equal += not problems
        for problem in [*torn, *problems[:4]]:
            causes = tally.problems.setdefault(problem, {})
            causes[cause] = causes.get(cause, 0) + 1

    def _torn(self) -> list[str]:
        """What is wrong with the output before it is run again: it is the old one, the new one, or none."""
        if not self.place.command.whole:
            return []
        seen = {
            name: what
            for name, what in visible(self.place.tree()).items()
            if name not in self.tally.differing
        }
        goals = [{name: what for name, what in visible(tree).items() if name not in self.tally.differing}
                 for tree in (self.old, self.expected)]  # fmt: skip
        if seen in goals or (not seen and not self.place.command.before):
            return []
        self.tally.torn += 1
        found = ", ".join(differences(goals[1], seen)[:2])
        return [self.place.neutral(f"half an output was there after the kill: {found}")]
