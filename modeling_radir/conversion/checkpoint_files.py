"""Checkpoint files as tensors by key, and as nothing but tensors."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_WRAPPERS = ("state_dict", "model")  # names under which training scripts put a state dict
_DAMAGE = (
    *(RuntimeError, pickle.UnpicklingError, SafetensorError, EOFError, LookupError, ValueError, TypeError),
    *(AttributeError, ImportError),
)


def read_tensors(
    path: Path, advice: str = "download it again, or save its state dict alone"
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, mapped into memory; nothing but tensors is unpickled.

    A state dict under "state_dict" or "model" is taken out, and the "module." of data-parallel training
    is taken off all keys.

    Args:
        path: a .safetensors file, or one that torch saved.
        advice: what to do where it cannot be read, as the end of a sentence.

    Raises:
        ValueError: the file cannot be read, or is no state dict.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except _DAMAGE as error:
        raise ValueError(f"{path} cannot be read as tensors ({_reason(error)}): {advice}") from error
    return state_dict_in(state, path)


def _reason(error: Exception) -> str:
    """Why a file is none of tensors; torch's own words advise to run what it holds."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is no pickle, or one of more than tensors, which is never run"
    words = str(error).strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _unpickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)  # written by a torch before 1.6


def state_dict_in(state: object, source: Path | str) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds, as `read_tensors` says.

    Raises:
        ValueError: there is none.
    """
    for name in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"{source} holds no state dict: a mapping of names to tensors is needed")
    strange = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(f"{source} holds values that are no tensors, under {', '.join(strange[:10])}")
    if nameless := [repr(key) for key in state if not isinstance(key, str)]:
        raise ValueError(f"{source} holds tensors under {', '.join(nameless[:10])}: names are needed")
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)
