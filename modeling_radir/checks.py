"""What several modules check: values of configurations, names, loaded weights, and optional libraries."""

import difflib
import importlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers.utils import logging

logger = logging.get_logger(__name__)


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless the value is a whole number above 0.

    Args:
        name: how the user wrote the setting: "vision_config.patch_size".
        value: what was given.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is {value!r}; a whole number above 0 is needed")


def check_weights(model: nn.Module, what: object = "the model") -> None:
    """Make sure that all weights of a model are finite numbers.

    Args:
        model: on any device.
        what: how the sentence calls it, such as its folder.

    Raises:
        ValueError: one is NaN or infinite; its name is given.
    """
    for name, value in model.state_dict().items():
        if value.is_meta or not value.is_floating_point():
            continue
        if not torch.isfinite(value).all():
            raise ValueError(
                f"{what} has weights that are no finite numbers ({name}), so all that it gives would be "
                "nonsense: train it again with a lower learning rate, or get the file anew"
            )


def check_loading(info: dict[str, Any], what: object, mismatched: bool = False) -> None:
    """Make sure that a model got all its weights from its file.

    Args:
        info: of `from_pretrained(..., output_loading_info=True)`.
        what: how the sentence calls the model.
        mismatched: weights of another shape are wanted.

    Raises:
        ValueError: weights are missing in the file, or have another shape there, and would start at random.
    """
    said = {"missing_keys": "are missing in it", "mismatched_keys": "have another shape in it"}
    for key in list(said)[: 1 if mismatched else 2]:
        found = sorted(entry if isinstance(entry, str) else entry[0] for entry in info.get(key) or ())
        if found:
            raise ValueError(
                f"{what} does not hold the model that its configuration describes: {len(found)} weights "
                f"{said[key]} ({', '.join(found[:3])}) and would start at random; get or save its files again"
            )


def load_checked(kind: Any, where: str | os.PathLike[str] | None, *more: Any, **arguments: Any) -> Any:
    """A model as its file has it: complete, of finite numbers, and in memory of its own.

    Args:
        kind: what has `from_pretrained`: a model class, or AutoModel.
        where: a folder or Hub id.
        more, arguments: of `from_pretrained`.

    Returns:
        What `from_pretrained` returns.

    Raises:
        ValueError: the file is damaged, lacks weights, or holds some that are no finite numbers.
    """
    wants_info = arguments.pop("output_loading_info", False)
    mismatched = arguments.pop("ignore_mismatched_sizes", False)
    _check_configuration(where)
    try:
        with _without_report():  # all that it tells is checked here
            model, info = kind.from_pretrained(
                where, *more, **arguments, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except SafetensorError as error:
        raise ValueError(
            f"the weights in {where} cannot be read ({error}): get or save them again"
        ) from error
    except OSError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"the model {where} cannot be loaded: {reason}") from error
    check_loading(info, where, mismatched)
    check_weights(model, where)
    _own_memory(model)
    if info["unexpected_keys"]:
        names = sorted(info["unexpected_keys"])
        logger.info("%s holds %d weights that are not used (%s)", where, len(names), ", ".join(names[:3]))
    return (model, info) if wants_info else model


def _check_configuration(where: object) -> None:
    """Raise ValueError for a folder whose config.json is no JSON object."""
    path = Path(str(where)) / "config.json"
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): get or save the model again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a model's configuration")


@contextmanager
def _without_report() -> Iterator[None]:
    """Hold back transformers' table of missing and unexpected weights."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _own_memory(model: nn.Module) -> None:
    """Copy weights that lie in the mapped file, at whatever address, into memory that is aligned.

    Kernels sum up in another order for another alignment, so a model would not give the features, to the last
    bit, that it gave before it was saved; and it would change with its file.
    """
    for value in [*model.parameters(), *model.buffers()]:
        if not value.is_meta:
            value.data = value.data.clone()


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them.

    Args:
        kind: what is named, in the singular: "anatomy".
        name: what was asked for.
        known: the names that would have been understood.

    Example:
        >>> print(unknown_name("anatomy", "left plura", ["left pleura", "heart"]))
        unknown anatomy 'left plura'; the nearest known: 'left pleura'
    """
    names = {str(each).lower(): str(each) for each in known}
    if not names:
        return ValueError(f"unknown {kind} {name!r}: no {kind} is known here")
    near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
    if near:
        return ValueError(
            f"unknown {kind} {name!r}; the nearest known: " + ", ".join(repr(names[n]) for n in near)
        )
    first = ", ".join(repr(each) for each in list(names.values())[:5])
    return ValueError(
        f"unknown {kind} {name!r}: none of the {len(names)} known is like it (they begin {first})"
    )


def library(name: str, purpose: str) -> Any:
    """Import a library that may be missing.

    Args:
        name: of the module: "pydicom", "pydicom.pixels".
        purpose: what needs it, as the subject of a sentence: "reading DICOM files".

    Raises:
        ImportError: if it is not installed, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: pip install {package}") from error
