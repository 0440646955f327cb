"""kNN: the mean outcome of the nearest training queries, shrunk towards each candidate's mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.neighbour_index import MANY, neighbour_index
from herdwise.prediction.option_checks import positive, whole

_BATCH = 1024
#: Tried where they are not given, on so many training rows.
_NUMBERS = (25, 50, 100, 200, 400)
_PRIORS = (1.0, 3.0, 10.0, 30.0, 100.0, 1e4)
_TRIAL_ROWS = 2000


class KNNPredictor(FittedArrays):
    """Cosine neighbours with a Gaussian weight whose width is the distance of the k-th: adaptive bandwidth.

    Candidates that were not run on a neighbour are judged by the others alone. How many neighbours, and how
    firmly they are shrunk towards the candidate's mean, is chosen by the error on training rows that
    do not count as their own neighbours. Beyond 100,000 rows neighbours are searched by an approximate index
    (extra ``index``).

    Args:
        k: neighbours, fewer where there are fewer queries; ``None`` chooses.
        prior: neighbours at full weight that the candidate's overall mean counts for; ``None`` chooses.
        many: rows beyond which the index is approximate.
    """

    name: ClassVar[str] = "knn"
    arrays: ClassVar[tuple[str, ...]] = ("centre_", "units_", "outcomes_", "chosen_")
    options: ClassVar[tuple[str, ...]] = ("k", "prior", "many")

    def __init__(self, k: int | None = None, prior: float | None = None, many: int = MANY) -> None:
        self.k = None if k is None else whole(self.name, "k", k)
        self.prior = None if prior is None else positive(self.name, "prior", prior, zero=True)
        self.many = whole(self.name, "many", many)
        self._left_out: np.ndarray | None = None

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        self.centre_ = X.mean(axis=0)
        self.units_ = self._unit(X)
        self.outcomes_ = Y
        #: ``(2,)`` neighbours and prior.
        self.chosen_ = np.array([self.k or _NUMBERS[0], 0.0 if self.prior is None else self.prior])
        self._prepare()
        self.chosen_[:] = self._choose(rng)
        self._left_out = None

    def _prepare(self) -> None:
        self._index = neighbour_index(self.units_, many=self.many)

    @property
    def left_out_(self) -> np.ndarray | None:
        """``(n, m)`` each training row by its neighbours without itself; computed when first asked for."""
        if self._left_out is None and hasattr(self, "units_"):
            k, prior = self._taken()
            parts = [
                self._shrunk(*self._counted(*self._others(rows, k)), prior)
                for rows in _batches(len(self.units_))
            ]
            self._left_out = np.concatenate(parts).astype(np.float32)
        return self._left_out

    @left_out_.setter
    def left_out_(self, value: np.ndarray | None) -> None:
        self._left_out = value

    def _taken(self) -> tuple[int, float]:
        return min(int(self.chosen_[0]), len(self.units_)), float(self.chosen_[1])

    def _choose(self, rng: np.random.Generator) -> tuple[int, float]:
        """Neighbours and prior with the least left-out error, on some rows."""
        numbers = _NUMBERS if self.k is None else (self.k,)
        priors = _PRIORS if self.prior is None else (self.prior,)
        if len(numbers) * len(priors) == 1 or len(self.units_) < 2:
            return numbers[0], priors[-1]
        sample = rng.choice(len(self.units_), min(_TRIAL_ROWS, len(self.units_)), replace=False)
        errors = np.zeros((len(numbers), len(priors)))
        for batch in _batches(len(sample)):
            rows = sample[batch]
            found, near = self._others(rows, max(numbers))
            known = np.isfinite(self.outcomes_[rows])
            for i, k in enumerate(numbers):
                total, count = self._counted(found[:, :k], near[:, :k])
                for j, prior in enumerate(priors):
                    off = self._shrunk(total, count, prior) - self.outcomes_[rows]
                    errors[i, j] += float(np.sum(off[known] ** 2, dtype=np.float64))
        best = divmod(int(errors.argmin()), len(priors))
        return numbers[best[0]], priors[best[1]]

    def _others(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest training rows of some training rows, not counting themselves."""
        found, near = self._index.nearest(self.units_[rows], min(k + 1, len(self.units_)))
        own = found == rows[:, None]
        # Among duplicates, or with an approximate index, the row itself may not be found: the last one goes.
        own[~own.any(axis=1), -1] = True
        shape = (len(rows), found.shape[1] - 1)
        return found[~own].reshape(shape), near[~own].reshape(shape)

    def _counted(self, found: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted sum of the neighbours' outcomes and of the weights, ``(n, m)`` each; nearest first."""
        if found.shape[1] == 0:
            none = np.zeros((len(found), self.outcomes_.shape[1]), dtype=np.float32)
            return none, none
        distance = np.maximum(2.0 - 2.0 * near, 0.0)
        reached = np.where(found >= 0, distance, 0.0).max(axis=1, keepdims=True)
        weight = np.where(found >= 0, np.exp(-distance / np.maximum(reached, 1e-6)), 0.0).astype(np.float32)
        outcomes = self.outcomes_[found]
        known = np.isfinite(outcomes)
        total = np.einsum("nk,nkm->nm", weight, np.where(known, outcomes, np.float32(0.0)))
        return total, np.einsum("nk,nkm->nm", weight, known.astype(np.float32))

    def _shrunk(self, total: np.ndarray, count: np.ndarray, prior: float) -> np.ndarray:
        # A candidate that no neighbour ran has its mean, also where nothing is shrunk.
        firm = np.where(count > 0, prior, max(prior, 1.0))
        shrunk: np.ndarray = (total + firm * self.means_) / (count + firm)
        return shrunk

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate([self._batch(X[rows]) for rows in _batches(len(X))])

    def _batch(self, X: np.ndarray) -> np.ndarray:
        k, prior = self._taken()
        return self._shrunk(*self._counted(*self._index.nearest(self._unit(X), k)), prior)

    def _unit(self, X: np.ndarray) -> np.ndarray:
        X = X - self.centre_
        norm = np.linalg.norm(X, axis=1, keepdims=True)
        unit: np.ndarray = X / np.maximum(norm, 1e-9)
        return unit


def _batches(n: int) -> list[np.ndarray]:
    return [np.arange(first, min(first + _BATCH, n)) for first in range(0, n, _BATCH)]
