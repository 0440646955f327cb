"""The predictor seam: vectors in, expected quality per candidate out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import InputError
from herdwise.core.registry import Registry
from herdwise.prediction.candidate_features import CANDIDATE_FEATURES


class Predictor(ABC):
    """Expected quality of each candidate on each query, before the call.

    Works on any ``(n, m)`` matrix of outcomes with NaN where a candidate was not run. A candidate
    without a single outcome gets the mean of the others' means: known to be unknown, never zero.
    A subclass fills ``_fit`` and ``_predict``; both may assume finite float32 ``X``.
    """

    name: ClassVar[str]
    #: ``(n, m)`` predictions of the training rows, each by a fit without that row, where ``_fit`` can tell
    #: them without refitting; a stack learns from them. Not part of the saved state.
    left_out_: np.ndarray | None = None
    #: Called with (done, total) while ``fit`` works, where the predictor has several steps.
    progress: Callable[[int, int], None] | None = None

    def fit(
        self, X: np.ndarray, Y: np.ndarray, *, seed: int = 0, candidate_features: np.ndarray | None = None
    ) -> Self:
        """Learn.

        Args:
            X: ``(n, d)`` query vectors.
            Y: ``(n, m)`` quality in [0, 1], NaN = not run.
            seed: for any random choice; the same seed gives the same predictor.
            candidate_features: ``(m, f)`` what else is known of the candidates, NaN = unknown, as
                ``candidate_features.candidate_features`` gives it; ``None`` is all unknown. Only predictors
                that learn across candidates look at it (as ``candidate_features_``).

        Raises:
            InputError: when shapes differ, or nothing was graded.
        """
        X = np.ascontiguousarray(X, dtype=np.float32)
        Y = np.asarray(Y, dtype=np.float32)
        if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
            raise InputError(f"X {X.shape} and Y {Y.shape} must be (n, d) and (n, m).")
        if not np.isfinite(Y).any():
            raise InputError("no graded outcome to learn from.", remedy="Record some quality values first.")
        self.n_features_, self.n_candidates_ = X.shape[1], Y.shape[1]
        count = np.isfinite(Y).sum(axis=0)
        total = np.nansum(Y, axis=0)
        overall = float(total.sum() / count.sum())
        self.means_ = np.where(count > 0, total / np.maximum(count, 1), overall).astype(np.float32)
        self.candidate_features_ = _checked(candidate_features, Y.shape[1])
        self._fit(X, Y, np.random.default_rng(seed))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Expected quality, ``(n, m)`` float32 in [0, 1], for ``(n, d)`` vectors."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 2 or X.shape[1] != self.n_features_:
            raise InputError(
                f"X {X.shape} does not have the {self.n_features_} features of the training data."
            )
        if len(X) == 0:
            return np.zeros((0, self.n_candidates_), dtype=np.float32)
        clipped: np.ndarray = np.clip(self._predict(X), 0.0, 1.0).astype(np.float32, copy=False)
        return clipped

    def predict_anew(self, X: np.ndarray) -> np.ndarray:
        """As ``predict``, but as if these queries had never been asked: without a memory of the very same.

        What is learned from predictions of training queries (newcomers are) needs the errors of new ones.
        """
        return self.predict(X)

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """Expected quality, ``(m,)``, for one vector ``(d,)``; the serving path, tuned where it matters."""
        return np.asarray(self.predict(x[None])[0])

    def parts(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What ``predict_one`` is the sum of, for an explanation: name of a part -> ``(m,)``, in order."""
        return {"mean": self.means_, "query": self.predict_one(x) - self.means_}

    def among(self, columns: np.ndarray) -> Self:
        """The same knowledge where only these candidates may be picked; a guard then knows whom to guard."""
        del columns
        return self

    def std(self, X: np.ndarray) -> np.ndarray | None:
        """Standard error of the expectation, ``(n, m)``, or None when this predictor states none."""
        del X
        return None

    @abstractmethod
    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None: ...

    @abstractmethod
    def _predict(self, X: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options as JSON values (constructor arguments), and fitted arrays (``means_`` included)."""

    @classmethod
    @abstractmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``; predicts the same to 1e-6. Needs numpy only."""


def _checked(features: np.ndarray | None, m: int) -> np.ndarray:
    shape = (m, len(CANDIDATE_FEATURES))
    if features is None:
        return np.full(shape, np.nan, dtype=np.float32)
    features = np.asarray(features, dtype=np.float32)
    if features.shape != shape:
        raise InputError(
            f"candidate_features {features.shape} must be {shape}: {', '.join(CANDIDATE_FEATURES)}."
        )
    return features


PREDICTORS: Registry[Predictor] = Registry("predictor", "herdwise.predictors")
