"""Baselines whose weights are one published file, with a tokenizer beside it or on the Hub."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoTokenizer

from modeling_radir.conversion.checkpoint_files import read_tensors
from radir_eval.baselines.base import Baseline, best_device
from radir_eval.baselines.bert import files_beside, load_tokenizer
from radir_eval.baselines.weights import (
    Published,
    check_location,
    digest_of,
    fill,
    locate,
    shapes_of,
    without_weights,
)


class FileBaseline(Baseline):
    """A model read from one file, and its tokenizer.

    Attributes:
        published: where the file is had.
        network: makes an empty model of the tensors' shapes, by key, and the file's name in errors; the model
            has `text_config`, that of its BERT.
        hub_tokenizer: Hub id of the tokenizer that the authors used.
        tokenizer_kind: the class to load it with.
        context: most tokens of a text.
    """

    published: ClassVar[Published]
    network: ClassVar[Callable[..., Any]]
    hub_tokenizer: ClassVar[str]
    tokenizer_kind: ClassVar[Any] = AutoTokenizer
    context: ClassVar[int]

    def __init__(self, model: Any, tokenizer: Any, device: str | torch.device | None = None) -> None:
        self.device = best_device(device)
        self.model, self.tokenizer = model.to(self.device), tokenizer
        self.max_length = min(self.context, model.text_config.max_position_embeddings)

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is not None:
            check_location(location, cls.published)

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        path = locate(location, cls.published)
        return digest_of([path, *files_beside(path.parent)])

    @classmethod
    def load(cls, location: str | Path | None = None, device: str | torch.device | None = None) -> Any:
        path = locate(location, cls.published)
        model = cls.model_of(cls.read(path), path)
        vocabulary = model.text_config.vocab_size
        tokenizer = load_tokenizer(path.parent, cls.hub_tokenizer, vocabulary, cls.tokenizer_kind)
        return cls(model, tokenizer, device)

    @staticmethod
    def read(path: Path) -> dict[str, Tensor]:
        """The tensors of a file, by key."""
        return read_tensors(path)

    @classmethod
    def model_of(cls, tensors: Mapping[str, Tensor], source: Path | str, **choices: Any) -> Any:
        """The model with a checkpoint's tensors.

        Args:
            tensors: of the checkpoint, by key.
            source: the checkpoint's name in errors.
            choices: what no shape tells, as `network` takes it.

        Raises:
            ValueError: the keys do not fit.
        """
        with without_weights():
            model = cls.network(shapes_of(tensors), source, **choices)
        fill(model, tensors, cls.key_plan(model), cls.droppable(model), source)
        return model

    @staticmethod
    def key_plan(model: Any) -> dict[str, str]:
        """The checkpoint's key of each of the model's, {theirs: ours}: the same."""
        return {key: key for key in model.state_dict()}

    @staticmethod
    @abstractmethod
    def droppable(model: Any) -> Mapping[str, str]:
        """Patterns of keys that change no embedding, each with the reason."""
