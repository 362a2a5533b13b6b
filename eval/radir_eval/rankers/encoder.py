"""Sources that encode: images and report texts become vectors batch by batch, in memory or on disk.

An `Encoder` says how to load its model and what decides its vectors; `encode` asks it for what is not there
yet, so that vectors that are kept (see `radir_eval.rankers.vector_cache`) resume an interrupted run.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from radir_eval.rankers.vectors import ArrayRanking, Ranker
from radir_eval.retrieval_split import WHOLE, RetrievalSplit

HOLISTIC, CONDITIONAL, TEXTS = "holistic", "conditional", "texts"  # the arrays that `encode` fills


class Encoding(ABC):
    """A loaded model at work on the items of one split.

    Attributes:
        conditions: names of the Q anatomies under which it embeds; () of a model without conditions.
    """

    conditions: tuple[str, ...] = ()

    @abstractmethod
    def images(self, start: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Vectors of the images from a position on, each image read and encoded once.

        Args:
            start: the first position; 0, or where an earlier batch ended, so that the batches are the same.

        Yields:
            (B, d) float32 holistic, finite, and (Q, B, d') float32, None without conditions.
        """

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Vectors (B, d) float32, finite, of texts, batch by batch; nothing at all without a text tower."""


class Encoder(Ranker):
    """A source that ranks by the vectors that it encodes; those of equal fingerprints are equal."""

    @abstractmethod
    def fingerprint(self) -> str | None:
        """All that decides the vectors: weights, settings, processor, code; None if it cannot be told."""

    @abstractmethod
    def encoding(self, items: RetrievalSplit) -> Encoding:
        """Load the model.

        Raises:
            ValueError: it cannot be loaded, or does not fit the items.
        """

    def open(self, items: RetrievalSplit) -> ArrayRanking:
        """Encode all in memory: N x (Q + 1) vectors; `vector_cache` keeps them on disk instead."""
        return encode(self, items, MemoryVectors())

    def heat_map(
        self, items: RetrievalSplit, position: int, anatomy: str, hit: int | None = None
    ) -> Image.Image | None:
        """What `Ranking.heat_map` of its rankings returns; the model may not have been loaded before."""
        return None


class Vectors(ABC):
    """Float32 arrays that are filled from the front to the back along their N axis.

    Attributes:
        about: what `finish` was given; None as long as something is missing.
    """

    about: dict[str, Any] | None = None

    @abstractmethod
    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The array of a name, made at the first call with a shape."""

    @abstractmethod
    def count(self, name: str) -> int:
        """How many of an array's items are there."""

    @abstractmethod
    def mark(self, name: str, count: int) -> None:
        """Say that so many of an array's items are there."""

    @abstractmethod
    def save(self) -> None:
        """Write what is not written yet."""

    def finish(self, about: dict[str, Any]) -> None:
        """Say that all is there."""
        self.about = about


class MemoryVectors(Vectors):
    """Arrays in memory."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        if shape is not None and name not in self._arrays:
            self._arrays[name] = np.empty(shape, dtype=np.float32)
        return self._arrays[name]

    def count(self, name: str) -> int:
        return self._counts.get(name, 0)

    def mark(self, name: str, count: int) -> None:
        self._counts[name] = count

    def save(self) -> None:
        """Nothing: memory is all there is."""


def encode(encoder: Encoder, items: RetrievalSplit, vectors: Vectors) -> ArrayRanking:
    """The ranking of an encoder's vectors; what is not among the vectors yet is encoded.

    Args:
        encoder: its model is loaded only if something is missing.
        items: the split.
        vectors: empty, or with what an earlier call for the same items and fingerprint left.

    Raises:
        ValueError: the model cannot be loaded, or the split has no report text.
    """
    texts = [items.text(int(position), WHOLE) for position in items.members(WHOLE)]
    if not texts:
        raise ValueError(
            f"{items.dataset.name}/{items.split} has no report text: there is nothing to retrieve by"
        )
    unique = list(dict.fromkeys(texts))
    if vectors.about is None:
        encoding = encoder.encoding(items)
        try:
            _encode_images(encoding, vectors, len(items))
            _encode_texts(encoding, vectors, unique)
        finally:
            vectors.save()
        vectors.finish({"conditions": list(encoding.conditions), "texts": vectors.count(TEXTS)})
    assert vectors.about is not None
    conditions = vectors.about["conditions"]
    by_anatomy = dict(zip(conditions, vectors.array(CONDITIONAL), strict=True)) if conditions else {}
    reports = _of_items(items, vectors.array(TEXTS), texts, unique) if vectors.about["texts"] else None
    return ArrayRanking(vectors.array(HOLISTIC), by_anatomy, reports, partial(encoder.heat_map, items))


def _encode_images(encoding: Encoding, vectors: Vectors, count: int) -> None:
    start = vectors.count(HOLISTIC)
    if start == count:
        return
    for whole, conditional in encoding.images(start):
        stop = start + len(whole)
        vectors.array(HOLISTIC, (count, whole.shape[1]))[start:stop] = whole
        if conditional is not None:
            shape = (len(encoding.conditions), count, conditional.shape[2])
            vectors.array(CONDITIONAL, shape)[:, start:stop] = conditional
            vectors.mark(CONDITIONAL, stop)
        vectors.mark(HOLISTIC, stop)
        start = stop
    assert start == count, f"{start} of {count} images were encoded"


def _encode_texts(encoding: Encoding, vectors: Vectors, unique: Sequence[str]) -> None:
    start = vectors.count(TEXTS)
    if start == len(unique):
        return
    for found in encoding.texts(unique[start:]):
        stop = start + len(found)
        vectors.array(TEXTS, (len(unique), found.shape[1]))[start:stop] = found
        vectors.mark(TEXTS, stop)
        start = stop
    assert start in (0, len(unique)), f"{start} of {len(unique)} texts were encoded"


def _of_items(
    items: RetrievalSplit, vectors: np.ndarray, texts: Sequence[str], unique: Sequence[str]
) -> np.ndarray:
    """Vectors of the unique texts to one row for each image: (N, d) float32, NaN without a report."""
    row_of = {text: row for row, text in enumerate(unique)}
    reports = np.full((len(items), vectors.shape[1]), np.nan, dtype=np.float32)
    reports[items.members(WHOLE)] = vectors[[row_of[text] for text in texts]]
    return reports
