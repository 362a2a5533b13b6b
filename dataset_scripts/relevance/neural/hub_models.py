"""The models behind the ``ratescore`` scorer: found, checked, identified, and run in batches by length."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoTokenizer

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_IDENTIFYING = (".json", ".safetensors", ".model", ".txt")  # configuration, weights, vocabulary
_WINDOW = 16_384  # texts tokenized at a time
_TOKENS_PER_TEXT = 64  # of a text as long as most; longer ones make smaller batches


@dataclass(frozen=True)
class ModelFiles:
    """Where a model is, and what tells it from every other.

    Attributes:
        name: a folder, or the Hub's id.
        revision: the commit on the Hub; None for a folder.
        identity: {"id", "revision"} of the Hub, or {"sha256"} over a folder's files; no path.
    """

    name: str
    revision: str | None
    identity: dict[str, str]

    @classmethod
    def find(cls, name: str | Path, revision: str | None = None) -> "ModelFiles":
        """Find a model by folder or Hub id.

        Args:
            name: a folder with config.json, weights and tokenizer, or an id on the Hugging Face Hub.
            revision: a branch, tag or commit of the Hub; its commit is looked up and used from then on.

        Raises:
            ValueError: there is no such folder or model, or the Hub cannot be reached and has not been asked
                before.
        """
        folder = Path(name)
        if folder.is_dir():
            if revision is not None:
                raise ValueError(
                    f"{name} is a folder and has no revision {revision!r}: leave the revision out"
                )
            return cls(str(folder), None, {"sha256": _folder_digest(folder)})
        if isinstance(name, Path) or not _HUB_ID.fullmatch(name):
            raise ValueError(f"There is no model folder {name}: give a folder with config.json, or a Hub id")
        try:
            config = hf_hub_download(str(name), "config.json", revision=revision)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name} is neither a folder here nor a model that the Hub gives out now "
                f"({type(error).__name__}: {_first_line(error)}): check the name, the network and "
                "HF_HUB_OFFLINE, or give a folder with the model"
            ) from error
        commit = Path(config).parent.name  # .../snapshots/COMMIT/config.json
        return cls(str(name), commit, {"id": str(name), "revision": commit})

    def load(self, auto_class: Any, **options: Any) -> Any:
        """Load a part of the model with one of transformers' Auto classes, without any code of its own.

        Raises:
            ValueError: the part is missing or broken.
        """
        try:
            return auto_class.from_pretrained(
                self.name,
                revision=self.revision or "main",
                local_files_only=self.revision is None,
                trust_remote_code=False,
                **options,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            raise ValueError(
                f"{self.name} does not load with {auto_class.__name__} ({_first_line(error)}): it must hold "
                "config.json, a tokenizer, and weights as safetensors; .bin weights are pickles and are not "
                "read, convert them with save_pretrained"
            ) from error

    def load_config(self) -> Any:
        """Load config.json."""
        return self.load(AutoConfig)


def _folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's configuration, weights and vocabulary."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a model folder: it has no config.json; save_pretrained writes one")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _IDENTIFYING:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def pick_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for; by default a CUDA GPU if there is one, else the CPU.

    Raises:
        ValueError: there is no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"Device {device!r} cannot be used ({_first_line(error)}): try 'cpu'") from error
    return found


class BatchedModel:
    """A model and its tokenizer, run over many texts: sorted by length, padded to the longest of a batch.

    Args:
        files: the model.
        auto_class: the transformers Auto class that makes it.
        device: where to run it.
        batch_size: texts of up to 64 tokens in a batch; of longer ones proportionally fewer.
        max_length: longer texts are truncated to this many tokens.
    """

    def __init__(
        self, files: ModelFiles, auto_class: Any, device: torch.device, batch_size: int, max_length: int
    ) -> None:
        self._files = files
        self.tokenizer = files.load(AutoTokenizer)
        if self.tokenizer.pad_token_id is None:
            raise ValueError(f"The tokenizer of {files.name} has no padding token: give one with the model")
        model = files.load(auto_class, use_safetensors=True, dtype=torch.float32)
        self._model = model.eval().to(device)
        self._device = device
        self._budget = batch_size * _TOKENS_PER_TEXT
        self._max_length = max_length
        self._padding = {
            "input_ids": self.tokenizer.pad_token_id,
            "token_type_ids": self.tokenizer.pad_token_type_id,
            "attention_mask": 0,
        }

    @property
    def width(self) -> int:
        """The length of the model's hidden states."""
        return self._model.config.hidden_size

    def run(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]], Any]]:
        """Yield batch by batch the positions in ``texts``, their token ids unpadded, and the output."""
        for first in range(0, len(texts), _WINDOW):
            encoded = self._encode(texts[first : first + _WINDOW])
            ids = encoded["input_ids"]
            for rows in batches_by_length([len(row) for row in ids], self._budget):
                inputs = self._padded(encoded, rows)
                with torch.inference_mode():
                    output = self._model(**inputs)
                yield [first + row for row in rows], [ids[row] for row in rows], output

    def _encode(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        return self.tokenizer(list(texts), truncation=True, max_length=self._max_length)

    def _padded(self, encoded: dict[str, list[list[int]]], rows: list[int]) -> dict[str, torch.Tensor]:
        """Stack some texts, padded on the right: (B, L) int64 of each input."""
        lengths = [len(encoded["input_ids"][row]) for row in rows]
        width = max(lengths)
        return {
            key: torch.tensor(
                [
                    values[row] + [self._padding[key]] * (width - length)
                    for row, length in zip(rows, lengths, strict=True)
                ],
                device=self._device,
            )
            for key, values in encoded.items()
        }

    def not_finite(self, what: str) -> ValueError:
        """Return the error for an output with NaN or infinite values."""
        return ValueError(
            f"{self._files.name} gave {what} that are not finite: its weights are broken or do not fit its "
            "config.json; load it again or use another model"
        )


def batches_by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield positions in batches, the longest first, so that too large a batch fails at once.

    Args:
        lengths: of each text, in tokens.
        budget: padded tokens in a batch at most; a longer text is a batch of its own.

    Example:
        >>> list(batches_by_length([2, 5, 2, 1], 6))
        [[1], [0, 2, 3]]
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
