"""Likeness: what a new candidate is like, from its outcomes on a few queries that the known herd also met.

A new candidate is taken for one more draw from the population that the known candidates were drawn from.
Its expected quality is then an offset plus a weighted sum of theirs, and the same weights carry over from
recorded outcomes to predictions, because an expectation is linear. Two estimates of the weights, averaged:

- Gaussian: outcome(q) = mean of the herd(q) + sum_k c_k u_k(q) + offset + noise, where u_k are the principal
  components of the known candidates' outcomes and c_k is as large as the components are, less what noise
  alone would give (probabilistic PCA, Tipping and Bishop 1999; the posterior is ridge with a strength per
  component). Strong once there are some dozens of outcomes.
- Which one is it: the posterior over "it answers as candidate j does". Strong with ten.

Chosen by cross-validation on training splits: docs/experiments/2026-11-21-cold-start.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

#: Weight of a known candidate's own outcome in "it answers as j does"; the rest is what one expects of
#: j on such a query (half its prediction, half the herd's outcomes on that very query).
_OWN = 0.4
_SURE = 0.03
#: Variance of the new candidate's level beyond what the known ones span: they span less the fewer they are.
_OFFSET_VARIANCE, _OFFSET_VARIANCE_OF_ONE = 0.005, 0.04
#: How many outcomes outweigh the guess that the posterior's residual is chance: 0.2 / 0.003.
_OFFSET_PRIOR_ROWS = 67.0
#: How much larger the level's error is than the posterior says: candidates are not quite alike. Measured on
#: held-out candidates (0.8 to 1.4); known ones left out cannot tell it, anchors being chosen to suit them.
_MISFIT = 1.25
#: Known candidates below which the noise cannot be read from the components.
_FEW = 4


@dataclass(frozen=True)
class Mix:
    """A new candidate as a combination of the known ones.

    Args:
        weights: ``(k,)`` of the known candidates' qualities.
        offset: what is added to the weighted sum.
        shares: ``(k,)`` posterior of "it answers as candidate j does", together 1.
        covariance: ``(p, p)`` posterior of the Gaussian part's coefficients.
    """

    weights: np.ndarray
    offset: float
    shares: np.ndarray
    covariance: np.ndarray

    def __call__(self, quality: np.ndarray) -> np.ndarray:
        """Expected quality, ``(...)``, from the known candidates' ``(..., k)``."""
        return np.asarray(np.clip(quality @ self.weights + self.offset, 0.0, 1.0))


class Likeness:
    """The population that a new candidate is drawn from.

    Args:
        scatter: ``(k, k)`` mean over queries of outcome x outcome.
        noise: variance of an outcome around its expectation where there are too few candidates to tell.
    """

    def __init__(self, scatter: np.ndarray, noise: float) -> None:
        self.scatter, self.noise = scatter, noise
        k = len(scatter)
        centring = np.eye(k) - 1.0 / k
        size, basis = np.linalg.eigh(centring @ scatter @ centring)
        if k >= _FEW:
            noise = float(size[: max(k // 2, 1)].mean())
        real = np.maximum(size - noise, 0.0) / np.maximum(size, 1e-12)
        kept = real > 1e-9
        self.basis_ = centring @ basis[:, kept]
        #: Prior variance per coefficient, the offset's last; and of an outcome around its expectation.
        self.prior_ = np.append(real[kept] / k, _OFFSET_VARIANCE + _OFFSET_VARIANCE_OF_ONE / k)
        self.noise_ = max(1.2 * noise, 1e-3)

    @classmethod
    def fit(cls, outcomes: np.ndarray, predicted: np.ndarray) -> Self:
        """Learn from ``(n, k)`` outcomes, gaps filled, and the predictions of the same queries."""
        F = np.asarray(outcomes, dtype=np.float64)
        return cls(F.T @ F / len(F), 0.6 * float(np.mean((F - predicted) ** 2)))

    def features(self, quality: np.ndarray) -> np.ndarray:
        """``(n, p)`` regressors of ``(n, k)`` qualities: the components, and one for the offset."""
        components = np.asarray(quality, dtype=np.float64) @ self.basis_
        return np.concatenate([components, np.ones((len(components), 1))], axis=1)

    def noise_of(self, outcomes: np.ndarray) -> np.ndarray:
        """Variance of a new outcome on queries with these ``(n, k)`` outcomes; less where all agree."""
        level = np.asarray(outcomes, dtype=np.float64).mean(axis=1)
        return np.asarray(0.5 * self.noise_ + 0.5 * level * (1.0 - level))

    def mix(self, outcomes: np.ndarray, predicted: np.ndarray, quality: np.ndarray) -> Mix:
        """What the new candidate is like.

        Args:
            outcomes: ``(N, k)`` of the known candidates on the probes (where one was not run: predicted).
            predicted: ``(N, k)`` predictions of the known candidates on the probes.
            quality: ``(N,)`` of the new candidate.
        """
        F, P = np.asarray(outcomes, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        y, k = np.asarray(quality, dtype=np.float64), F.shape[1]
        mean = F.mean(axis=1)
        Z = self.features(F)
        precision = Z.T @ Z / self.noise_ + np.diag(1.0 / self.prior_)
        covariance = np.linalg.inv(precision)
        coefficient = covariance @ (Z.T @ (y - mean)) / self.noise_
        gaussian = 1.0 / k + self.basis_ @ coefficient[:-1]

        as_j = _OWN * F + (1.0 - _OWN) * 0.5 * (P + mean[:, None])
        as_j = np.clip(as_j, _SURE, 1.0 - _SURE)
        logarithm = y @ np.log(as_j) + (1.0 - y) @ np.log(1.0 - as_j)
        shares = np.exp(logarithm - logarithm.max())
        shares /= shares.sum()
        surplus = float((y - F @ shares).sum() / (len(y) + _OFFSET_PRIOR_ROWS))
        return Mix(0.5 * (gaussian + shares), 0.5 * (float(coefficient[-1]) + surplus), shares, covariance)

    def level_std(self, mix: Mix, outcomes: np.ndarray) -> float:
        """Standard error of the new candidate's mean over queries with these ``(n, k)`` outcomes."""
        at = self.features(outcomes.mean(axis=0)[None])[0]
        return _MISFIT * float(np.sqrt(at @ mix.covariance @ at))
