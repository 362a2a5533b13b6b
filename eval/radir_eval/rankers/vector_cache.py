"""Vectors on disk by what decides them: encoded once, then memory-mapped; an interrupted run goes on.

<cache>/<key>/
    vectors.json        what the vectors are of, how many are there, and whether all are
    holistic.npy        (N, d) float32
    conditional.npy     (Q, N, d') float32, of a model with conditions: never in memory as a whole
    texts.npy           (U, d) float32, the distinct report texts

The key is the SHA-256 of the encoder's fingerprint (weights, settings, processor, code), the dataset's digest
and the split, and the images left out: a changed model never meets vectors of the old one. The folder may be
deleted at any time; only its owner can read it, since vectors can tell who somebody is.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dataset_scripts.plumbing.atomic import atomic_path, remove_leftovers
from dataset_scripts.plumbing.outputs import claim
from radir_eval.rankers.encoder import Encoder, Vectors, encode
from radir_eval.rankers.vectors import ArrayRanking, Ranker
from radir_eval.results_folder import private
from radir_eval.retrieval_split import RetrievalSplit

STATE = "vectors.json"
_SAVE_EVERY_S = 30.0  # what a killed process may lose; one that raises loses nothing


def cached(sources: Sequence[Ranker], cache: Path) -> list[Ranker]:
    """The sources, those that encode behind a cache in this folder."""
    return [CachedEmbeddings(source, cache) if isinstance(source, Encoder) else source for source in sources]


class CachedEmbeddings(Ranker):
    """An encoder whose vectors are kept on disk.

    Args:
        encoder: what encodes what is missing.
        cache: folder for the vectors of any number of encoders and datasets; made if missing.
    """

    def __init__(self, encoder: Encoder, cache: Path) -> None:
        self.encoder, self.cache = encoder, Path(cache)
        self.name, self.reference = encoder.name, encoder.reference

    def fingerprint(self) -> str | None:
        return self.encoder.fingerprint()

    def data(self) -> dict[str, Any] | None:
        return self.encoder.data()

    def open(self, items: RetrievalSplit) -> ArrayRanking:
        fingerprint = self.fingerprint()
        if fingerprint is None:
            return self.encoder.open(items)
        decides = {"vectors_of": fingerprint, **items.identity}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        folder = private(self.cache) / key[:32]
        with claim(folder):  # evaluations may share the cache
            remove_leftovers(folder)
            return encode(self.encoder, items, DiskVectors(folder, decides))


class DiskVectors(Vectors):
    """Arrays as memory-mapped .npy files in a folder.

    Args:
        folder: made if missing.
        decides: what the folder was named by, written beside the vectors for people to read.

    Raises:
        ValueError: the folder holds something else.
    """

    def __init__(self, folder: Path, decides: dict[str, Any]) -> None:
        self._folder, self._decides = folder, decides
        self._counts: dict[str, int] = {}
        self._open: dict[str, np.ndarray] = {}  # arrays that are being filled
        self._saved_at = time.monotonic()
        state = folder / STATE
        if state.is_file():
            try:
                found = json.loads(state.read_text(encoding="utf-8"))
                self._counts, self.about = dict(found["counts"]), found["about"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{state} does not say which vectors are there ({error}): delete {folder}"
                ) from error

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        path = self._folder / f"{name}.npy"
        if self.about is not None:
            return self._mapped(path, "r")
        if name not in self._open:
            assert shape is not None
            if not self.count(name) or not path.is_file():
                self._create(path, shape)
            self._open[name] = self._mapped(path, "r+")
        return self._open[name]

    def count(self, name: str) -> int:
        return self._counts.get(name, 0)

    def mark(self, name: str, count: int) -> None:
        self._counts[name] = count
        if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        for array in self._open.values():
            assert isinstance(array, np.memmap)
            array.flush()  # before the counts: what is counted is there, whatever stops the machine
        state = {"decides": self._decides, "counts": self._counts, "about": self.about}
        with atomic_path(self._folder / STATE) as path:
            path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        self._saved_at = time.monotonic()

    def finish(self, about: dict[str, Any]) -> None:
        super().finish(about)
        self.save()
        self._open.clear()

    def _create(self, path: Path, shape: tuple[int, ...]) -> None:
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

    def _mapped(self, path: Path, mode: Literal["r", "r+"]) -> np.ndarray:
        try:
            return np.load(path, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete {self._folder}") from error


def _allocate(path: Path) -> None:
    """Take the room that a file says it has: writing to a map of a file with holes kills where none is left.

    Raises:
        OSError: there is not enough.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
