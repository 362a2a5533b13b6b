"""A folder for this process alone: nobody else can look into it, and it is gone when the process is.

What is read of data that are not open is laid out there for random access, instead of in the datasets cache,
whose files everyone on the machine may read.
"""

import atexit
import os
import shutil
import socket
from functools import cache
from pathlib import Path

import datasets
from filelock import FileLock, Timeout

_NAME = "radir-private"


def private_folder() -> Path:
    """The folder of this process, mode 0700, below the datasets cache (`HF_DATASETS_CACHE`).

    It is named by machine and process, locked as long as the process lives, and removed at its end; what
    killed processes left is removed by the next call of anyone. The local processes of one launcher (those
    with a LOCAL_RANK) share one, since they read the same data.

    Raises:
        ValueError: it cannot be made there.
    """
    owner = os.getppid() if "LOCAL_RANK" in os.environ else os.getpid()
    return _made(Path(datasets.config.HF_DATASETS_CACHE) / _NAME, f"{socket.gethostname()}-{owner}")


@cache
def _made(root: Path, name: str) -> Path:
    folder = root / name
    lock = FileLock(root / f"{name}.lock", blocking=False)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        try:
            lock.acquire()
            atexit.register(_end, folder, lock, os.getpid())
        except Timeout:
            pass  # another process of the same launcher holds it, and removes it
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{root} cannot be written ({error.strerror or error}), where data that are read are laid out "
            "for this process alone: set HF_DATASETS_CACHE to a folder of your own"
        ) from error
    _sweep(root, but=name)
    return folder


def _sweep(root: Path, but: str) -> None:
    """Remove what processes left that are no more: nobody holds their locks."""
    for path in sorted(root.glob("*.lock")):
        if path.stem == but:
            continue
        lock = FileLock(path, blocking=False)
        try:
            lock.acquire()
        except (Timeout, OSError):
            continue  # its owner is at work
        _remove(path.with_suffix(""), lock)


def _end(folder: Path, lock: FileLock, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        _remove(folder, lock)


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
