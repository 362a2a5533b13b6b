"""The folder of a training run: whose it is, where the run resumes, and the model that it ends as.

    checkpoint/stage1-000500/    a checkpoint: what accelerate saves, progress.json, manifest.json
    checkpoint/model/            the finished model on its way to its place, file by file
    config.json, ...             the finished model; manifest.json comes last

A checkpoint or a finished model takes its name in one step, when it is whole and on the disk, and older
checkpoints go only then: a kill at any moment loses the steps since the last checkpoint, and nothing else.
"""

import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dataset_scripts.plumbing import atomic
from dataset_scripts.plumbing.manifest import (
    MANIFEST,
    digest,
    files_below,
    read_manifest,
    write_manifest,
)
from radir_training import earlier_versions

logger = logging.getLogger(__name__)

CHECKPOINTS, PROGRESS, TRAINING = "checkpoint", "progress.json", "training.json"
MODEL_KIND, CHECKPOINT_KIND = "radir-model", "radir-checkpoint"
# Counts the changes of what decides the weights beside settings and data: parameter groups, schedule.
RECIPE = 2
_FINISHED = "model"  # below CHECKPOINTS
_NAME = re.compile(r"stage(\d)-(\d{6,})")
# What a finished run may write; README.md and other files of the user's stay.
_WRITTEN = ("*.safetensors", "*.json", "*.py", "*.jinja", "*.model", "vocab.txt", "merges.txt", CHECKPOINTS)
_FOLDERS = ("logs", "prepared")


@dataclass(frozen=True)
class Progress:
    """How far a run is: the next step, of `stage`, is number `step`.

    Attributes:
        processes: that the run has.
        settings: that decide the weights, see RunFolder.
        data: what the model owes to data, as `training_data` gives it.
        history: stage, step, loss and its parts of the steps that were logged.
        recipe: how the run is optimised; checkpoints of earlier versions, which do not say it, have 1.
    """

    stage: int
    step: int
    processes: int
    settings: dict[str, Any]
    data: dict[str, Any]
    history: list[dict[str, float]]
    recipe: int = 1

    @property
    def name(self) -> str:
        """Of its checkpoint."""
        return f"stage{self.stage}-{self.step:06d}"


class RunFolder:
    """One output_dir; for the main process alone, which holds its claim.

    Args:
        folder: the output_dir, which may be missing.
        settings: all that decides the weights; a folder of other settings is neither continued nor replaced.
        old_dataset: what versions before the manifests called the digest of the same dataset.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], old_dataset: str = "") -> None:
        self.path = folder
        self._settings = json.loads(json.dumps(settings))
        self._old_dataset = old_dataset
        self._checkpoints = folder / CHECKPOINTS

    def check(self) -> None:
        """Make sure that nothing in the folder is lost that another has put there; changes nothing.

        Raises:
            ValueError: it cannot be written, holds files that are not ours and that a run would replace or
                delete, or a model of other settings.
        """
        check_place("output_dir", self.path)
        foreign = [*self._foreign_checkpoints(), *self._foreign_files()]
        if foreign:
            raise ValueError(
                f"{self.path} holds {', '.join(foreign[:3])}{' and more' * (len(foreign) > 3)}, which this "
                "training did not write and would replace: give another --output_dir, or move them away"
            )
        earlier = _json(self.path / TRAINING)
        if earlier is not None:
            self._require_same(earlier.get("settings") or {}, "holds a model")

    def is_finished(self) -> bool:
        """Whether the model is there and whole; one that was on its way is brought to its place first.

        Raises:
            ValueError: a file of it was changed since.
        """
        if (self._checkpoints / _FINISHED / MANIFEST).is_file():
            self._place()
        listed = read_manifest(self.path, MODEL_KIND)
        if listed is None:
            return self._is_finished_without_manifest()
        missing = [name for name in listed if not os.path.lexists(self.path / name)]
        changed = [
            name for name in listed if name not in missing and _differs(self.path / name, listed[name])
        ]
        if changed:
            raise ValueError(
                f"{self.path} holds a model whose {', '.join(changed[:3])} changed since it was trained: "
                "give another --output_dir, or remove the file to train again"
            )
        if missing:
            logger.warning("%s lacks %s of its model: it is trained again", self.path, ", ".join(missing[:3]))
            return False
        self._clean()
        return True

    def resume_point(self, processes: int, other_processes: bool = False) -> tuple[Path, Progress] | None:
        """The newest whole checkpoint, None to start from the beginning.

        Args:
            processes: that the run has now.
            other_processes: resume with another number of them than before.

        Raises:
            ValueError: there are checkpoints and none is whole, or it is of other settings or of a version
                that optimised otherwise.
        """
        atomic.remove_leftovers(self._checkpoints)
        if earlier_versions.checkpoint_files(self._checkpoints):
            self._require_recipe(None)
        damaged = ""
        for path in reversed(self._generations()):
            damage = _damage(path)
            if damage:
                damaged = damaged or f"{path} is damaged ({damage})"
                continue
            progress = Progress(**json.loads((path / PROGRESS).read_text(encoding="utf-8")))
            self._require_same(progress.settings, "holds a checkpoint")
            self._require_recipe(progress)
            self._require_processes(progress.processes, processes, other_processes)
            if damaged:
                logger.warning("%s: resuming from %s", damaged, path.name)
            return path, progress
        if damaged:
            raise ValueError(
                f"{damaged}, and no other is there: bring its files back, or remove {self._checkpoints} to "
                "train from the beginning"
            )
        return None

    @contextmanager
    def new_checkpoint(self, progress: Progress) -> Iterator[Path]:
        """Yield a folder to save states to; it becomes the one checkpoint when the block succeeds.

        Raises:
            ValueError: it cannot be written; the last checkpoint stays.
        """
        target = self._checkpoints / progress.name
        with _told(target), atomic.atomic_path(target) as fresh:
            fresh.mkdir()
            yield fresh
            (fresh / PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
            write_manifest(fresh, CHECKPOINT_KIND)
        for path in self._generations():
            if path != target:
                _discard(path)

    def finish(self, write: Callable[[Path], None]) -> None:
        """Write the finished model and remove the checkpoints.

        Args:
            write: writes all its files to a folder, training.json among them.

        Raises:
            ValueError: it cannot be written; the last checkpoint stays.
        """
        with _told(self.path), atomic.atomic_path(self._checkpoints / _FINISHED) as fresh:
            fresh.mkdir()
            write(fresh)
            write_manifest(fresh, MODEL_KIND)
        self._place()
        self._clean()

    def _place(self) -> None:
        """Bring the files of the finished model to their place, what says that it is finished last."""
        staged = self._checkpoints / _FINISHED
        listed = read_manifest(staged, MODEL_KIND) or {}
        ours = read_manifest(self.path, MODEL_KIND) or {}
        for name in sorted(listed, key=lambda name: (name == TRAINING, name)):
            source, target = staged / name, self.path / name
            if source.is_file():
                if os.path.lexists(target) and name not in ours and self._is_new():
                    raise ValueError(
                        f"{target} appeared while the model was trained, and is not ours: move it away, and "
                        "run the same command again"
                    )
                target.parent.mkdir(exist_ok=True)
                os.replace(source, target)
            elif _differs(target, listed[name]):
                raise ValueError(f"{target} was lost on its way: remove {staged}, and run the command again")
        atomic.sync_folder(self.path)
        os.replace(staged / MANIFEST, self.path / MANIFEST)
        atomic.sync_folder(self.path)

    def _is_new(self) -> bool:
        """Whether no earlier version has left a model here, without a manifest."""
        return _json(self.path / TRAINING) is None

    def _clean(self) -> None:
        """Remove our checkpoints, and what killed runs have left."""
        for path in self._generations():
            _discard(path)
        atomic.remove_leftovers(self._checkpoints)
        atomic.remove_leftovers(self.path)
        for name in _FOLDERS:
            atomic.remove_leftovers(self.path / name, recursive=True)
        staged = self._checkpoints / _FINISHED
        if staged.is_dir():
            _discard(staged)
        if _is_empty(self._checkpoints):
            self._checkpoints.rmdir()

    def _generations(self) -> list[Path]:
        """Our checkpoints, oldest first."""
        found = []
        for path in self._checkpoints.iterdir() if self._checkpoints.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match and read_manifest(path, CHECKPOINT_KIND) is not None:
                found.append((int(match[1]), int(match[2]), path))
        return [path for *_, path in sorted(found)]

    def _require_recipe(self, progress: Progress | None) -> None:
        """Raise ValueError for a checkpoint of a version that optimised otherwise; None: its progress."""
        if progress is None or progress.recipe != RECIPE:
            raise ValueError(
                f"{self.path} holds a checkpoint of an earlier version, which had another schedule and "
                f"weight decay: finish the run with that version, or remove {self._checkpoints} to train "
                "from the beginning"
            )

    def _is_finished_without_manifest(self) -> bool:
        """The same of a folder that an earlier version wrote."""
        if _json(self.path / TRAINING) is None:
            return False
        files = sorted(self.path.glob("model*.safetensors"))
        for path in files:
            try:
                with safe_open(path, framework="np"):
                    pass
            except (SafetensorError, OSError) as error:
                raise ValueError(
                    f"{path} is no whole file of weights ({error}): remove it to train again"
                ) from error
        if not files:
            logger.warning("%s has no weights beside its %s: it is trained again", self.path, TRAINING)
        return bool(files)

    def _foreign_checkpoints(self) -> list[str]:
        if not self._checkpoints.is_dir():
            return [CHECKPOINTS] if os.path.lexists(self._checkpoints) else []
        known = earlier_versions.checkpoint_files(self._checkpoints)
        foreign = []
        for path in sorted(self._checkpoints.iterdir()):
            kind = MODEL_KIND if path.name == _FINISHED else CHECKPOINT_KIND
            named = path.name == _FINISHED or _NAME.fullmatch(path.name)
            listed = read_manifest(path, kind) if named and path.is_dir() else None
            if listed is not None:
                others = set(files_below(path)) - set(listed) - {MANIFEST}
                foreign += [f"{CHECKPOINTS}/{path.name}/{name}" for name in sorted(others)]
            elif not (atomic.is_leftover(path) or path.name in known or _is_empty(path)):
                foreign.append(f"{CHECKPOINTS}/{path.name}")
        return foreign

    def _foreign_files(self) -> list[str]:
        if not self.path.is_dir():
            return []
        foreign = [name for name in _FOLDERS if (self.path / name).is_file()]
        ours = _json(self.path / TRAINING) or {}
        if read_manifest(self.path, MODEL_KIND) is not None or "settings" in ours:
            return foreign
        found = {path.name for pattern in _WRITTEN for path in self.path.glob(pattern)} - {CHECKPOINTS}
        placed = read_manifest(self._checkpoints / _FINISHED, MODEL_KIND) or {}
        return foreign + sorted(
            name for name in found if name not in placed or _differs(self.path / name, placed[name])
        )

    def _renamed(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of an earlier version, with the dataset's digest as it is now where it is the same."""
        settings = earlier_versions.DEFAULTS | settings
        same = self._old_dataset and settings.get("dataset") == self._old_dataset
        return settings | {"dataset": self._settings["dataset"]} if same else settings

    def _require_same(self, earlier: dict[str, Any], what: str) -> None:
        earlier = self._renamed(earlier)
        changed = [name for name, value in self._settings.items() if earlier.get(name) != value]
        if changed:
            raise ValueError(
                f"{self.path} {what} trained with another {', '.join(changed)}: "
                "give another --output_dir, or remove that folder"
            )

    def _require_processes(self, before: int, now: int, allowed: bool) -> None:
        if before == now:
            return
        said = f"{self.path} holds a checkpoint of {before} processes, and there are {now} now"
        if not allowed:
            raise ValueError(
                f"{said}: start as many for the weights of an uninterrupted run, or set --other_processes"
            )
        logger.warning("%s: the weights will not be those of an uninterrupted run", said)


def check_place(name: str, folder: Path) -> None:
    """Make sure that a folder can be written, or made.

    Args:
        name: of the setting that names it.
        folder: which may be missing.

    Raises:
        ValueError: it, or what it would lie in, is no folder or cannot be written.
    """
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        what = "cannot be written" if place.is_dir() else "is no folder"
        raise ValueError(f"the {name} {folder} cannot be made: {place} {what}; give another")


@contextmanager
def _told(what: Path) -> Iterator[None]:
    """A sentence for what a full or broken disk makes the writers of weights raise."""
    try:
        yield
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{what} could not be written ({reason}); the last checkpoint stays") from error


def _damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint; empty if nothing is."""
    listed = read_manifest(checkpoint, CHECKPOINT_KIND) or {}
    for name, about in sorted(listed.items()):
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != about["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes and had {about['bytes']:,}"
        if _differs(path, about):
            return f"{name} has changed"
    return "" if PROGRESS in listed else f"{PROGRESS} is missing"


def _differs(path: Path, about: dict[str, Any]) -> bool:
    """Whether a file is missing, or not the one that a manifest describes."""
    if not path.is_file():
        return True
    return path.stat().st_size != about["bytes"] or digest(path) != about["sha256"]


def _discard(folder: Path) -> None:
    """Remove a folder; after a kill between, what is left of it has a leftover's name."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    os.replace(folder, aside)
    shutil.rmtree(aside)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object, None without one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
