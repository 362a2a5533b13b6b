"""Rankers that encode: images and report texts become vectors batch by batch.

An `Encoder` says how to load its model and what decides its vectors. `open` asks it for what is not in its
`VectorStore` yet, so that vectors that are kept resume an interrupted run.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataset_scripts.plumbing.atomic import remove_leftovers
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.outputs import claim
from radir_eval.rankers.vector_store import VectorStore
from radir_eval.rankers.vectors import ArrayRanking, Ranker, Ranking
from radir_eval.results_folder import private
from radir_eval.retrieval_split import WHOLE, RetrievalSplit

HOLISTIC, CONDITIONAL, TEXTS = "holistic", "conditional", "texts"  # the arrays of a store


class Encoder(Ranker):
    """A ranker by the vectors that its model gives; those of equal fingerprints are equal.

    Attributes:
        batch_size: report texts at a time.
        progress: show progress bars.
    """

    batch_size: int
    progress: bool

    @abstractmethod
    def fingerprint(self) -> str | None:
        """All that decides the vectors: weights, settings, processor, code; None if it cannot be told."""

    @abstractmethod
    def load_model(self) -> Any:
        """What the methods below are given; loaded only if a vector is missing, and let go afterwards.

        Raises:
            ValueError: it cannot be loaded.
        """

    @abstractmethod
    def encode_images(
        self, model: Any, items: RetrievalSplit, positions: Iterable[int], conditions: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Vectors of the images at these positions, each image read and encoded once, batch by batch.

        Yields:
            (B, d) float32 holistic, and (Q, B, d') float32 under the Q conditions; None without conditions,
            and from a model that takes none.
        """

    @abstractmethod
    def encode_texts(self, model: Any, texts: Sequence[str]) -> np.ndarray | None:
        """Vectors (B, d) float32 of the texts of one batch; None without a text tower."""

    def open(self, items: RetrievalSplit, cache: Path | None = None) -> ArrayRanking:
        """See `Ranker.open`.

        Args:
            items: the split.
            cache: folder for the vectors of any number of encoders and datasets, made if missing; None keeps
                all N x (Q + 1) vectors in memory.

        Raises:
            ValueError: the model cannot be loaded, a vector is not finite, the split has no report text, or
                the cache is damaged or its disk full.
        """
        fingerprint = None if cache is None else self.fingerprint()
        if cache is None or fingerprint is None:
            return _ranking(self, items, VectorStore())
        decides = {"vectors_of": fingerprint, **items.identity}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        folder = private(cache) / key[:32]
        with claim(folder):  # evaluations may share the cache
            remove_leftovers(folder)
            return _ranking(self, items, VectorStore(folder, decides))

    def heat_map(
        self, items: RetrievalSplit, position: int, anatomy: str, hit: int | None = None
    ) -> Image.Image | None:
        """What `Ranking.heat_map` of its rankings returns; the model may not have been loaded before."""
        return None


def open_all(rankers: Sequence[Ranker], items: RetrievalSplit, cache: Path | None) -> dict[str, Ranking]:
    """The rankings of a split by name; encoders keep their vectors in the cache, if there is one."""
    return {
        ranker.name: ranker.open(items, cache) if isinstance(ranker, Encoder) else ranker.open(items)
        for ranker in rankers
    }


def _ranking(encoder: Encoder, items: RetrievalSplit, store: VectorStore) -> ArrayRanking:
    """The ranking of an encoder's vectors; what is not in the store yet is encoded."""
    texts = [items.text(int(position), WHOLE) for position in items.members(WHOLE)]
    if not texts:
        raise ValueError(
            f"{items.dataset.name}/{items.split} has no report text: there is nothing to retrieve by"
        )
    unique = list(dict.fromkeys(texts))
    if store.about is None:
        _encode(encoder, items, store, unique)
    assert store.about is not None
    conditions = store.about["conditions"]
    by_anatomy = dict(zip(conditions, store.array(CONDITIONAL), strict=True)) if conditions else {}
    reports = _of_items(items, store.array(TEXTS), texts, unique) if store.about["texts"] else None
    return ArrayRanking(store.array(HOLISTIC), by_anatomy, reports, partial(encoder.heat_map, items))


def _encode(encoder: Encoder, items: RetrievalSplit, store: VectorStore, unique: Sequence[str]) -> None:
    model = encoder.load_model()
    conditions = [a["name"] for a in items.anatomies if len(items.members(a["name"])) > 1]
    try:
        _encode_images(encoder, model, items, store, conditions)
        _encode_texts(encoder, model, store, unique)
    finally:
        store.save()
    met = conditions if store.count(CONDITIONAL) else []
    store.finish({"conditions": met, "texts": store.count(TEXTS)})


def _encode_images(
    encoder: Encoder, model: Any, items: RetrievalSplit, store: VectorStore, conditions: Sequence[str]
) -> None:
    count, start = len(items), store.count(HOLISTIC)
    if start == count:
        return
    positions = _bar(encoder, range(start, count), "images", "image")
    for whole, conditional in encoder.encode_images(model, items, positions, conditions):
        stop = start + len(whole)
        _check_finite(encoder, whole)
        store.array(HOLISTIC, (count, whole.shape[1]))[start:stop] = whole
        if conditional is not None:
            _check_finite(encoder, conditional)
            store.array(CONDITIONAL, (len(conditions), count, conditional.shape[2]))[:, start:stop] = (
                conditional
            )
            store.mark(CONDITIONAL, stop)
        store.mark(HOLISTIC, stop)
        start = stop
    assert start == count, f"{start} of {count} images were encoded"


def _encode_texts(encoder: Encoder, model: Any, store: VectorStore, unique: Sequence[str]) -> None:
    size, count = encoder.batch_size, len(unique)
    for start in _bar(encoder, range(store.count(TEXTS), count, size), "reports", "batch"):
        found = encoder.encode_texts(model, unique[start : start + size])
        if found is None:
            return
        _check_finite(encoder, found)
        store.array(TEXTS, (count, found.shape[1]))[start : start + len(found)] = found
        store.mark(TEXTS, start + len(found))


def _bar(encoder: Encoder, over: range, what: str, unit: str) -> Any:
    return progress_bar(
        over, desc=f"{encoder.name}: {what}", unit=unit, shown=bool(encoder.progress and over)
    )


def _check_finite(encoder: Encoder, vectors: np.ndarray) -> None:
    if not np.isfinite(vectors).all():
        raise ValueError(
            f"{encoder.name} has vectors that are not finite: the checkpoint is damaged or diverged"
        )


def _of_items(
    items: RetrievalSplit, vectors: np.ndarray, texts: Sequence[str], unique: Sequence[str]
) -> np.ndarray:
    """Vectors of the unique texts to one row for each image: (N, d) float32, NaN without a report."""
    row_of = {text: row for row, text in enumerate(unique)}
    reports = np.full((len(items), vectors.shape[1]), np.nan, dtype=np.float32)
    reports[items.members(WHOLE)] = vectors[[row_of[text] for text in texts]]
    return reports
