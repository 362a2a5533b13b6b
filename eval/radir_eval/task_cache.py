"""Finished pieces of an evaluation on disk: an interrupted one resumes, and a new model joins the others.

A piece is the metrics of one ranker in one task, as `.tasks/<key>.npz` beside the results. The key is the
SHA-256 of all that decides it: the ranker's fingerprint, the dataset's digest, the split, the protocol, the
task, the anatomy, the images left out and the code. A ranker without a fingerprint leaves no pieces.
"""

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.plumbing.atomic import atomic_path
from radir_eval.fingerprint import code_digest
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranker
from radir_eval.results_folder import private
from radir_eval.retrieval_split import RetrievalSplit

_PIECE = re.compile(r"[0-9a-f]{32}\.npz")
_LATER = ("bootstrap_draws", "randomisations")  # of what is done with all pieces together


class TaskCache:
    """The pieces of one evaluation.

    Args:
        folder: made at the first piece.
        items: the split.
        protocol: the choices.
        rankers: what is evaluated.
    """

    def __init__(
        self, folder: Path, items: RetrievalSplit, protocol: Protocol, rankers: Sequence[Ranker]
    ) -> None:
        self._folder = Path(folder)
        self._fingerprints = {ranker.name: ranker.fingerprint() for ranker in rankers}
        choices = {name: value for name, value in dataclasses.asdict(protocol).items() if name not in _LATER}
        self._shared = {
            **items.identity,
            "protocol": choices,
            "code": code_digest("dataset_scripts", "radir_eval", "radir_retrieval"),
        }
        self._used: set[str] = set()

    def load(self, model: str, task: str, anatomy: str = "") -> dict[str, np.ndarray] | None:
        """The arrays of a piece, or None if it is not there."""
        path = self._path(model, task, anatomy)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None  # of a damaged disk: made anew

    def save(self, arrays: Mapping[str, np.ndarray], model: str, task: str, anatomy: str = "") -> None:
        """Keep a piece."""
        path = self._path(model, task, anatomy)
        if path is not None:
            private(path.parent)
            named: dict[str, Any] = {**arrays}  # to a type checker they may be flags of savez
            with atomic_path(path) as temporary:
                np.savez(temporary, **named)

    def prune(self) -> None:
        """Remove what this evaluation has not asked for: of other protocols, of models that have changed."""
        for path in self._folder.glob("*.npz"):
            if _PIECE.fullmatch(path.name) and path.name not in self._used:
                path.unlink()

    def _path(self, model: str, task: str, anatomy: str) -> Path | None:
        fingerprint = self._fingerprints[model]
        if fingerprint is None:
            return None
        decides = {**self._shared, "source": fingerprint, "task": task, "anatomy": anatomy}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        name = f"{key[:32]}.npz"
        self._used.add(name)
        return self._folder / name
