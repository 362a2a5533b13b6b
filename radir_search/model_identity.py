"""Which model made an index: digests of the content of its files, wherever they lie."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from dataset_scripts.plumbing.manifest import digest
from modeling_radir.inference import check_model, load
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.processing_radir import RadIRProcessor

_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")
_CONFIG = "config.json"
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")
# What a copy may say otherwise, or a later save, and what decides no feature: names, versions, code.
_UNIMPORTANT = ("_name_or_path", "_commit_hash", "transformers_version", "auto_map", "architectures")


def model_digests(model: str | Path, commit: str | None = None) -> dict[str, str]:
    """What decides the features of images: "weights", "configuration" and "preprocessing" -> SHA-256.

    Args:
        model: a model folder, or a Hub id that was loaded before.
        commit: of the Hub repository; by default what its main branch is now.

    Raises:
        ValueError: a file is missing or cannot be read.
    """
    folder = _folder(str(model), commit)
    try:
        weights = sorted(path for path in folder.iterdir() if _WEIGHTS.fullmatch(path.name))
        found = {
            "weights": [(path.name, digest(path)) for path in weights],
            "configuration": _settings(folder / _CONFIG),
            "preprocessing": [_settings(folder / name) for name in _PROCESSORS],
        }
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read ({error.strerror})") from error
    if not weights:
        raise ValueError(f"{folder} holds no weights (model.safetensors): save the model again")
    return {part: hashlib.sha256(json.dumps(what).encode()).hexdigest() for part, what in found.items()}


def load_known(model: str) -> tuple[RadIRModel, RadIRProcessor, dict[str, str]]:
    """A model, its processor, and the digests of the files that they come from.

    Raises:
        ValueError: as `inference.load` and `model_digests`.
    """
    check_model(model)
    # Of a folder before it is read, as its files may be replaced meanwhile; those of a Hub commit never are.
    digests = model_digests(model) if Path(model).is_dir() else {}
    loaded, processor = load(model)
    return loaded, processor, digests or model_digests(model, commit_of(loaded))


def commit_of(model: RadIRModel) -> str | None:
    """The commit of the Hub repository that a model was loaded from, whose main branch may move on."""
    return getattr(model.config, "_commit_hash", None)


def check_same_model(made_by: Mapping[str, str], found: Mapping[str, str], index: str, model: str) -> None:
    """Make sure that a model may ask an index.

    Args:
        made_by: digests of the model that made it.
        found: digests of the model that asks.
        index, model: what the sentence calls them.

    Raises:
        ValueError: they differ; features of one say nothing about those of the other.
    """
    differ = [part for part in found if found[part] != made_by.get(part)]
    if differ:
        raise ValueError(
            f"{model} is not the model that made {index}: other {' and '.join(differ)}; its features "
            "cannot be compared with those in the index: build the index again with this model, or give "
            "--model with the one that made it"
        )


def _folder(model: str, commit: str | None) -> Path:
    if Path(model).is_dir():
        return Path(model)
    try:
        found = cached_file(model, _CONFIG, revision=commit)
    except (OSError, ValueError) as error:
        raise ValueError(f"{model} is neither a model folder nor on the Hub: {error}") from error
    assert found is not None, "raises where the file is missing"
    return Path(found).parent


def _settings(path: Path) -> Any:
    """The content of a JSON file without what decides nothing; None without the file."""
    if not path.is_file():
        return None
    try:
        return _important(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}): save the model again") from error


def _important(value: Any) -> Any:
    if isinstance(value, dict):
        return [[key, _important(value[key])] for key in sorted(value) if key not in _UNIMPORTANT]
    return [_important(item) for item in value] if isinstance(value, list) else value
