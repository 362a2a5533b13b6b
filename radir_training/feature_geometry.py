"""How features lie in their space: whether they tell images apart at all.

The effective rank is exp(H) of the eigenvalues of the covariance, made to sum to 1 (Roy and Vetterli 2007,
doi:10.5281/zenodo.40328): 1 where all lie on a line, d where they fill d dimensions evenly.
"""

from dataclasses import dataclass

import numpy as np

NARROW_COSINE = 0.95  # a mean above it: all images are alike
LOW_RANK = 2.0  # below it: one direction says all


@dataclass(frozen=True)
class FeatureGeometry:
    """What (n, d) features look like.

    Attributes:
        count: n.
        mean_cosine: of all pairs.
        effective_rank: 1 to d; 0 of features that are all equal.
    """

    count: int
    mean_cosine: float
    effective_rank: float

    @property
    def is_collapsed(self) -> bool:
        """Whether the features hardly tell images apart."""
        return self.mean_cosine > NARROW_COSINE or self.effective_rank < LOW_RANK


def feature_geometry(features: np.ndarray) -> FeatureGeometry:
    """Look at features.

    Args:
        features: (n, d), n of 2 or more; lengths do not matter.

    Raises:
        ValueError: there are fewer than two.
    """
    count = len(features)
    if count < 2:
        raise ValueError(f"there are {count} features: the geometry of two or more can be told")
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    total = unit.sum(axis=0)
    mean_cosine = (float(total @ total) - count) / (count * (count - 1))
    centred = unit - unit.mean(axis=0)
    values = np.maximum(np.linalg.eigvalsh(centred.T @ centred), 0)
    if values.sum() <= 1e-12 * count:
        return FeatureGeometry(count, mean_cosine, 0.0)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return FeatureGeometry(count, mean_cosine, float(np.exp(-(shares * np.log(shares)).sum())))
