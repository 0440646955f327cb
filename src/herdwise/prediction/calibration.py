"""Calibration: predicted quality means frequency, by an increasing map fitted on left-out predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

_ARRAYS = ("knots_", "values_", "slope_", "shift_")
#: Rows that are looked at together.
_BLOCK = 2**13


class Calibration:
    """A pooled increasing map, then a line per candidate that is shrunk towards leaving things alone.

    The pooled map is isotonic regression on quantile bins (pool adjacent violators), joined linearly, and
    never flatter than ``min_slope``: isotonic steps would make ties, and ties lose routing. The candidates'
    slopes are least squares with ``prior`` outcomes in favour of 1.

    Args:
        n_knots: quantile bins of the pooled map.
        min_slope: lower limit of its slope.
        prior: outcomes that "leave this candidate alone" counts for.
    """

    def __init__(self, n_knots: int = 20, min_slope: float = 0.1, prior: float = 300.0) -> None:
        self.n_knots, self.min_slope, self.prior = n_knots, min_slope, prior

    def fit(self, predicted: np.ndarray, Y: np.ndarray) -> Self:
        """Learn from ``(n, m)`` left-out predictions and outcomes, NaN = not run."""
        known = np.isfinite(Y)
        self._fit_pooled(predicted[known].astype(np.float64), Y[known].astype(np.float64))
        mapped = self._pooled(predicted)
        m = Y.shape[1]
        self.slope_, self.shift_ = np.ones(m, dtype=np.float32), np.zeros(m, dtype=np.float32)
        variance = max(float(mapped[known].var()), 1e-9)
        for j in range(m):
            p, y = mapped[known[:, j], j].astype(np.float64), Y[known[:, j], j].astype(np.float64)
            if len(p) == 0:
                continue
            centred = p - p.mean()
            more = self.prior * variance
            slope = (centred @ (y - y.mean()) + more) / (centred @ centred + more)
            slope = min(max(slope, 0.5), 1.5)
            weight = len(p) / (len(p) + 0.1 * self.prior)
            self.slope_[j] = slope
            self.shift_[j] = (1.0 - slope) * p.mean() + weight * (y.mean() - p.mean())
        return self

    def _fit_pooled(self, predicted: np.ndarray, observed: np.ndarray) -> None:
        order = np.argsort(predicted, kind="stable")
        bins = [b for b in np.array_split(order, min(self.n_knots, max(len(order) // 50, 1))) if len(b)]
        knots: list[float] = []
        values: list[float] = []
        for height, size, middle in _pool_adjacent_violators(
            [(float(observed[b].mean()), len(b), float(predicted[b].mean())) for b in bins]
        ):
            del size
            if not knots or middle - knots[-1] > 1e-3:
                knots.append(middle)
                values.append(height)
        # Beyond the outermost bins the map goes on with slope 1, so that order survives there too.
        knots = [knots[0] - 2.0, *knots, knots[-1] + 2.0]
        values = [values[0] - 2.0, *values, values[-1] + 2.0]
        for i in range(1, len(knots)):
            values[i] = max(values[i], values[i - 1] + self.min_slope * (knots[i] - knots[i - 1]))
        self.knots_, self.values_ = np.array(knots), np.array(values)

    def _pooled(self, predicted: np.ndarray) -> np.ndarray:
        mapped: np.ndarray = np.empty(predicted.shape, dtype=np.float32)
        step = _BLOCK if predicted.ndim == 2 else len(predicted)
        for start in range(0, len(predicted), step):  # np.interp works in float64
            rows = slice(start, start + step)
            mapped[rows] = np.interp(predicted[rows], self.knots_, self.values_)
        return mapped

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Calibrated quality of ``(n, m)`` or ``(m,)`` predictions, not clipped."""
        calibrated: np.ndarray = self._pooled(predicted) * self.slope_ + self.shift_
        return calibrated

    def one(self, predicted: np.ndarray) -> np.ndarray:
        """The same of ``(m,)`` predictions, without what only many need."""
        calibrated: np.ndarray = np.interp(predicted, self.knots_, self.values_).astype(np.float32)
        calibrated *= self.slope_
        calibrated += self.shift_
        return calibrated

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays."""
        return {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``."""
        calibration = cls()
        for name in _ARRAYS:
            setattr(calibration, name, np.asarray(arrays[name]))
        return calibration


def _pool_adjacent_violators(blocks: list[tuple[float, int, float]]) -> list[tuple[float, int, float]]:
    """Merge neighbouring (height, size, position) blocks until the heights rise."""
    merged: list[tuple[float, int, float]] = []
    for block in blocks:
        merged.append(block)
        while len(merged) > 1 and merged[-2][0] >= merged[-1][0]:
            (h1, n1, x1), (h2, n2, x2) = merged[-2:]
            n = n1 + n2
            merged[-2:] = [((h1 * n1 + h2 * n2) / n, n, (x1 * n1 + x2 * n2) / n)]
    return merged
