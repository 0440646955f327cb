"""Mean: every query gets each candidate's mean quality. The floor that every other predictor must beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays

#: Rows that are looked at together.
_BLOCK = 2**13


class MeanPredictor(FittedArrays):
    """Routes everything to the best single candidate."""

    name: ClassVar[str] = "mean"

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del X, rng  # the base has taken the means
        self.left_out_ = left_out_means(Y, self.means_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return np.repeat(self.means_[None], len(X), axis=0)


def left_out_means(Y: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Each candidate's mean over the other queries, ``(n, m)`` float32; ``means`` where it has no others."""
    count = np.isfinite(Y).sum(axis=0)
    total = np.nansum(Y, axis=0)
    found = np.empty(Y.shape, dtype=np.float32)
    for start in range(0, len(Y), _BLOCK):
        rows = slice(start, start + _BLOCK)
        known = np.isfinite(Y[rows])
        others = count - known
        rest = total - np.where(known, Y[rows], np.float32(0.0))
        found[rows] = np.where(others > 0, rest / np.maximum(others, 1), means)
    return found
