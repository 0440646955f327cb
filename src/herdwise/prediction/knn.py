"""kNN: the mean outcome of the nearest training queries, shrunk towards each candidate's mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays

_BATCH = 1024


class KNNPredictor(FittedArrays):
    """Cosine neighbours with a Gaussian weight whose width is the distance of the k-th: adaptive bandwidth.

    Candidates that were not run on a neighbour are judged by the others alone.

    Args:
        k: neighbours; fewer where there are fewer queries.
        prior: neighbours at full weight that the candidate's overall mean counts for.
    """

    name: ClassVar[str] = "knn"
    arrays: ClassVar[tuple[str, ...]] = ("centre_", "units_", "outcomes_")
    options: ClassVar[tuple[str, ...]] = ("k", "prior")

    def __init__(self, k: int = 100, prior: float = 5.0) -> None:
        self.k, self.prior = k, prior

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del rng
        self.centre_ = X.mean(axis=0)
        self.units_ = self._unit(X)
        self.outcomes_ = Y

    def _unit(self, X: np.ndarray) -> np.ndarray:
        X = X - self.centre_
        norm = np.linalg.norm(X, axis=1, keepdims=True)
        unit: np.ndarray = X / np.maximum(norm, 1e-9)
        return unit

    def _predict(self, X: np.ndarray) -> np.ndarray:
        predicted = [self._batch(X[start : start + _BATCH]) for start in range(0, len(X), _BATCH)]
        return np.concatenate(predicted)

    def _batch(self, X: np.ndarray) -> np.ndarray:
        similarity = self._unit(X) @ self.units_.T
        k = min(self.k, similarity.shape[1])
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        distance = np.maximum(2.0 - 2.0 * np.take_along_axis(similarity, nearest, axis=1), 0.0)
        width = np.maximum(distance.max(axis=1, keepdims=True), 1e-6)
        weight = np.exp(-distance / width)
        outcomes = self.outcomes_[nearest]
        known = np.isfinite(outcomes)
        total = np.einsum("nk,nkm->nm", weight, np.where(known, outcomes, 0.0))
        count = np.einsum("nk,nkm->nm", weight, known.astype(np.float32))
        predicted: np.ndarray = (total + self.prior * self.means_) / (count + self.prior)
        return predicted
