"""manifest.json: which files of an output are ours, so that nothing else is replaced or published."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataset_scripts.plumbing.atomic import atomic_path, is_leftover

MANIFEST = "manifest.json"
_VERSION = 1


def write_manifest(folder: Path, kind: str, names: Iterable[str] | None = None) -> None:
    """List a folder's files with their sizes and SHA-256 in its manifest.json.

    Args:
        folder: complete but for the manifest.
        kind: what the folder is, such as "radir-dataset"; another kind is never taken for it.
        names: of the files, relative to the folder; all below it by default.
    """
    listed = sorted(names if names is not None else files_below(folder))
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)} for name in listed
    }
    about = {"format": kind, "version": _VERSION, "files": files}
    with atomic_path(folder / MANIFEST) as path:
        path.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str) -> dict[str, dict[str, Any]] | None:
    """The files that a folder's manifest lists: name -> bytes and sha256; None without one of this kind."""
    try:
        about = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if about["format"] != kind:
            return None
        return {str(name): dict(entry) for name, entry in about["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_replaceable(folder: Path, kind: str, what: str) -> None:
    """Make sure that a folder may be replaced as a whole: it is missing, empty, or holds our files alone.

    Args:
        folder: the output to be.
        kind: of its manifest.
        what: how the sentence calls it, such as "a built dataset".

    Raises:
        ValueError: it is something else, or holds files that its manifest does not list.
    """
    if not folder.exists():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    listed = read_manifest(folder, kind) if folder.is_dir() else None
    if listed is None:
        raise ValueError(
            f"{folder} exists and is not {what} that this version wrote: give another output, or remove it"
        )
    foreign = sorted(set(files_below(folder)) - set(listed) - {MANIFEST})
    if foreign:
        raise ValueError(
            f"{folder} holds {len(foreign)} files beside those of {what} ({', '.join(foreign[:3])}), which "
            "replacing it would delete: move them away, or give another output"
        )


def files_below(folder: Path) -> list[str]:
    """The files and links below a folder as relative names, but for what killed writers left."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found if not is_leftover(path))


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
