"""Cautious: another predictor, trusted only on queries of a kind that the training data hold."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ArtefactError, InputError
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.option_checks import positive

#: Ridge under the covariance, as a share of the mean variance.
_RIDGE = 1e-3
_ARRAYS = ("means_", "levels_", "centre_", "whitening_", "limit_")


class CautiousPredictor(Predictor):
    """As ``inner`` predicts, but the candidates' training means where a query is of a new kind.

    A benchmark that was not trained on can look like one that was, in words; a router then follows advice
    that was never tested there. What gives a new kind away are directions in which the training queries
    hardly vary, such as their layout: how far a linear fit would have to extrapolate (leverage, the squared
    Mahalanobis distance over n) is far beyond that of any training row as seen from the others. Where that
    happens the best single candidate answers, or whom cost asks for by the candidates' means.

    Costs the gain on new kinds of queries that the inner predictor's advice happens to fit.

    Args:
        inner: name of a registered predictor.
        inner_options: its options.
        share: of the training queries that may be taken for new.
    """

    name: ClassVar[str] = "cautious"

    def __init__(
        self, inner: str = "stack", inner_options: Mapping[str, Any] | None = None, share: float = 0.01
    ) -> None:
        if inner == self.name:
            raise InputError("a cautious predictor cannot be its own inner one.", remedy="Name another.")
        self.inner, self.inner_options = inner, dict(inner_options or {})
        self.share = positive(self.name, "share", share)
        if self.share >= 1.0:
            raise InputError(f"share {share:g} must lie between 0 and 1.")

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        self._inner = PREDICTORS.create(self.inner, **self.inner_options)
        self._inner.fit(X, Y, seed=int(rng.integers(2**31)), candidate_features=self.candidate_features_)
        runs = np.isfinite(Y).sum(axis=0)
        # A mean over few queries is no reason to prefer a candidate for all that is new.
        often = runs >= 0.5 * runs.max()
        low = np.minimum(self.means_, self.means_[often].min())
        self.levels_ = np.where(often, self.means_, low).astype(np.float32)
        self.centre_ = X.mean(axis=0)
        centred = (X - self.centre_).astype(np.float32)
        covariance = (centred.T @ centred).astype(np.float64) / len(X)
        variance, basis = np.linalg.eigh(covariance)
        ridge = max(_RIDGE * float(variance.mean()), 1e-12)
        self.whitening_ = (basis / np.sqrt((np.maximum(variance, 0.0) + ridge) * len(X))).astype(np.float32)
        leverage = np.minimum(self._leverage(X), 1.0 - 1e-6)
        # As each row would be seen from the others (Sherman and Morrison).
        left_out = leverage / (1.0 - leverage)
        self.limit_ = np.array(np.quantile(left_out, 1.0 - self.share))
        self.left_out_ = self._inner.left_out_
        self._inner.left_out_ = None
        if self.left_out_ is not None:
            self.left_out_[left_out > self.limit_] = self.levels_

    def _leverage(self, X: np.ndarray) -> np.ndarray:
        scores = (X - self.centre_) @ self.whitening_
        return np.asarray((scores**2).sum(axis=-1))

    def is_new(self, X: np.ndarray) -> np.ndarray:
        """Which of ``(n, d)`` vectors are of a kind that the training data do not hold, ``(n,)`` bool."""
        return np.asarray(self._leverage(X) > self.limit_)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return np.where(self.is_new(X)[:, None], self.levels_, self._inner.predict(X))

    def predict_anew(self, X: np.ndarray) -> np.ndarray:
        """Without what the inner predictor has on record of the very same queries."""
        return np.where(self.is_new(X)[:, None], self.levels_, self._inner.predict_anew(X))

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        return self.levels_ if self.is_new(x) else self._inner.predict_one(x)

    def parts(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The inner predictor's parts, or the candidates' means alone."""
        return {"mean": self.levels_} if self.is_new(x) else self._inner.parts(x)

    def among(self, columns: np.ndarray) -> Self:
        """A copy whose inner predictor knows whom to guard."""
        part = copy(self)
        part._inner = self._inner.among(columns)
        return part

    def std(self, X: np.ndarray) -> np.ndarray | None:
        """The inner predictor's standard error."""
        return self._inner.std(X)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The inner predictor's state, its arrays prefixed, and the kinds that are known."""
        options, arrays = self._inner.state()
        own = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        own |= {f"inner.{name}": value for name, value in arrays.items()}
        return {"inner": self.inner, "inner_options": options, "share": self.share}, own

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
            UnknownNameError: when the inner predictor is not installed.
        """
        predictor = cls(options["inner"], share=float(options["share"]))
        for name in _ARRAYS:
            if name not in arrays:
                raise ArtefactError(
                    f"the saved 'cautious' predictor lacks the array {name!r}.",
                    remedy="Train the router again.",
                )
            setattr(predictor, name, np.asarray(arrays[name]))
        inside = {k.removeprefix("inner."): v for k, v in arrays.items() if k.startswith("inner.")}
        predictor._inner = PREDICTORS.get(predictor.inner).from_state(options["inner_options"], inside)
        predictor.inner_options = dict(options["inner_options"])
        predictor.n_features_, predictor.n_candidates_ = len(predictor.centre_), len(predictor.means_)
        return predictor
