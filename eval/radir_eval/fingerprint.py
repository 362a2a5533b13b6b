"""What decides a result, as text: digests of models and of code, by which results on disk are found again."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

# Written after the training, about the model: they change no vector.
_ABOUT = ("README.md", "training.json", "results.json")


def files_digest(files: Iterable[Path], root: Path) -> str:
    """SHA-256 of the names (below a root) and the content of files, whatever their order."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def code_digest(*rooms: str) -> str:
    """SHA-256 of the Python files of some packages ("modeling_radir", ...) and of those inside them."""
    digest = hashlib.sha256()
    for room in rooms:
        folder = Path(str(import_module(room).__file__)).parent
        digest.update(f"{room} {files_digest(folder.rglob('*.py'), folder)}\n".encode())
    return digest.hexdigest()


def model_digest(location: str | Path, hub_files: Sequence[str] = ("config.json",)) -> str | None:
    """What a model's weights, settings and processor are, as text.

    Args:
        location: a checkpoint file, a model folder (all of its own files count but those about the model;
            folders in it, such as a training's checkpoint, do not), or a Hub id that was loaded before.
        hub_files: files of which a loaded Hub repository has one.

    Returns:
        The SHA-256 of the files, or the commit of the Hub repository; None if it cannot be told.
    """
    path = Path(location)
    if path.is_file():
        return files_digest([path], path.parent)
    if path.is_dir():
        own = (file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return files_digest((file for file in own if file.name not in _ABOUT), path)
    for name in hub_files:
        try:
            found = try_to_load_from_cache(str(location), name)
        except HFValidationError:
            return None
        if isinstance(found, str):
            return f"{location} at {Path(found).parent.name}"  # .../snapshots/COMMIT/config.json
    return None
