"""The working folder of a build, `.NAME.building` beside the dataset's own; it outlives a kill.

plan.json      what is being built: the folder is ours by it, and it appears together with the folder
work/          what is needed until the end: texts in blocks, parts of tables, the records of finished steps
dataset/       the files of the dataset to be, and nothing else
switch.json    which dataset is about to get its name, written last

When all is there, `dataset/` is exchanged with what has the dataset's name, in one step, and the working
folder is renamed to a leftover and removed. Killed before the exchange, the same command resumes; killed
after it, the same command finds by switch.json that the dataset has its name, and removes the rest. The
dataset of before, which then lies in `dataset/`, is never looked at.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.building.layout import ENTITIES, FACTS, KIND
from dataset_scripts.plumbing.atomic import (
    atomic_path,
    remove,
    remove_leftovers,
    replace,
    sync,
    sync_folder,
)
from dataset_scripts.plumbing.manifest import (
    MANIFEST,
    check_replaceable,
    digest,
    files_below,
    write_manifest,
)
from dataset_scripts.plumbing.outputs import is_mount_point
from dataset_scripts.plumbing.steps import Steps

_PLAN, _SWITCH, _WORK, _DATASET, _STEPS = "plan.json", "switch.json", "work", "dataset", "steps"
_PLAN_FIELDS = {"source", "name", "version", "scorer", "ontology"}  # by which a plan.json is one of ours


@dataclass(frozen=True)
class WorkingFolder:
    """The places of a build in progress; picklable."""

    folder: Path

    @property
    def work(self) -> Path:
        """What is needed until the end."""
        return self.folder / _WORK

    @property
    def dataset(self) -> Path:
        """The dataset to be."""
        return self.folder / _DATASET

    @property
    def steps(self) -> Steps:
        """Which steps are finished."""
        return Steps(self.folder, f"{_WORK}/{_STEPS}")

    def in_dataset(self, files: Iterable[str]) -> list[str]:
        """Of a step's files those of the dataset, named from there."""
        prefix = f"{_DATASET}/"
        return [name.removeprefix(prefix) for name in files if name.startswith(prefix)]

    def keep_only(self, names: Iterable[str]) -> None:
        """Remove what an earlier try left in the dataset to be: all files but these, and empty folders."""
        kept = set(names)
        for name in files_below(self.dataset):
            if name not in kept:
                (self.dataset / name).unlink()
        for folder, _, _ in os.walk(self.dataset, topdown=False):
            if folder != str(self.dataset) and not os.listdir(folder):
                os.rmdir(folder)


def open_working_folder(folder: Path, plan: dict[str, Any]) -> WorkingFolder:
    """The working folder of an interrupted build of the same things, or a new one; for who holds the claim.

    Args:
        folder: its name.
        plan: all that decides the content; one of another plan is removed.

    Raises:
        ValueError: there is something else of this name, or the place cannot be written.
    """
    text = json.dumps(plan, indent=1, sort_keys=True, default=str)
    remove_leftovers(folder.parent, of=folder.name)
    if os.path.lexists(folder):
        _check_ours(folder)
        if (folder / _PLAN).read_text(encoding="utf-8") != text:
            remove(folder)
    if not folder.exists():
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / _PLAN).write_text(text, encoding="utf-8")
    working = WorkingFolder(folder)
    remove_leftovers(folder, recursive=True)
    working.work.mkdir(exist_ok=True)
    working.dataset.mkdir(exist_ok=True)
    return working


def check_output(out: Path) -> None:
    """Make sure, before any work, that a dataset can be put under a name.

    Args:
        out: the name, without links.

    Raises:
        ValueError: it is a mount point, something else than a dataset that this version built, or the folder
            above it cannot be written.
    """
    if is_mount_point(out):
        raise ValueError(
            f"{out} is a mount point, whose folder cannot be replaced in one step: give a folder inside it"
        )
    if not os.access(out.parent, os.W_OK):
        raise ValueError(
            f"{out.parent} cannot be written, where the build works beside {out.name}: make it writable, or "
            "give another output"
        )
    if (out / FACTS).is_file() and (out / ENTITIES).is_dir() and not (out / MANIFEST).exists():
        raise ValueError(
            f"{out} is not a built dataset that this version wrote: an earlier one did, without a list of "
            "its files. Remove it, or give another output"
        )
    check_replaceable(out, KIND, "a built dataset")


def switch(working: WorkingFolder, out: Path, names: Iterable[str], made_from: str) -> None:
    """Give a complete dataset its name, and remove the working folder.

    Args:
        working: its `dataset` is complete but for its manifest.
        out: the name.
        names: the files of the dataset.
        made_from: a digest of what the source held, for `is_switched`.

    Raises:
        ValueError: what has the name meanwhile may not be replaced.
    """
    write_manifest(working.dataset, KIND, names)
    sync(working.dataset)
    check_output(out)  # again: someone may have put files there
    with atomic_path(working.folder / _SWITCH) as path:
        about = {"manifest": digest(working.dataset / MANIFEST), "made_from": made_from}
        path.write_text(json.dumps(about) + "\n", encoding="utf-8")
    replace(working.dataset, out)
    sync_folder(working.folder)
    remove(working.folder)


def switched_from(working: WorkingFolder, out: Path) -> str | None:
    """What the dataset was made from if it already has its name, and only the working folder is left."""
    try:
        about = json.loads((working.folder / _SWITCH).read_text(encoding="utf-8"))
        has_name = about["manifest"] == digest(out / MANIFEST)
        return str(about["made_from"]) if has_name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reopen(working: WorkingFolder) -> None:
    """Forget that a build was about to end: its files are looked at again."""
    for path in (working.folder / _SWITCH, working.dataset / MANIFEST):
        path.unlink(missing_ok=True)


def _check_ours(folder: Path) -> None:
    try:
        plan = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
        ours = isinstance(plan, dict) and plan.keys() >= _PLAN_FIELDS
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise ValueError(
            f"{folder}, where the build would work, is not the working folder of a build (it has no "
            f"{_PLAN} of one): move it away, or give another output"
        )
