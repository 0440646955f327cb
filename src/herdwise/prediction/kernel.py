"""Kernel: ridge on Gaussian likeness to a few hundred landmarks (Nystroem), beside the linear part.

What kNN learns from all training queries, at a cost that does not grow with them: a decision reads a few
hundred landmarks, not thousands of rows.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.feature_blocks import FeatureBlocks
from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.least_squares import solve
from herdwise.prediction.neighbours import k_means, squared_distances
from herdwise.prediction.option_checks import positive, several, whole
from herdwise.prediction.unit import clip_unit

_TRIAL_ROWS = 2500
_JITTER = 1e-4


class KernelPredictor(FittedArrays):
    """Nystroem kernel ridge (Williams and Seeger 2001) with a linear part; strength by leave-one-out error.

    Args:
        n_landmarks: k-means centres of the training vectors.
        widths: kernel widths to choose from, as multiples of the landmarks' median squared distance.
        linear: weight of the linear part's features against the kernel's.
    """

    name: ClassVar[str] = "kernel"
    arrays: ClassVar[tuple[str, ...]] = ("landmarks_", "width_", "likeness_", "weights_", "offset_")
    options: ClassVar[tuple[str, ...]] = ("n_landmarks", "widths", "linear")

    def __init__(
        self, n_landmarks: int = 256, widths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0), linear: float = 0.3
    ) -> None:
        self.n_landmarks = whole(self.name, "n_landmarks", n_landmarks)
        self.widths = tuple(positive(self.name, "widths", w) for w in several(self.name, "widths", widths))
        self.linear = positive(self.name, "linear", linear, zero=True)

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        self.landmarks_ = k_means(X, self.n_landmarks, rng)
        between = squared_distances(self.landmarks_, self.landmarks_)
        off = between[~np.eye(len(between), dtype=bool)]
        typical = max(float(np.median(off)) if off.size else 1.0, 1e-6)
        squared = np.einsum("ij,ij->i", X, X).mean(dtype=np.float64)
        spread = float(np.sqrt(max(squared - float(np.sum(X.mean(axis=0, dtype=np.float64) ** 2)), 0.0)))
        scale = self.linear / max(spread, 1e-6)
        trial = rng.choice(len(X), min(_TRIAL_ROWS, len(X)), replace=False)
        distance = squared_distances(X[trial], self.landmarks_)
        best: tuple[float, float] | None = None
        for width in self.widths:
            if len(self.widths) == 1:
                best = (0.0, width)
                break
            # The width is the kernel's affair: tried without the linear part, which halves the features.
            whiten = self._whitening(between, width * typical)
            fit = solve(np.exp(-distance / (width * typical)) @ whiten, Y[trial], self.means_)
            error = float(np.nanmean((Y[trial] - fit.left_out) ** 2))
            if best is None or error < best[0]:
                best = (error, width)
        assert best is not None  # noqa: S101 - widths is never empty
        width = best[1] * typical
        whiten = self._whitening(between, width)

        def features(rows: np.ndarray) -> np.ndarray:
            x = X[rows]
            likeness = np.exp(-squared_distances(x, self.landmarks_) / width) @ whiten
            return np.concatenate([likeness, np.float32(scale) * x], axis=1)

        n_features = len(self.landmarks_) + X.shape[1]
        fit = solve(FeatureBlocks(len(X), n_features, features), Y, self.means_)
        k = len(self.landmarks_)
        self.width_ = np.array(width, dtype=np.float32)
        self.likeness_ = whiten @ fit.weights[:k]
        self.weights_ = scale * fit.weights[k:]
        self.offset_ = fit.offset
        self.left_out_ = fit.left_out
        self._prepare()

    def _prepare(self) -> None:
        # exp(-|x - l|^2 / w) = exp((2 x.l - |l|^2 - |x|^2) / w): one matrix serves landmarks and linear part.
        two = np.float32(2.0 / float(self.width_))
        self._joint = np.ascontiguousarray(
            np.concatenate([self.landmarks_ * two, self.weights_.T]), dtype=np.float32
        )
        self._norms = (0.5 * two * np.einsum("ij,ij->i", self.landmarks_, self.landmarks_)).astype(np.float32)
        self._half = 0.5 * float(two)

    @staticmethod
    def _whitening(between: np.ndarray, width: float) -> np.ndarray:
        """``K(landmarks)^-1/2``: likeness to the landmarks becomes features."""
        eigenvalues, basis = np.linalg.eigh(np.exp(-between.astype(np.float64) / width))
        return np.asarray(basis / np.sqrt(np.maximum(eigenvalues, 0.0) + _JITTER), dtype=np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        likeness = np.exp(-squared_distances(X, self.landmarks_) / self.width_)
        predicted: np.ndarray = likeness @ self.likeness_ + X @ self.weights_ + self.offset_
        return predicted

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch: one product with landmarks and linear part together."""
        joint, k = self._joint.dot(x), len(self._norms)
        exponent = joint[:k]
        exponent -= self._norms
        exponent -= np.float32(self._half * float(x.dot(x)))
        predicted: np.ndarray = np.exp(exponent, exponent).dot(self.likeness_)
        predicted += joint[k:]
        predicted += self.offset_
        return clip_unit(predicted)
