"""The one interface of the baselines, and the encoder that ranks any of them by its holistic features."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.building.provenance import known_data
from modeling_radir.inference import BATCH_VALUES
from radir_eval.fingerprint import code_digest
from radir_eval.rankers.encoder import Encoder
from radir_eval.retrieval_split import RetrievalSplit


class Baseline(ABC):
    """A published model with its own preprocessing; none of them takes a condition.

    Attributes:
        name: in results and on the command line.
        takes_volumes: whether it encodes CT volumes; else single images.
        choices: what the publication leaves open, and how it is settled here.
    """

    name: ClassVar[str]
    takes_volumes: ClassVar[bool] = False
    choices: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    @abstractmethod
    def check(cls, location: str | Path | None) -> None:
        """Find what can be found wrong with a location before anything is read or downloaded.

        Raises:
            ValueError: a package or file is missing; the sentence says what to install or download.
        """

    @classmethod
    @abstractmethod
    def digest(cls, location: str | Path | None) -> str:
        """What the weights, settings and tokenizer at a location are, as text; all may be downloaded for it.

        Raises:
            ValueError: as `load` does, where a file is missing.
        """

    @classmethod
    @abstractmethod
    def load(cls, location: str | Path | None = None, device: str | torch.device | None = None) -> "Baseline":
        """The model, ready for inference.

        Args:
            location: a file, a folder or a Hub id. None: as published.
            device: by default a GPU if there is one.

        Raises:
            ValueError: something is missing, or a checkpoint's keys do not fit; all of them are listed.
        """

    @abstractmethod
    def preprocess(self, image: Any) -> Tensor:
        """The model's own preprocessing of one image.

        Args:
            image: a PIL image, an array or a path; for models of CT a Volume or a path.

        Returns:
            (C, H, W) float32, or (1, D, H, W) of a volume.

        Raises:
            ValueError: the image cannot be read or is of the other kind.
        """

    @abstractmethod
    def encode_images(self, batch: Tensor) -> Tensor:
        """L2-normalised features (B, d) float32, on the CPU, of preprocessed images (B, ...)."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Tensor | None:
        """L2-normalised features (T, d) float32, on the CPU, beside those of images; None without a text
        tower."""


def best_device(device: str | torch.device | None) -> torch.device:
    """The device that was asked for, or else a GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def unit(features: Tensor) -> Tensor:
    """Rows of length 1, float32, on the CPU."""
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu()


class BaselineEmbeddings(Encoder):
    """A baseline as a ranker: its holistic features rank for every anatomy, as in the paper (section 5.1).

    Args:
        baseline: which.
        location: of its weights; None: as published.
        name: in results; by default the baseline's.
        batch_size: images, and report texts, at a time; fewer where volumes are large.
        device: by default a GPU if there is one.
        progress: show progress bars.

    Raises:
        ValueError: a package or file is missing.
    """

    def __init__(
        self,
        baseline: type[Baseline],
        location: str | Path | None = None,
        name: str | None = None,
        batch_size: int = 32,
        device: str | torch.device | None = None,
        progress: bool = True,
    ) -> None:
        baseline.check(location)
        self.baseline, self.location, self.name = baseline, location, name or baseline.name
        self.batch_size, self.device, self.progress = batch_size, device, progress

    def fingerprint(self) -> str:
        weights = self.baseline.digest(self.location)
        return f"{self.baseline.name} {weights}, code {code_digest('radir_eval.baselines', 'modeling_radir')}"

    def data(self) -> dict[str, Any] | None:
        where = self.location or getattr(self.baseline, "hub_id", None)
        return None if where is None else known_data(where)

    def load_model(self) -> Baseline:
        return self.baseline.load(self.location, self.device)

    def encode_images(
        self, model: Baseline, items: RetrievalSplit, positions: Iterable[int], conditions: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, None]]:
        batch: list[Tensor] = []
        for position in positions:
            one = model.preprocess(items.image(position))
            batch.append(one)
            if len(batch) == self.batch_size or (len(batch) + 1) * one.numel() > BATCH_VALUES:
                yield model.encode_images(torch.stack(batch)).numpy(), None
                batch.clear()
        if batch:
            yield model.encode_images(torch.stack(batch)).numpy(), None

    def encode_texts(self, model: Baseline, texts: Sequence[str]) -> np.ndarray | None:
        encoded = model.encode_texts(texts)
        return None if encoded is None else encoded.numpy()
