"""Who may write an output: one process at a time, which is known from the start.

A claim resolves links, makes sure that the place can be written before the work, takes a lock that dies with
its owner, and removes what a killed run left beside the output.
"""

import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from dataset_scripts.plumbing.atomic import remove_leftovers


@contextmanager
def claim(out: Path) -> Iterator[Path]:
    """Hold an output, a file or a folder, for this process alone as long as the block runs.

    The lock is `.NAME.lock` beside the output (inside it where only the output itself can be written); it is
    gone afterwards. That of a killed process holds nothing, and the next claim takes it over.

    Args:
        out: what is going to be written; missing parent folders are made. A link stands for its target.

    Yields:
        The path to write, without links.

    Raises:
        ValueError: another process holds it, or the place cannot be written.
    """
    out = Path(os.path.realpath(out))
    place = out.parent
    if out.is_dir() and not os.access(place, os.W_OK):
        place = out
    path = place / f".{out.name}.lock"
    lock = FileLock(path, blocking=False)
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _sign(path)
    except Timeout as error:
        if not path.exists():  # no lock can be made here, which looks like a wait for one
            raise ValueError(f"{out} cannot be written: give another output") from error
        raise ValueError(
            f"{out} is being written by {_holder(path)}: wait until it ends, or give another output"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{out} cannot be written ({error.strerror or error}): give another output, or make "
            f"{place} writable"
        ) from error
    try:
        remove_leftovers(out.parent, of=out.name)
        yield out
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for it finds that the file is another
        lock.release()


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted under a name, bind mounts of the same disk included: it cannot move."""
    if os.path.ismount(path):
        return True
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False  # not Linux
    named = os.fsencode(os.path.realpath(path))
    return any(_unescaped(line.split(b" ")[4]) == named for line in mounts)


def _unescaped(name: bytes) -> bytes:
    """A name of mountinfo, where blanks, tabs, line breaks and backslashes are octal."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name)


def _sign(path: Path) -> None:
    """Say who holds the lock, for the sentence that others get."""
    command = " ".join([os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]])
    about = {
        "process": os.getpid(),
        "machine": socket.gethostname(),
        "since": datetime.now().isoformat(sep=" ", timespec="seconds"),
        "command": command,
    }
    path.write_text(json.dumps(about) + "\n", encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return "process {process} on {machine} since {since} ({command})".format_map(about)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not signed yet
