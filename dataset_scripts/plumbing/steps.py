"""Steps of long work: what is finished, what it was made from, whether its files are still what they were.

A step's record is written after its files. A step without a record, made from something else, or with a file
that was cut off, changed or lost is done again; nothing is ever taken from a listing of a folder.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.manifest import digest


@dataclass(frozen=True)
class Steps:
    """The steps of one piece of work; picklable, so that worker processes finish steps too.

    Attributes:
        folder: the work's folder, below which all files of its steps lie.
        records: the folder of the records, relative to it.
    """

    folder: Path
    records: str

    def finished(self, step: str, made_from: str) -> dict[str, str] | None:
        """The files of a finished step, relative name -> SHA-256; None if it must be done (again).

        Args:
            step: its name, which may hold slashes.
            made_from: a digest of all that the step's result follows from.
        """
        try:
            record = json.loads(self._path(step).read_text(encoding="utf-8"))
            files = {str(name): str(value) for name, value in record["files"].items()}
            same = record["made_from"] == made_from
            return files if same and all(digest(self.folder / n) == v for n, v in files.items()) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # no record, or one that is none

    def finish(self, step: str, made_from: str, files: Iterable[Path]) -> dict[str, str]:
        """Record that a step's files are complete; returns them as `finished` does.

        Args:
            step, made_from: as of `finished`.
            files: those that the step has written, all below `folder`, flushed to the disk.
        """
        listed = {path.relative_to(self.folder).as_posix(): digest(path) for path in sorted(files)}
        with atomic_path(self._path(step)) as temporary:
            record = {"made_from": made_from, "files": listed}
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return listed

    def _path(self, step: str) -> Path:
        return self.folder / self.records / f"{step}.json"


def digest_of(*parts: object) -> str:
    """SHA-256 of values that have one `repr` each, such as strings, numbers and lists of these."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
