"""The folder of an evaluation: who writes it, which names in it are ours, and what may be replaced."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataset_scripts.plumbing.atomic import remove_leftovers
from dataset_scripts.plumbing.manifest import MANIFEST, read_manifest, write_manifest
from dataset_scripts.plumbing.outputs import claim

KIND = "radir-evaluation"  # of its manifest
CACHE, TASKS = ".cache", ".tasks"
RESULTS, TABLES, PER_QUERY, EXAMPLES = "results.json", "tables.md", "per_query.parquet", "examples.json"
LATEX, HEAT_MAPS, REPORT = "tables.tex", "heat_maps.json", "report.html"
FILES = (RESULTS, TABLES, LATEX, PER_QUERY, EXAMPLES, HEAT_MAPS, REPORT)


@contextmanager
def evaluation_folder(out: Path) -> Iterator[Path]:
    """Hold the folder of an evaluation for this process; what killed ones left in it is removed.

    Args:
        out: the folder; made by who writes into it.

    Yields:
        The folder, without links.

    Raises:
        ValueError: it is a file, another process holds it, it cannot be written, or a file of one of our
            names is none of an evaluation.
    """
    with claim(out) as folder:
        _check(folder)
        remove_leftovers(folder)
        for name in (CACHE, TASKS):
            remove_leftovers(folder / name, recursive=True)
        yield folder


def mark(folder: Path) -> None:
    """Say that a folder is an evaluation's, before the first file is written; afterwards, which it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, KIND, [name for name in FILES if (folder / name).is_file()])


def private(folder: Path) -> Path:
    """Make a folder for what tells of patients, which others on the machine shall not read."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    return folder


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder for the results")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written: give another folder, or make it writable")
    if read_manifest(folder, KIND) is not None:
        return
    found = [name for name in (*FILES, MANIFEST) if os.path.lexists(folder / name)]
    if found and (MANIFEST in found or not _is_earlier(folder)):
        raise ValueError(
            f"{folder} holds {', '.join(found[:3])}, which `radir evaluate` would replace and has not "
            "written: give another folder, or move them away"
        )


def _is_earlier(folder: Path) -> bool:
    """Whether it is the evaluation of an earlier version, without a manifest."""
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return isinstance(results, dict) and {"protocol", "models"} <= results.keys()
    except (OSError, ValueError):
        return False
