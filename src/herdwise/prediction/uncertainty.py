"""How far a predicted expectation may be from the true one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

from herdwise.prediction.neighbours import k_means, squared_distances

_ARRAYS = ("centres_", "radius_", "excess_", "sampling_")
#: Standard deviation of an unknown quality, uniform on [0, 1].
_UNKNOWN = 12.0**-0.5


class LocalError:
    """Standard error of the expectation from left-out residuals of neighbours.

    If predictions were right, the residuals of two like queries would be unrelated, since sampling is
    independent. The mean product of nearest neighbours' residuals is therefore the squared error that
    predictions share over such a distance (as a variogram tells signal from nugget). It is taken per
    candidate, shrunk to the pooled value, and grows with the query's distance from the training queries'
    centres relative to theirs: far from all data, less is known. To it comes the sampling error of a mean
    over one centre's share of the outcomes, which left-out residuals hide: each neighbour's prediction has
    seen the other's outcome.

    Args:
        rows_per_group: training queries per centre, on average.
        max_groups: most centres.
        n_neighbours: neighbours that each query is paired with.
        max_rows: queries paired, a sample beyond that.
    """

    def __init__(
        self, rows_per_group: int = 60, max_groups: int = 64, n_neighbours: int = 3, max_rows: int = 4000
    ) -> None:
        self.rows_per_group, self.max_groups = rows_per_group, max_groups
        self.n_neighbours, self.max_rows = n_neighbours, max_rows

    def fit(self, X: np.ndarray, Y: np.ndarray, left_out: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn from ``(n, d)`` vectors, ``(n, m)`` outcomes and left-out predictions."""
        wanted = min(max(len(X) // self.rows_per_group, 1), self.max_groups)
        self.centres_ = k_means(X, wanted, rng)
        near = squared_distances(X, self.centres_).min(axis=1)
        self.radius_ = np.array(max(float(np.median(near)), 1e-6))
        known = np.isfinite(Y)
        residual = np.where(known, Y - left_out, np.float32(0.0))
        runs = known.sum(axis=0)
        squared = np.einsum("ij,ij->j", residual, residual, dtype=np.float64)
        variance = squared / np.maximum(runs, 1)
        # As if one outcome more had been right and one wrong: residuals of a few say nothing by being zero.
        pooled_variance = (squared.sum() + 0.5) / (runs.sum() + 2)
        product, pairs = self._neighbour_products(X, residual, known, rng)
        pooled = max(float(product.sum() / max(pairs.sum(), 1)), 0.0)
        prior = 3000.0
        excess = (product + prior * pooled) / (pairs + prior)
        self.excess_ = np.where(runs > 0, np.maximum(excess, 0.25 * pooled), 0.0)
        shrunk = (variance * runs + 10.0 * pooled_variance) / (runs + 10.0)
        local = np.maximum(runs / len(self.centres_), 1.0)
        self.sampling_ = np.where(runs > 0, shrunk / local, _UNKNOWN**2)
        return self

    def _neighbour_products(
        self, X: np.ndarray, residual: np.ndarray, known: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Per candidate: sum of products of neighbours' residuals, number of pairs; ``(m,)`` each."""
        rows = rng.choice(len(X), min(len(X), self.max_rows), replace=False)
        X, residual, known = X[rows], residual[rows].astype(np.float64), known[rows]
        count = min(self.n_neighbours, len(X) - 1)
        product, pairs = np.zeros(residual.shape[1]), np.zeros(residual.shape[1])
        if count < 1:
            return product, pairs
        for start in range(0, len(X), 500):
            distance = squared_distances(X[start : start + 500], X)
            here = np.arange(start, start + len(distance))
            distance[np.arange(len(distance)), here] = np.inf
            for other in np.argpartition(distance, count - 1, axis=1)[:, :count].T:
                product += (residual[here] * residual[other]).sum(axis=0)
                pairs += (known[here] & known[other]).sum(axis=0)
        return product, pairs

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """``(n, m)`` float32 standard errors."""
        near = squared_distances(X, self.centres_).min(axis=1)
        # At least half of the typical error, close to a centre; at most the error of knowing nothing.
        far = np.clip(near / self.radius_, 0.25, 16.0)[:, None]
        squared = np.minimum(self.excess_ * far + self.sampling_, _UNKNOWN**2)
        error: np.ndarray = np.sqrt(squared).astype(np.float32)
        return error

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays."""
        return {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``."""
        error = cls()
        for name in _ARRAYS:
            setattr(error, name, np.asarray(arrays[name]))
        return error
