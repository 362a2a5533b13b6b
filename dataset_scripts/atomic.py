"""Files and folders that are written whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` to write to; rename it onto ``path`` when the block succeeds.

    The block may create a file or a folder under the temporary name. An existing file is replaced in one
    step; an existing folder is moved aside first and deleted once the new one stands in its place. When the
    block raises, the temporary is removed and ``path`` is as it was.

    Args:
        path: where the result goes; missing parent folders are made.

    Raises:
        ValueError: the block ended without writing anything to the temporary name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, so that the rename stays inside one file system; the suffix stays, since writers look at it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise ValueError(f"Nothing was written for {path}: write to the path that atomic_path yields")
        replace(temporary, path)
    finally:
        _remove(temporary)


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` onto ``target``; a folder in the way comes back if the rename fails.

    Args:
        source: a file or folder, complete.
        target: its name to be, on the same file system; what is there is deleted at the end.
    """
    if not target.is_dir() or target.is_symlink():
        os.replace(source, target)
        return
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.old")
    os.replace(target, aside)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(aside, target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
