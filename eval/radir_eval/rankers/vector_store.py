"""Vectors by what decides them, on disk: encoded once, then memory-mapped; an interrupted run resumes.

<cache>/<key>/
    vectors.json        what the vectors are of, how many are there, and whether all are
    holistic.npy        (N, d) float32
    conditional.npy     (Q, N, d') float32, of a model with conditions: never in memory as a whole
    texts.npy           (U, d) float32, the distinct report texts

The key is the SHA-256 of the encoder's fingerprint (weights, settings, processor, code), the dataset's digest
and the split, and the images left out: a changed model never meets vectors of the old one. The folder may be
deleted at any time; only its owner can read it, since vectors can tell who somebody is.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dataset_scripts.plumbing.atomic import atomic_path
from radir_eval.results_folder import private

STATE = "vectors.json"
_SAVE_EVERY_S = 30.0  # what a killed process may lose; one that raises loses nothing


class VectorStore:
    """Float32 arrays that are filled from the front to the back along their N axis.

    Args:
        folder: for one memory-mapped .npy file an array, made if missing; None keeps them in memory.
        decides: what the folder was named by, written beside the vectors for people to read.

    Attributes:
        about: what `finish` was given; None as long as something is missing.

    Raises:
        ValueError: the folder holds something else.
    """

    def __init__(self, folder: Path | None = None, decides: dict[str, Any] | None = None) -> None:
        self._folder, self._decides = folder, decides
        self.about: dict[str, Any] | None = None
        self._counts: dict[str, int] = {}
        self._open: dict[str, np.ndarray] = {}  # arrays that are being filled
        self._saved_at = time.monotonic()
        if folder is not None and (state := folder / STATE).is_file():
            try:
                found = json.loads(state.read_text(encoding="utf-8"))
                self._counts, self.about = dict(found["counts"]), found["about"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{state} does not say which vectors are there ({error}): delete {folder}"
                ) from error

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The array of a name, made at the first call with a shape; read-only once all is there, on disk."""
        if name not in self._open:
            if self._folder is None:
                assert shape is not None
                self._open[name] = np.empty(shape, dtype=np.float32)
            elif self.about is not None:
                return _mapped(self._folder / f"{name}.npy", "r")
            else:
                self._open[name] = self._to_fill(self._folder / f"{name}.npy", shape)
        return self._open[name]

    def _to_fill(self, path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
        if not self.count(path.stem) or not path.is_file():
            assert shape is not None
            _create(path, shape)
        return _mapped(path, "r+")

    def count(self, name: str) -> int:
        """How many of an array's items are there."""
        return self._counts.get(name, 0)

    def mark(self, name: str, count: int) -> None:
        """Say that so many of an array's items are there."""
        self._counts[name] = count
        if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write what is not written yet."""
        if self._folder is None:
            return
        for array in self._open.values():
            assert isinstance(array, np.memmap)
            array.flush()  # before the counts: what is counted is there, whatever stops the machine
        state = {"decides": self._decides, "counts": self._counts, "about": self.about}
        with atomic_path(self._folder / STATE) as path:
            path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        self._saved_at = time.monotonic()

    def finish(self, about: dict[str, Any]) -> None:
        """Say that all is there."""
        self.about = about
        self.save()
        if self._folder is not None:
            self._open.clear()


def _create(path: Path, shape: tuple[int, ...]) -> None:
    """An empty array; a disk without room for it is found here, not when the memory map is written."""
    private(path.parent)
    size, free = 4 * int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if size > free:
        raise ValueError(
            f"the vectors take {size:,} bytes, {path.parent} has {free:,} left: make room, or "
            "give a cache folder elsewhere"
        )
    with atomic_path(path) as temporary:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape).flush()
        _allocate(temporary)


def _mapped(path: Path, mode: Literal["r", "r+"]) -> np.ndarray:
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete {path.parent}") from error


def _allocate(path: Path) -> None:
    """Take the room that a file says it has: writing to a map of a file with holes kills where none is left.

    Raises:
        OSError: there is not enough.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
