"""Mean: every query gets each candidate's mean quality. The floor that every other predictor must beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays


class MeanPredictor(FittedArrays):
    """Routes everything to the best single candidate."""

    name: ClassVar[str] = "mean"

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del X, rng  # the base has taken the means
        known = np.isfinite(Y)
        others = known.sum(axis=0) - known
        total = np.nansum(Y, axis=0) - np.where(known, Y, 0.0)
        self.left_out_ = np.where(others > 0, total / np.maximum(others, 1), self.means_).astype(np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return np.repeat(self.means_[None], len(X), axis=0)
