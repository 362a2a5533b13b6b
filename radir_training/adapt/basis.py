"""A short form of the tokens of an image, shared by all heads: standardised, weighed by group, projected.

Groups are the mean token, and the cells of each feature map. Each number is standardised over the training
images, and each group scaled so that its part of an image's squared norm is the same on average. Of all
numbers the leading principal directions are kept: x = B t + b. Ridge regression on x is kernel ridge
regression with the mean of the groups' linear kernels, but for the directions that are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MOST_ROWS = 4096  # training images whose principal directions are taken
_BLOCK = 512  # images at a time
_LEAST_DEVIATION = 1e-4  # numbers that hardly vary are left out


@dataclass(frozen=True)
class Basis:
    """x = weight t + bias.

    Attributes:
        weight: (P, N * C) float32.
        bias: (P,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    def apply(self, tokens: np.ndarray) -> np.ndarray:
        """(n, N * C) to (n, P) float32, by blocks."""
        out = np.empty((len(tokens), len(self.weight)), dtype=np.float32)
        for rows in blocks(len(tokens)):
            out[rows] = tokens[rows].astype(np.float32) @ self.weight.T + self.bias
        return out


def fit_basis(tokens: np.ndarray, widths: Sequence[int], size: int, seed: int = 0) -> Basis:
    """Fit it to training images.

    Args:
        tokens: (n, N * C), token by token, each with the channels of all feature maps.
        widths: channels of each feature map; they sum to C.
        size: P at most; fewer images give fewer.
        seed: of the draw of MOST_ROWS images.

    Raises:
        ValueError: all images have the same tokens.
    """
    total = sum(widths)
    count = tokens.shape[1] // total  # N
    maps = np.tile(np.repeat(np.arange(len(widths)), widths), count)  # (N * C,), the group of each number
    mean, deviation = _moments(tokens, total)
    scale = np.zeros_like(deviation)
    varies = deviation > _LEAST_DEVIATION
    groups = np.concatenate((maps, np.full(total, len(widths))))  # the mean token's come last
    for group in range(len(widths) + 1):
        inside = varies & (groups == group)
        if inside.any():
            scale[inside] = 1 / (deviation[inside] * np.sqrt(inside.sum() * (len(widths) + 1)))
    if not scale.any():
        raise ValueError("all training images have the same tokens: the encoder gives nothing to learn from")
    chosen = np.arange(len(tokens))
    if len(chosen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_ROWS, replace=False))
    sample = ((_with_mean(tokens[chosen], total) - mean) * scale).astype(np.float32)
    values, vectors = np.linalg.eigh((sample @ sample.T).astype(np.float64))
    order = np.argsort(-values, kind="stable")[:size]
    order = order[values[order] > 1e-6 * values[order[0]]]
    directions = (
        sample.T @ (vectors[:, order] / np.sqrt(values[order])).astype(np.float32)
    ).T  # (P, N*C + C)
    # An eigenvector's sign is anyone's choice: here its largest entry is positive.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.sign(largest)
    scaled = directions * scale
    weight = scaled[:, : len(maps)] + np.tile(scaled[:, len(maps) :], count) / count
    return Basis(weight.astype(np.float32), -(scaled @ mean).astype(np.float32))


def blocks(count: int, size: int = _BLOCK) -> Iterator[slice]:
    """Slices of so many rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _with_mean(tokens: np.ndarray, total: int) -> np.ndarray:
    """(n, N * C) with the mean token behind: (n, N * C + C) float32."""
    values = tokens.astype(np.float32)
    return np.concatenate((values, values.reshape(len(values), -1, total).mean(axis=1)), axis=1)


def _moments(tokens: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every number, (N * C + C,) float32 each, over all images."""
    sums = squares = np.zeros(0)
    for rows in blocks(len(tokens)):
        values = _with_mean(tokens[rows], total).astype(np.float64)
        if not sums.size:
            shift = values[0].copy()  # so that the squares do not cancel
            sums, squares = np.zeros_like(shift), np.zeros_like(shift)
        values -= shift
        sums, squares = sums + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean = sums / len(tokens)
    deviation = np.sqrt(np.maximum(squares / len(tokens) - mean**2, 0))
    return (mean + shift).astype(np.float32), deviation.astype(np.float32)
