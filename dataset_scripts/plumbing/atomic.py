"""Files and folders that are written whole or not at all, and stay so when the machine stops."""

import ctypes
import errno
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# `.{stem}.{hex}.partial{suffix}` is being written; `.{name}.{hex}.old` is moved aside to make room for it.
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{12}\.partial(\.[^.]*)?")
_OLD = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.old")
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` to write to; rename it onto ``path`` when the block succeeds.

    The block may create a file or a folder under the temporary name. It is flushed (fsync of every file,
    then of the folders) before the rename, and the rename before this returns. What is there already is
    replaced in one step, see `replace`. When the block raises, the temporary is removed and ``path`` is as it
    was; what a killed process leaves, `remove_leftovers` removes.

    Args:
        path: where the result goes; missing parent folders are made.

    Raises:
        ValueError: the block ended without writing anything to the temporary name, or the disk refused.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, so that the rename stays inside one file system; the suffix stays, since writers look at it.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    try:
        yield temporary
        if not temporary.exists():
            raise ValueError(f"Nothing was written for {path}: write to the path that atomic_path yields")
        if path.is_dir() and not temporary.is_dir():
            raise ValueError(f"{path} is a folder, and a file should take its name: give another output")
        sync(temporary)
        replace(temporary, path)
    except OSError as error:
        if error.filename is not None and str(temporary) not in str(error.filename):
            raise  # of another file, which the block has read
        reason = error.strerror or error
        raise ValueError(f"{path} could not be written ({reason}); nothing has changed there") from error
    finally:
        _remove(temporary)


def replace(source: Path, target: Path) -> None:
    """Rename ``source`` onto ``target`` and flush the rename to the disk.

    A folder in the way is exchanged with the new one in one step, so that its name is never gone, where the
    file system can do that; elsewhere it is moved aside first, and `remove_leftovers` puts it back after a
    kill between.

    Args:
        source: a file or folder, complete.
        target: its name to be, on the same file system; what is there is deleted at the end.
    """
    if not target.is_dir() or target.is_symlink():
        os.replace(source, target)
        sync_folder(target.parent)
    elif exchange(source, target):
        sync_folder(target.parent)
        _remove(source)  # which is the old folder now
    else:
        aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.old")
        os.replace(target, aside)
        try:
            os.replace(source, target)
        except OSError:
            os.replace(aside, target)
            raise
        sync_folder(target.parent)
        _remove(aside)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step; False where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        done = libc.renamex_np(*names, _EXCHANGE)
    elif hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD
        done = libc.renameat2(here, names[0], here, names[1], _EXCHANGE)
    else:
        return False
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync(path: Path) -> None:
    """Flush a file, or every file and folder below a folder, to the disk."""
    if not path.is_dir():
        _fsync(path)
        return
    for folder, _, files in os.walk(path):
        for name in files:
            if not os.path.islink(os.path.join(folder, name)):
                _fsync(os.path.join(folder, name))
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk: what was renamed or removed in it stays so."""
    if os.name == "posix":  # elsewhere folders cannot be opened
        _fsync(folder)


def remove_leftovers(folder: Path, of: str | None = None, recursive: bool = False) -> None:
    """Remove what killed writers left in a folder; a folder that was moved aside and not replaced comes back.

    Only for who holds the lock of what is written there (`outputs.claim`): another's temporaries look alike.

    Args:
        folder: where to look; it may be missing.
        of: the name of one file or folder whose leftovers are meant; those of all by default.
        recursive: look into folders below as well.
    """
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if (found := _OLD.fullmatch(entry.name)) and of in (None, found["name"]):
            target = folder / found["name"]
            _remove(entry) if os.path.lexists(target) else os.replace(entry, target)
        elif _PARTIAL.fullmatch(entry.name) and (of is None or _is_partial_of(entry.name, Path(of))):
            _remove(entry)
        elif recursive and entry.is_dir() and not entry.is_symlink():
            remove_leftovers(entry, recursive=True)


def remove(path: Path) -> None:
    """Remove a file or folder; a kill leaves it whole, or as what `remove_leftovers` removes."""
    if not os.path.lexists(path):
        return
    aside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    os.replace(path, aside)
    sync_folder(path.parent)
    _remove(aside)


def is_leftover(path: Path) -> bool:
    """Whether a path is what a killed writer leaves, by its name."""
    return bool(_PARTIAL.fullmatch(path.name) or _OLD.fullmatch(path.name))


def _is_partial_of(name: str, path: Path) -> bool:
    """Whether a leftover is that of one path, not of another whose name begins alike."""
    prefix, suffix = re.escape(f".{path.stem}."), re.escape(path.suffix)
    return bool(re.fullmatch(rf"{prefix}[0-9a-f]{{12}}\.partial{suffix}", name))


def _fsync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
