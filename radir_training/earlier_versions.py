"""What earlier versions left in a run's folder, so that it is known for theirs."""

import hashlib
import json
import re
from pathlib import Path

from dataset_scripts.building.layout import CARD

# What they did, of the settings that they did not have.
DEFAULTS = {
    "relevance": "paper",
    "vision_levels": [],
    "vision_learning_rate": 0.0,
    "text_learning_rate": 0.0,
}
_PROGRESS = {"stage", "step", "settings", "history"}
_FILES = re.compile(
    r"progress\.json|model(_\d+)?\.safetensors|optimizer\.bin|scaler\.pt|random_states_\d+\.pkl"
)


def checkpoint_files(folder: Path) -> set[str]:
    """The files of a checkpoint that lies in checkpoint/ itself; none where a folder is no such."""
    try:
        about = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    if not isinstance(about, dict) or not about.keys() >= _PROGRESS:
        return set()
    return {path.name for path in folder.iterdir() if path.is_file() and _FILES.fullmatch(path.name)}


def dataset_digest(folder: Path) -> str:
    """What they called the digest of a built dataset: its card's."""
    path = folder / CARD
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
