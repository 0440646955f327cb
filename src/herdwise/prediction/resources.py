"""What an answer will take: output tokens, seconds and USD per candidate and query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from herdwise.core.errors import ArtefactError, InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import CHARS_PER_TOKEN
from herdwise.prediction.least_squares import solve

KINDS = ("cost_usd", "latency_s", "output_tokens")
_ARRAYS = ("weights_", "length_weights_", "offset_", "low_", "high_", "length_range_")


@dataclass(frozen=True, slots=True)
class Resources:
    """Expected per (query, candidate), ``(n, m)`` or ``(m,)`` float64; NaN = unknown.

    Args:
        cost_usd: USD for the call.
        latency_s: seconds to the last byte.
        output_tokens: length of the answer.
    """

    cost_usd: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray


class ResourcePredictor:
    """Ridge on the logarithm of what was recorded, brought back to the recorded mean.

    Features are the logarithm of the input's length and the leading directions of the query vectors. The
    exponential of a mean logarithm is too low as an expectation, so each candidate's predictions are
    scaled until their mean over the training rows is the recorded mean (ratio smearing, after Duan 1983).
    Predictions stay within what was recorded for the candidate. A candidate with fewer than ``min_rows``
    recorded values gets their plain mean; one without any stays NaN.

    Args:
        n_directions: principal directions of the query vectors.
        min_rows: recorded values from which a candidate is learned rather than averaged.
    """

    def __init__(self, n_directions: int = 16, min_rows: int = 30) -> None:
        self.n_directions, self.min_rows = n_directions, min_rows

    def fit(self, X: np.ndarray, input_tokens: np.ndarray, table: OutcomeTable) -> Self:
        """Learn from the recorded columns ``cost_usd``, ``latency_s`` and ``output_tokens``.

        Where only ``output_chars`` was recorded, tokens are characters / ``CHARS_PER_TOKEN``.

        Args:
            X: ``(n, d)`` query vectors, in the table's order.
            input_tokens: ``(n,)`` prompt lengths.
            table: the outcomes of n queries on m candidates.

        Raises:
            InputError: when the numbers of queries differ.
        """
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 2 or len(X) != table.n_queries or len(input_tokens) != len(X):
            raise InputError(
                f"X {X.shape} and {len(input_tokens)} lengths do not fit {table.n_queries} queries."
            )
        n_features, n_candidates = X.shape[1], table.n_candidates
        recorded = [_recorded(table, kind) for kind in KINDS]
        length = np.log1p(np.maximum(np.asarray(input_tokens, dtype=np.float64), 0.0)).astype(np.float32)
        self.length_range_ = np.array([length.min(), length.max()]) if len(X) else np.zeros(2)
        directions, centre = _principal(X, self.n_directions)
        scores = (X - centre) @ directions
        spread = float(scores[:, 0].std()) if scores.size else 0.0
        directions = directions / max(spread, 1e-6)
        features = np.concatenate([scores / max(spread, 1e-6), _standard(length)[:, None]], axis=1)
        shape = (len(KINDS), n_candidates)
        self.weights_ = np.zeros((n_features, *shape), dtype=np.float32)
        self.length_weights_ = np.zeros(shape)
        self.offset_, self.low_, self.high_ = (np.full(shape, np.nan) for _ in range(3))
        for kind, value in enumerate(recorded):
            for j in range(n_candidates):
                rows = np.isfinite(value[:, j])
                if not rows.any():
                    continue
                seen = np.maximum(value[rows, j].astype(np.float64), 0.0)
                mean = float(seen.mean())
                positive = seen[seen > 0]
                # Zeros (a free call, an empty answer) enter the logarithm as a thousandth of the median.
                floor = 1e-3 * float(np.median(positive)) if positive.size else 1e-12
                self.low_[kind, j], self.high_[kind, j] = np.log(floor), np.log(max(seen.max(), floor))
                if rows.sum() < self.min_rows or not positive.size:
                    self.offset_[kind, j] = np.log(max(mean, floor))
                    continue
                target = np.log(np.maximum(seen, floor))
                fit = solve(features[rows], target[:, None], np.array([target.mean()]))
                plain = np.clip(
                    features[rows] @ fit.weights[:, 0] + fit.offset[0], target.min(), target.max()
                ).astype(np.float64)
                smear = np.log(mean / np.exp(plain).mean())
                weights, on_length = fit.weights[:-1, 0], float(fit.weights[-1, 0])
                middle, width = float(length.mean()), max(float(length.std()), 1e-6)
                self.weights_[:, kind, j] = directions @ weights
                self.length_weights_[kind, j] = on_length / width
                self.offset_[kind, j] = (
                    fit.offset[0]
                    + smear
                    - on_length * middle / width
                    - float((centre @ directions) @ weights)
                )
        return self._prepared()

    def _prepared(self) -> Self:
        """Lay the parts of the recorded kinds side by side, so that a decision is one product."""
        self._kinds = [k for k in range(len(KINDS)) if np.isfinite(self.offset_[k]).any()]
        flat = self.weights_[:, self._kinds].reshape(len(self.weights_), -1)
        self._weights = np.ascontiguousarray(flat, dtype=np.float32)
        rest = (self.length_weights_, self.offset_, self.low_, self.high_)
        self._on_length, self._offset, self._low, self._high = (a[self._kinds].ravel() for a in rest)
        return self

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return int(self.offset_.shape[1])

    def known(self) -> dict[str, np.ndarray]:
        """For each of ``KINDS`` which candidates it was learned for, ``(m,)`` bool."""
        return {kind: np.isfinite(self.offset_[i]) for i, kind in enumerate(KINDS)}

    def predict(
        self,
        X: np.ndarray,
        input_tokens: np.ndarray,
        input_usd_per_mtok: np.ndarray,
        output_usd_per_mtok: np.ndarray,
    ) -> Resources:
        """Expected resources of ``(n, d)`` vectors and ``(n,)`` prompt lengths.

        A candidate's cost is the learned one where costs were recorded, else price times tokens, else NaN.

        Args:
            X: ``(n, d)`` query vectors.
            input_tokens: ``(n,)`` prompt lengths.
            input_usd_per_mtok: ``(m,)`` price of a million input tokens, NaN = unknown.
            output_usd_per_mtok: ``(m,)`` price of a million output tokens, NaN = unknown.

        Raises:
            InputError: when X does not have the training data's features.
        """
        if X.ndim != 2 or X.shape[1] != len(self.weights_):
            raise InputError(
                f"X {X.shape} does not have the {len(self.weights_)} features of the training data."
            )
        tokens = np.asarray(input_tokens, dtype=np.float64)[:, None]
        return self._resources(X @ self._weights, tokens, input_usd_per_mtok, output_usd_per_mtok)

    def predict_one(
        self,
        x: np.ndarray,
        input_tokens: float,
        input_usd_per_mtok: np.ndarray,
        output_usd_per_mtok: np.ndarray,
    ) -> Resources:
        """The same for one vector ``(d,)``: arrays of ``(m,)``."""
        return self._resources(
            x @ self._weights, float(input_tokens), input_usd_per_mtok, output_usd_per_mtok
        )

    def _resources(
        self, projected: np.ndarray, tokens: Any, input_price: np.ndarray, output_price: np.ndarray
    ) -> Resources:
        length = np.minimum(np.maximum(np.log1p(tokens), self.length_range_[0]), self.length_range_[1])
        logarithm = projected + length * self._on_length + self._offset
        value = np.exp(np.minimum(np.maximum(logarithm, self._low), self._high))
        m = self.n_candidates
        parts: list[np.ndarray] = [np.full((*value.shape[:-1], m), np.nan) for _ in KINDS]
        for place, kind in enumerate(self._kinds):
            parts[kind] = value[..., place * m : (place + 1) * m]
        cost, latency, output = parts
        # Free output costs nothing, however long: its length need not be known.
        priced = (tokens * input_price + np.where(output_price == 0.0, 0.0, output * output_price)) * 1e-6
        return Resources(np.where(np.isnan(cost), priced, cost), latency, output)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options as JSON values, and fitted arrays."""
        options = {"n_directions": self.n_directions, "min_rows": self.min_rows}
        return options, {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
        """
        predictor = cls(**options)
        for name in _ARRAYS:
            if name not in arrays:
                raise ArtefactError(
                    f"the saved resource predictor lacks the array {name!r}.",
                    remedy="Train the router again.",
                )
            setattr(predictor, name, np.asarray(arrays[name]))
        return predictor._prepared()


def _recorded(table: OutcomeTable, kind: str) -> np.ndarray:
    """Dense ``(n, m)`` recorded values of one kind, NaN = unknown."""
    nothing = np.full((table.n_queries, table.n_candidates), np.nan, dtype=np.float32)
    value = table.matrix(kind) if table.has(kind) else nothing
    if kind == "output_tokens" and table.has("output_chars"):
        return np.where(np.isfinite(value), value, table.matrix("output_chars") / np.float32(CHARS_PER_TOKEN))
    return value


def _principal(X: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` leading principal directions ``(d, count)``, and the centre ``(d,)``."""
    centre = X.mean(axis=0)
    centred = X - centre
    _, basis = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return basis[:, ::-1][:, :count].astype(np.float32), centre


def _standard(value: np.ndarray) -> np.ndarray:
    """Zero mean, unit deviation."""
    scaled: np.ndarray = (value - value.mean()) / max(float(value.std()), 1e-6)
    return scaled
