"""Similarity of short phrases by hashed character n-grams: no model, the same on every machine."""

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

Features = Sequence[tuple[str, float]]
"""What a phrase is made of: (word, weight) pairs."""


TAG = "#"
_TAG_SLOTS = 8  # a tag is spread over some slots, so that one collision does not make it equal to another


def word_ngrams(word: str, smallest: int = 2, largest: int = 4) -> list[str]:
    """Return the boundary-padded character n-grams of one word, and the padded word itself.

    A word that starts with "#" is a tag: it has no n-grams in common with any other.

    Example:
        >>> word_ngrams("rib", 2, 3)
        ['<r', 'ri', 'ib', 'b>', '<ri', 'rib', 'ib>', '<rib>']
    """
    if word.startswith(TAG):
        return [f"{word}/{i}" for i in range(_TAG_SLOTS)]
    padded = f"<{word}>"
    grams = [padded[i : i + n] for n in range(smallest, largest + 1) for i in range(len(padded) - n + 1)]
    return [*grams, padded]


class HashedNGrams:
    """Phrases as dense vectors: a word is a unit vector of its hashed n-grams, a phrase their weighted sum.

    ``zlib.crc32`` is the hash, since Python's own differs from process to process. Words are unit vectors
    before they are summed, so a word counts by its weight and not by its length: with a head of weight 1 and
    a modifier of weight m, two phrases with the same head and unlike modifiers have a cosine of about 1 / (1
    + m^2).

    Args:
        dimension: length of the vectors.
        smallest, largest: lengths of the n-grams, in characters, both included.

    Raises:
        ValueError: a setting is not positive, or ``smallest`` exceeds ``largest``.
    """

    def __init__(self, dimension: int = 1024, smallest: int = 2, largest: int = 4) -> None:
        if dimension < 1 or not 1 <= smallest <= largest:
            raise ValueError(
                f"dimension={dimension}, smallest={smallest}, largest={largest} make no n-grams: "
                "give a positive dimension and 1 <= smallest <= largest"
            )
        self.dimension, self.smallest, self.largest = dimension, smallest, largest
        self._word: Callable[[str], tuple[np.ndarray, np.ndarray]] = lru_cache(maxsize=65536)(self._hash_word)

    def embed(self, phrases: Sequence[Features]) -> np.ndarray:
        """Embed phrases given as weighted words.

        Args:
            phrases: for each phrase its (word, weight) pairs; a phrase without words gives a zero vector.

        Returns:
            (n, dimension) float32, rows L2-normalised.
        """
        vectors = np.zeros((len(phrases), self.dimension), dtype=np.float64)
        for row, features in enumerate(phrases):
            for word, weight in features:
                slots, values = self._word(word)
                vectors[row, slots] += weight * values
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, norms, out=vectors, where=norms > 0)
        return vectors.astype(np.float32)

    def _hash_word(self, word: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the occupied slots of one word and their values, together a unit vector."""
        hashes = [zlib.crc32(gram.encode()) for gram in word_ngrams(word, self.smallest, self.largest)]
        # CRC is linear: words that differ in one pattern would share all their low bits. Multiply, keep the
        # top.
        mixed = np.array(hashes, dtype=np.uint64) * np.uint64(2654435761) & np.uint64(0xFFFFFFFF)
        slots, counts = np.unique((mixed * np.uint64(self.dimension)) >> np.uint64(32), return_counts=True)
        return slots.astype(np.int64), counts / np.linalg.norm(counts)
