"""Baselines whose weights are one published file, with a tokenizer beside it or on the Hub."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from radir_eval.baselines.base import Baseline, best_device
from radir_eval.baselines.bert import files_beside
from radir_eval.baselines.weights import Published, check_location, digest_of, locate


class FileBaseline(Baseline):
    """A model read from one file, and its tokenizer.

    Attributes:
        published: where the file is had.
    """

    published: ClassVar[Published]

    def __init__(self, model: Any, tokenizer: Any, device: str | torch.device | None = None) -> None:
        self.device = best_device(device)
        self.model, self.tokenizer = model.to(self.device), tokenizer

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is not None:
            check_location(location, cls.published)

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        path = locate(location, cls.published)
        return digest_of([path, *files_beside(path.parent)])
