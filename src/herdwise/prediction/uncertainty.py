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
    """Standard error of the expectation from left-out residuals, group by group.

    Queries are grouped by k-means. If predictions were right, a group's mean residual would vary by
    sampling alone, residual variance / group size; what it varies beyond that is the prediction's own error.
    It is estimated per candidate, shrunk to the pooled estimate, and grows with the query's distance from
    the group's centre relative to the training queries': far from all data, less is known.

    Args:
        rows_per_group: training queries per group, on average.
        max_groups: upper limit.
    """

    def __init__(self, rows_per_group: int = 60, max_groups: int = 64) -> None:
        self.rows_per_group, self.max_groups = rows_per_group, max_groups

    def fit(self, X: np.ndarray, Y: np.ndarray, left_out: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn from ``(n, d)`` vectors, ``(n, m)`` outcomes and left-out predictions."""
        wanted = min(max(len(X) // self.rows_per_group, 1), self.max_groups)
        self.centres_ = k_means(X, wanted, rng)
        distance = squared_distances(X, self.centres_)
        member = distance.argmin(axis=1)
        near = distance[np.arange(len(X)), member]
        self.radius_ = np.array(max(float(np.median(near)), 1e-6))
        known = np.isfinite(Y)
        residual = np.where(known, Y - left_out, 0.0).astype(np.float64)
        belongs = np.zeros((len(X), len(self.centres_)))
        belongs[np.arange(len(X)), member] = 1.0
        count = belongs.T @ known
        total = belongs.T @ residual
        runs = known.sum(axis=0)
        variance = (residual**2).sum(axis=0) / np.maximum(runs, 1)
        pooled_variance = (residual**2).sum() / max(runs.sum(), 1)
        # Weighted by group size: sum of (group mean)^2 n - variance, per row.
        beyond = np.where(count > 0, total**2 / np.maximum(count, 1) - variance, 0.0).sum(axis=0)
        pooled = max(float(beyond.sum() / max(runs.sum(), 1)), 0.0)
        prior = 20.0 * self.rows_per_group
        excess = np.maximum((beyond + prior * pooled) / (runs + prior), 0.0)
        self.excess_ = np.where(runs > 0, np.maximum(excess, 0.25 * pooled), 0.0)
        shrunk = (variance * runs + 10.0 * pooled_variance) / (runs + 10.0)
        self.sampling_ = np.where(runs > 0, shrunk / np.maximum(runs, 1), _UNKNOWN**2)
        return self

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """``(n, m)`` float32 standard errors."""
        near = squared_distances(X, self.centres_).min(axis=1)
        # At least half of the typical error, at the centre of a group; at most the error of knowing nothing.
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
