"""The tokens of images, computed once and kept on disk, float16 and memory-mapped; it resumes by the row."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.plumbing.atomic import atomic_path

_EVERY = 256  # rows between two marks of how far it is


class TokenCache:
    """Tokens of the splits of a dataset, for this user alone: they are made from its images.

    Args:
        folder: where the caches of any number of encoders and datasets may lie.
        decides: all that the tokens depend on; another value has a place of its own.
    """

    def __init__(self, folder: Path, decides: dict[str, Any]) -> None:
        key = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = folder / key[:32]

    def fill(
        self, split: str, count: int, width: int, read: Callable[[int], Iterator[np.ndarray]]
    ) -> np.ndarray:
        """The tokens of a split; what is not there yet is read.

        Args:
            split: its name.
            count: n, images.
            width: of the tokens of an image, all in one row.
            read: from the first row that is missing on: the next rows, (b, width) each time.

        Returns:
            (n, width) float16, mapped into memory.

        Raises:
            ValueError: the disk is full, or `read` raises one.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path, mark = self.folder / f"{split}.npy", self.folder / f"{split}.json"
        done = _done(mark) if path.is_file() else 0
        try:
            if not done:
                np.lib.format.open_memmap(path, "w+", np.float16, (count, width)).flush()
            tokens = np.lib.format.open_memmap(path, "r+")
            marked = done
            for rows in read(done) if done < count else ():
                tokens[done : done + len(rows)] = rows
                done += len(rows)
                if done - marked >= _EVERY or done == count:
                    tokens.flush()
                    _mark(mark, done)
                    marked = done
        except OSError as error:
            raise ValueError(
                f"the tokens cannot be kept in {self.folder} ({error.strerror or error}): they take "
                f"{2 * count * width:,} bytes; give another --cache"
            ) from error
        return np.lib.format.open_memmap(path, "r")


def _done(mark: Path) -> int:
    """How many rows are there; 0 where nothing says it."""
    try:
        return int(json.loads(mark.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _mark(mark: Path, done: int) -> None:
    with atomic_path(mark) as fresh:
        fresh.write_text(json.dumps({"rows": done}), encoding="utf-8")
        os.chmod(fresh, 0o600)
