"""IRT: abilities of candidates meet discrimination and difficulty of queries, both read from the vector."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.least_squares import solve
from herdwise.prediction.logistic import sigmoid
from herdwise.prediction.option_checks import whole

_ROUNDS = 150
_TOLERANCE = 1e-4


class ItemResponsePredictor(FittedArrays):
    """Multidimensional item response theory with features (Reckase 2009; De Boeck and Wilson 2004).

    P(right) = sigmoid(level_j + discrimination(x) . ability_j - difficulty(x)), where discrimination and
    difficulty are linear in the query's vector: items never seen before have parameters too. Abilities sum to
    zero over candidates, which tells them from difficulty.

    Trained by maximum penalised likelihood, by majorisation: the logistic loss is bounded by a quadratic
    whose minimum under a limited rank is known in closed form (Boehning and Lindsay 1988; de Leeuw 2006;
    Mukherjee and Zhu 2011). Outcomes that are missing leave no trace in it. Difficulty, which all candidates
    share, has a penalty of its own. The number of dimensions is chosen by the approximate leave-one-out
    likelihood (Rad and Maleki 2020), which also gives the left-out predictions.

    Args:
        max_dimensions: most dimensions of ability that are tried.
    """

    name: ClassVar[str] = "irt"
    arrays: ClassVar[tuple[str, ...]] = ("discrimination_", "abilities_", "difficulty_", "level_")
    options: ClassVar[tuple[str, ...]] = ("max_dimensions",)

    def __init__(self, max_dimensions: int = 16) -> None:
        self.max_dimensions = whole(self.name, "max_dimensions", max_dimensions, least=0)

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        del rng
        model = _Likelihood(X, Y, self.means_)
        free = min(model.m - 1, X.shape[1])
        weights, level = model.maximise(model.nothing(), free)
        leads = model.directions(weights, min(self.max_dimensions, free))
        losses = [model.left_out_loss(weights, level, leads[:, :k]) for k in range(leads.shape[1] + 1)]
        dimensions = int(np.argmin(losses))
        if dimensions < free:
            weights, level = model.maximise((model.limited(weights, dimensions), level), dimensions)
        abilities = model.directions(weights, dimensions)
        shared, apart = model.split(weights)
        self.abilities_ = np.ascontiguousarray(abilities.T, dtype=np.float32)
        self.discrimination_ = (model.basis @ (apart @ abilities)).astype(np.float32)
        self.difficulty_ = (-(model.basis @ shared)).astype(np.float32)
        whole = model.basis @ (apart @ abilities @ abilities.T + shared[:, None])
        self.level_ = (level - model.centre @ whole).astype(np.float32)
        self.left_out_ = sigmoid(model.left_out(weights, level, abilities)).astype(np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return sigmoid(
            (X @ self.discrimination_) @ self.abilities_ - (X @ self.difficulty_)[:, None] + self.level_
        )

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        return sigmoid((x @ self.discrimination_) @ self.abilities_ - x @ self.difficulty_ + self.level_)


class _Likelihood:
    """The penalised likelihood in the principal axes of the vectors; ``weights`` are ``(d, m)`` there."""

    def __init__(self, X: np.ndarray, Y: np.ndarray, means: np.ndarray) -> None:
        self.known = np.isfinite(Y)
        self.target = np.where(self.known, Y, 0.0).astype(np.float32)
        self.n, self.m = Y.shape
        self.centre = X.mean(axis=0).astype(np.float64)
        centred = X - X.mean(axis=0)
        scatter = (centred.T @ centred).astype(np.float64)
        eigenvalues, self.basis = np.linalg.eigh(scatter)
        self.eigenvalues = np.maximum(eigenvalues, 0.0)
        self.rotated = centred @ self.basis.astype(np.float32)
        bounded = np.clip(means.astype(np.float64), 0.02, 0.98)
        self.start = np.log(bounded / (1.0 - bounded))
        self.spread = float(np.mean(bounded * (1.0 - bounded)))
        # Ridge's leave-one-out choice, for what candidates share and for what they differ in, times p(1 - p).
        off = np.where(self.known, Y - means, 0.0)
        count = np.maximum(self.known.sum(axis=1, keepdims=True), 1)
        common = off.sum(axis=1, keepdims=True) / count
        apart = np.where(self.known, off - common, 0.0).astype(np.float32)
        scale = max(float(self.eigenvalues.mean()), 1e-9) * self.spread
        self.shared_penalty = scale * _strength(X, common.astype(np.float32))
        self.apart_penalty = scale * (_strength(X, apart) if self.m > 1 else 1.0)
        self.coverage = np.maximum(self.known.mean(axis=0), 1.0 / self.n)

    def nothing(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and levels that know the candidates' means alone."""
        return np.zeros((len(self.eigenvalues), self.m)), self.start.copy()

    @staticmethod
    def split(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What candidates share ``(d,)``, and what they differ in ``(d, m)``."""
        shared = weights.mean(axis=1)
        return shared, weights - shared[:, None]

    def maximise(self, found: tuple[np.ndarray, np.ndarray], rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Climb from ``found`` under a limit on the rank of what candidates differ in."""
        weights, level = found
        ahead, ahead_level, momentum = weights, level, 1.0
        for _ in range(_ROUNDS):
            moved, moved_level = self._round(ahead, ahead_level, rank)
            step = moved - weights
            if float(np.sum((ahead - moved) * step)) > 0:  # the momentum leads astray: start it again
                momentum = 1.0
            following = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
            share = (momentum - 1.0) / following
            ahead, ahead_level = moved + share * step, moved_level + share * (moved_level - level)
            change = float(np.abs(step).max(initial=0.0))
            weights, level, momentum = moved, moved_level, following
            if change < _TOLERANCE * max(float(np.abs(weights).max(initial=0.0)), 1.0):
                break
        return weights, level

    def _round(self, weights: np.ndarray, level: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The minimum of the bound at ``weights``: a ridge fit of working responses, cut to the rank."""
        off = self._off(self._logits(weights, level))
        pull = (self.rotated.T @ off).astype(np.float64) + 0.25 * self.eigenvalues[:, None] * weights
        shared, apart = self.split(pull)
        shared /= 0.25 * self.eigenvalues + self.shared_penalty
        apart /= (0.25 * self.eigenvalues + self.apart_penalty)[:, None]
        if rank < min(self.m - 1, len(apart)):
            apart = self._cut(apart, rank)
        # Half an outcome at the candidate's mean keeps levels finite.
        rise = off.sum(axis=0, dtype=np.float64) + 0.5 * (self.start - level)
        return apart + shared[:, None], level + rise / (0.25 * self.n + 0.5)

    def _logits(self, weights: np.ndarray, level: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self.rotated @ weights.astype(np.float32) + level.astype(np.float32)
        return logits

    def _off(self, logits: np.ndarray) -> np.ndarray:
        return np.where(self.known, self.target - sigmoid(logits), np.float32(0.0))

    def _cut(self, apart: np.ndarray, rank: int) -> np.ndarray:
        leads = self._leads(apart, rank)
        return np.asarray(apart @ leads @ leads.T)

    def _leads(self, apart: np.ndarray, rank: int) -> np.ndarray:
        """``(m, rank)`` orthonormal: the directions of the targets that hold most of the fit."""
        scaled = np.sqrt(0.25 * self.eigenvalues + self.apart_penalty)[:, None] * apart
        _, basis = np.linalg.eigh(scaled.T @ scaled)
        return np.asarray(basis[:, ::-1][:, :rank])

    def limited(self, weights: np.ndarray, rank: int) -> np.ndarray:
        """The weights with what candidates differ in cut to ``rank``."""
        shared, apart = self.split(weights)
        return np.asarray(self._cut(apart, rank) + shared[:, None])

    def directions(self, weights: np.ndarray, rank: int) -> np.ndarray:
        """``(m, rank)`` abilities in the leading dimensions."""
        return self._leads(self.split(weights)[1], rank)

    def left_out(self, weights: np.ndarray, level: np.ndarray, leads: np.ndarray) -> np.ndarray:
        """Log-odds ``(n, m)`` of each row by a fit without it, to first order, within ``leads``."""
        shared, apart = self.split(weights)
        off = self._off(self._logits(weights, level))
        common = off.mean(axis=1, keepdims=True)
        squared = self.rotated * self.rotated

        def shift(penalty: float, coverage: np.ndarray) -> np.ndarray:
            curvature = self.spread * coverage
            inverse = 1.0 / (self.eigenvalues[:, None] * curvature + penalty)
            leverage = squared @ inverse.astype(np.float32) + 1.0 / (self.n * curvature)
            return np.asarray(leverage / np.maximum(1.0 - self.spread * leverage, 0.05))

        kept = leads.astype(np.float32)
        differ = self.rotated @ apart.astype(np.float32) - shift(self.apart_penalty, self.coverage) * (
            off - common
        )
        alike = (self.rotated @ shared.astype(np.float32))[:, None]
        alike = alike - shift(self.shared_penalty, self.coverage.mean(keepdims=True)) * common
        return np.asarray(differ @ kept @ kept.T + alike + level.astype(np.float32))

    def left_out_loss(self, weights: np.ndarray, level: np.ndarray, leads: np.ndarray) -> float:
        """Mean left-out cross-entropy of the outcomes."""
        logits = self.left_out(weights, level, leads)
        loss = np.logaddexp(0.0, logits) - self.target * logits
        return float(np.mean(loss[self.known], dtype=np.float64))


def _strength(X: np.ndarray, Y: np.ndarray) -> float:
    return float(solve(X, Y, Y.mean(axis=0), together=True).strength[0])
