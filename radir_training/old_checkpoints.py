"""Checkpoints as earlier versions left them: accelerate's files and progress.json in checkpoint/ itself."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

_PROGRESS = "progress.json"
_RANDOM = re.compile(r"random_states_(\d+)\.pkl")
_FILES = re.compile(
    r"progress\.json|model(_\d+)?\.safetensors|optimizer\.bin|scaler\.pt|random_states_\d+\.pkl"
)


def progress(folder: Path) -> dict[str, Any] | None:
    """stage, step, settings and history, None where a folder is no such checkpoint."""
    try:
        about = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
        return {name: about[name] for name in ("stage", "step", "settings", "history")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names(folder: Path) -> set[str]:
    """The files of such a checkpoint; none where a folder is none."""
    if progress(folder) is None:
        return set()
    return {path.name for path in folder.iterdir() if path.is_file() and _FILES.fullmatch(path.name)}


def check(folder: Path) -> int:
    """The number of processes that such a checkpoint is of.

    Raises:
        ValueError: a file is missing or empty.
    """
    found = {name for name in names(folder) if (folder / name).stat().st_size}
    random = sorted(int(match[1]) for name in found if (match := _RANDOM.fullmatch(name)))
    needed = [
        "model.safetensors",
        "optimizer.bin",
        *(f"random_states_{n}.pkl" for n in range(len(random) or 1)),
    ]
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(
            f"the checkpoint {folder} is damaged ({', '.join(missing)} missing): bring the files back, or "
            "remove it to train from the beginning"
        )
    return len(random)


def copy(folder: Path, target: Path) -> None:
    """Link or copy the states, all but progress.json, to another folder."""
    for name in sorted(names(folder) - {_PROGRESS}):
        try:
            os.link(folder / name, target / name)
        except OSError:  # a file system without links
            shutil.copy2(folder / name, target / name)


def remove(folder: Path) -> None:
    """Remove such a checkpoint's files; what tells that it is one goes last."""
    for name in sorted(names(folder), key=lambda name: name == _PROGRESS):
        (folder / name).unlink()
