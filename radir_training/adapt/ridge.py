"""Ridge regression with an intercept, from sums over rows: memory by the width, not by the images.

W = argmin sum_i |W (x_i - mean x) - (z_i - mean z)|^2 + penalty |W|^2, so W^T = (S_xx + penalty I)^-1 S_xz
with the centred sums S. The prediction W x - W mean x is centred: the mean of z is left out.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from radir_training.adapt.basis import blocks

_ROWS = 4096  # at a time


@dataclass(frozen=True)
class Head:
    """A centred linear prediction, weight x + offset.

    Attributes:
        weight: (r, P) float64.
        offset: (r,) float64.
    """

    weight: np.ndarray
    offset: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, P) to (n, r) float64."""
        return x @ self.weight.T + self.offset


@dataclass(frozen=True)
class NormalEquations:
    """The sums of a regression: centred products, and the mean of the inputs.

    Attributes:
        products: (P, P) float64, S_xx.
        targets: (P, r) float64, S_xz.
        mean: (P,) float64.
    """

    products: np.ndarray
    targets: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, z: np.ndarray, rows: np.ndarray | None = None) -> "NormalEquations":
        """Add up the rows of a regression, by blocks.

        Args:
            x: (n, P) inputs.
            z: (m, r) targets, of the given rows in their order.
            rows: (m,) int, rows of x; None: all of them.
        """
        count, width = len(z), x.shape[1]
        products, targets = np.zeros((width, width)), np.zeros((width, z.shape[1]))
        total, total_z = np.zeros(width), np.zeros(z.shape[1])
        for part in blocks(count, _ROWS):
            own = np.asarray(x[part] if rows is None else x[rows[part]], dtype=np.float64)
            products += own.T @ own
            targets += own.T @ z[part]
            total, total_z = total + own.sum(axis=0), total_z + z[part].sum(axis=0)
        mean = total / count
        return cls(products - np.outer(mean, total), targets - np.outer(mean, total_z), mean)

    def solve(self, penalty: float) -> Head:
        """The head at a penalty above 0."""
        factor = cho_factor(self.products + penalty * np.eye(len(self.mean)))
        weight = cho_solve(factor, self.targets).T
        return Head(weight, -(weight @ self.mean))
