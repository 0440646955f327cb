"""Ridge: linear in the query's vector, one strength for all candidates by leave-one-out error."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.least_squares import solve


class RidgePredictor(FittedArrays):
    """Multi-task ridge regression. With no signal the chosen strength leaves the means alone."""

    name: ClassVar[str] = "ridge"
    arrays: ClassVar[tuple[str, ...]] = ("weights_", "offset_")

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del rng
        fit = solve(X, Y, self.means_)
        self.weights_, self.offset_, self.left_out_ = fit.weights, fit.offset, fit.left_out

    def _predict(self, X: np.ndarray) -> np.ndarray:
        predicted: np.ndarray = X @ self.weights_ + self.offset_
        return predicted

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        predicted = x @ self.weights_ + self.offset_
        clipped: np.ndarray = np.minimum(np.maximum(predicted, 0.0), 1.0)
        return clipped
