"""Vectors of texts whose dot products approximate a relevance: what features are regressed on.

Nystroem's method (Williams and Seeger 2001): with K = s(L, L), the relevance of landmark texts L to each
other, and its leading eigenpairs K = V diag(w) V^T, a text t has z(t) = s(t, L) V / sqrt(w). Then
z(t) . z(u) = s(t, L) K^+ s(L, u), which is s itself between landmarks where all eigenpairs are kept.
"""

from dataclasses import dataclass

import numpy as np

from dataset_scripts.relevance.engine.engine import RelevanceEngine

LANDMARKS = 600
LEAST_SHARE = 1e-3  # of the largest eigenvalue: below it a direction is noise, or negative


@dataclass(frozen=True)
class FindingVectors:
    """Vectors of the texts of a store, by their relevance to landmarks.

    Attributes:
        engine: the relevance.
        landmarks: (L,) int, different text rows of the store.
        projection: (L, r) float64, V / sqrt(w).
    """

    engine: RelevanceEngine
    landmarks: np.ndarray
    projection: np.ndarray

    @classmethod
    def fit(
        cls, engine: RelevanceEngine, rows: np.ndarray, size: int, landmarks: int = LANDMARKS, seed: int = 0
    ) -> "FindingVectors":
        """Choose landmarks among texts.

        Args:
            engine: the relevance.
            rows: (n,) int, text rows of the store; -1 where there is no text, and repeated ones count once.
            size: r, the length of a vector, at most.
            landmarks: how many texts, at most, drawn with the seed.
            seed: of the draw.

        Raises:
            ValueError: there is no text.
        """
        known = np.unique(rows[rows >= 0])
        if not len(known):
            raise ValueError("there is no text to compare others with: give rows of the store")
        if len(known) > landmarks:
            known = np.sort(np.random.default_rng(seed).choice(known, landmarks, replace=False))
        values, vectors = np.linalg.eigh(engine.block(known, known).astype(np.float64))
        order = np.argsort(-values, kind="stable")[:size]
        order = order[values[order] > LEAST_SHARE * values[order[0]]]
        values, vectors = values[order], vectors[:, order]
        # An eigenvector's sign is anyone's choice: here its largest entry is positive.
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
        return cls(engine, known, vectors * np.sign(largest) / np.sqrt(values))

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of texts: (n,) int text rows, none of them -1, to (n, r) float64."""
        return self.engine.block(rows, self.landmarks).astype(np.float64) @ self.projection
