"""Logistic: log-odds linear in the query's vector, per candidate; targets may be fractions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.least_squares import solve

_ROUNDS = 200
_TOLERANCE = 1e-4


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Logistic function, without overflow."""
    value: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * z))
    return value


class LogisticPredictor(FittedArrays):
    """Cross-entropy fits of all candidates at once.

    The Hessian is bounded by a quarter of the features' scatter (Boehning and Lindsay 1988), so one
    factorisation serves every candidate and round, and Nesterov's momentum makes the rounds few. The
    penalty is ridge's leave-one-out choice times p(1 - p), which shrinks log-odds as ridge shrinks p.
    """

    name: ClassVar[str] = "logistic"
    arrays: ClassVar[tuple[str, ...]] = ("weights_", "offset_")

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del rng
        known = np.isfinite(Y)
        target = np.where(known, Y, 0.0).astype(np.float32)
        centre = X.mean(axis=0)
        Z = np.concatenate([X - centre, np.ones((len(X), 1), dtype=np.float32)], axis=1)
        scatter = (Z.T @ Z).astype(np.float64)
        scale = max(float(np.trace(scatter[:-1, :-1])) / max(X.shape[1], 1), 1e-12)
        level = np.clip(self.means_.astype(np.float64), 0.02, 0.98)
        penalty = solve(X, Y, self.means_, together=True).strength * scale * level * (1.0 - level)
        penalty = np.maximum(penalty, 1e-6 * scale)
        # The offset is penalised by half an outcome only, towards the candidate's mean: a column that is
        # constant, or without outcomes, stays finite.
        rest = np.full(Y.shape[1], 0.5)
        start = np.zeros((Z.shape[1], Y.shape[1]))
        start[-1] = np.log(level / (1.0 - level))
        eigenvalues, basis = np.linalg.eigh(0.25 * scatter)
        pull = np.concatenate([np.repeat(penalty[None], X.shape[1], axis=0), rest[None]])
        step = 1.0 / (np.maximum(eigenvalues, 0.0)[:, None] + np.maximum(penalty, rest)[None])
        weights, ahead, momentum = start.copy(), start.copy(), 1.0
        for _ in range(_ROUNDS):
            off = np.where(known, sigmoid(Z @ ahead.astype(np.float32)) - target, 0.0)
            gradient = (Z.T @ off).astype(np.float64) + pull * (ahead - start)
            moved = ahead - basis @ (step * (basis.T @ gradient))
            change = float(np.abs(moved - weights).max())
            next_momentum = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            ahead = moved + (momentum - 1.0) / next_momentum * (moved - weights)
            weights, momentum = moved, next_momentum
            if change < _TOLERANCE * max(float(np.abs(weights).max()), 1.0):
                break
        self.weights_ = weights[:-1].astype(np.float32)
        self.offset_ = (weights[-1] - centre @ weights[:-1]).astype(np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return sigmoid(X @ self.weights_ + self.offset_)

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        return sigmoid(x @ self.weights_ + self.offset_)
