"""Public weights: where they lie, and every key accounted for before one is used."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from accelerate import init_empty_weights
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import Tensor, nn

from radir_eval.fingerprint import files_digest, model_digest

logger = logging.getLogger(__name__)

Shape: TypeAlias = tuple[int, ...]

_HUB = re.compile(r"(?P<kind>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<file>.+))?")


@dataclass(frozen=True)
class Published:
    """Where the authors published a checkpoint.

    Attributes:
        files: names that the file goes by, in the order of preference.
        repo: the Hub repository that holds it, with "datasets/" in front of one of data; "" for none.
        advice: what to download from where, as the end of a sentence.
    """

    files: tuple[str, ...]
    repo: str
    advice: str


def check_location(location: str | Path, published: Published) -> None:
    """Make sure that a location can be one, without the network and before anything is spent on it.

    Raises:
        ValueError: it is neither a file or folder here nor written like a Hub repository.
    """
    if not Path(location).exists() and not _HUB.fullmatch(str(location)):
        raise ValueError(f"there is no file or folder {location}: {published.advice}")


def locate(location: str | Path | None, published: Published) -> Path:
    """The checkpoint's file on this machine; it is downloaded where the location is on the Hub.

    Args:
        location: a file, a folder that holds one of the files, or a Hub repository: "user/name",
            "datasets/user/name", either with ":path/of/the/file" at the end. None: as published.
        published: what to look for.

    Raises:
        ValueError: there is none, or the Hub does not give it; the sentence says what to download.
    """
    if location is None:
        if not published.repo:
            raise ValueError(f"the weights are on no hub: {published.advice}")
        location = published.repo
    path = Path(location)
    if path.is_file():
        return path
    if path.is_dir():
        found = next((path / name for name in published.files if (path / name).is_file()), None)
        if found is None:
            raise ValueError(f"{path} holds none of {', '.join(published.files)}: {published.advice}")
        return found
    check_location(location, published)
    return _download(str(location), published)


def _download(location: str, published: Published) -> Path:
    parts = _HUB.fullmatch(location)
    assert parts is not None  # check_location saw to it
    names = [parts["file"]] if parts["file"] else list(published.files)
    reason: Exception | None = None
    for name in names:
        try:
            kind = "dataset" if parts["kind"] else "model"
            return Path(hf_hub_download(parts["repo"], name, repo_type=kind))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = error
    raise ValueError(
        f"{location} is no file or folder here, and the Hub did not give {' or '.join(names)} "
        f"({str(reason).splitlines()[0]}): {published.advice}"
    ) from reason


def digest_of(paths: Sequence[Path]) -> str:
    """What files are, as text, wherever they lie."""
    return ", ".join(f"{path.name} {files_digest([path], path.parent)}" for path in paths)


def folder_digest(location: str | Path | None, published: Published) -> str:
    """What a folder, or a Hub repository of which one file is published here, holds, as text.

    Raises:
        ValueError: as `locate` does.
    """
    path = locate(location, published)
    where = str(location or published.repo)
    if Path(where).is_dir():
        return str(model_digest(where))
    return f"{where} at {path.parent.name}"  # .../snapshots/COMMIT/config.json


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shape of each tensor, by key."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def without_weights() -> init_empty_weights:
    """A context in which modules get their true buffers but parameters without numbers, for `fill`."""
    return init_empty_weights(include_buffers=False)


def check_keys(
    shapes: Mapping[str, Shape],
    module: nn.Module,
    plan: Mapping[str, str],
    droppable: Mapping[str, str],
    source: Path | str,
) -> list[tuple[str, str]]:
    """Compare a checkpoint's keys and shapes with those that a module needs.

    Args:
        shapes: of all tensors of the checkpoint.
        module: what it is to fill.
        plan: the checkpoint's key of each of the module's: {theirs: ours}.
        droppable: patterns of keys that change no embedding, each with the reason.
        source: the checkpoint's name in the error.

    Returns:
        The keys that will be left out, each with the reason.

    Raises:
        ValueError: with all keys that are missing, extra or of another shape.
    """
    ours = shapes_of(module.state_dict())
    assert set(plan.values()) == set(ours), sorted(set(plan.values()) ^ set(ours))
    wanted = {theirs: ours[name] for theirs, name in plan.items()}
    dropped = [(key, _reason(key, droppable)) for key in shapes if key not in wanted]
    faults = {
        "missing": [f"{key} {shape}" for key, shape in wanted.items() if key not in shapes],
        "extra": [f"{key} {shapes[key]}" for key, reason in dropped if not reason],
        "of another shape": [
            f"{key} {shapes[key]} instead of {shape}"
            for key, shape in wanted.items()
            if shapes.get(key, shape) != shape
        ],
    }
    _raise(faults, source)
    return dropped


def _raise(faults: Mapping[str, Sequence[str]], source: Path | str) -> None:
    lists = [f"{kind} ({len(keys)}):\n  " + "\n  ".join(keys) for kind, keys in faults.items() if keys]
    if lists:
        raise ValueError(
            f"{source} does not hold this model's weights as far as its keys go: give the published file\n"
            + "\n".join(lists)
        )


def _reason(key: str, droppable: Mapping[str, str]) -> str:
    """Why a key may be left out; empty if it may not."""
    return next((why for pattern, why in droppable.items() if re.fullmatch(pattern, key)), "")


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    plan: Mapping[str, str],
    droppable: Mapping[str, str],
    source: Path | str,
) -> None:
    """Put a checkpoint's tensors, in float32, into a module that was made `without_weights`.

    The module is ready for inference afterwards. Arguments and errors are those of `check_keys`.
    """
    dropped = check_keys(shapes_of(tensors), module, plan, droppable, source)
    state = {}
    for theirs, ours in plan.items():
        value = tensors[theirs]
        state[ours] = value.float() if value.is_floating_point() else value
    module.load_state_dict(state, assign=True)
    module.requires_grad_(False).eval()
    logger.info("%s: %d tensors used, %d left out that change no embedding", source, len(plan), len(dropped))


def count_layers(keys: Sequence[str] | Mapping[str, object], prefix: str) -> int:
    """How many different numbers follow the prefix in the keys.

    Example:
        >>> count_layers(["layer.0.weight", "layer.0.bias", "layer.1.weight", "norm.0"], "layer.")
        2
    """
    return len({key[len(prefix) :].partition(".")[0] for key in keys if key.startswith(prefix)})


def dimension(shapes: Mapping[str, Shape], key: str, axis: int, source: Path | str) -> int:
    """The size of a tensor's axis, from which a model's size is read.

    Raises:
        ValueError: the checkpoint has no such tensor, or it has too few axes.
    """
    if len(shapes.get(key, ())) <= axis:
        raise ValueError(
            f"{source} has no tensor {key} that tells the model's size: give the published file; it holds "
            f"{', '.join(list(shapes)[:3])} ..."
        )
    return shapes[key][axis]
