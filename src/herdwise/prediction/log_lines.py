"""Lines on the logarithm: what is learned of a query's vector and length, folded into one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class LogLines:
    """A line per kind and candidate: ``x @ weights + length * on_length + offset``, from ``low`` to ``high``.

    Args:
        weights: ``(d, n_kinds, m)`` float32.
        on_length, offset, low, high: ``(n_kinds, m)``; an offset of NaN = nothing is known.
    """

    weights: np.ndarray
    on_length: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def unknown(cls, d: int, n_kinds: int, m: int) -> Self:
        """Lines to be filled."""
        shape = (n_kinds, m)
        offset, low, high = (np.full(shape, np.nan) for _ in range(3))
        return cls(np.zeros((d, *shape), dtype=np.float32), np.zeros(shape), offset, low, high)

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Self:
        """As saved.

        Raises:
            KeyError: when an array is missing.
        """
        names = ("weights_", "length_weights_", "offset_", "low_", "high_")
        return cls(*(np.asarray(arrays[prefix + name]) for name in names))

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """By name, for a saved router."""
        return {
            f"{prefix}weights_": self.weights,
            f"{prefix}length_weights_": self.on_length,
            f"{prefix}offset_": self.offset,
            f"{prefix}low_": self.low,
            f"{prefix}high_": self.high,
        }


class Design:
    """The features that lines are fitted on: leading directions of the query vectors, and the length.

    Args:
        X: ``(n, d)`` float32 query vectors.
        length: ``(n,)`` logarithms of the inputs' lengths.
        n_directions: at most so many principal directions.
    """

    def __init__(self, X: np.ndarray, length: np.ndarray, n_directions: int) -> None:
        self._length = length
        self._directions, self._centre = _principal(X, n_directions)
        scores = (X[:10_000] - self._centre) @ self._directions[:, :1]
        self._directions = self._directions / max(float(scores.std()) if scores.size else 0.0, 1e-6)
        self._scores = np.empty((len(X), self._directions.shape[1]), dtype=np.float32)
        for start in range(0, len(X), 10_000):
            rows = slice(start, start + 10_000)
            self._scores[rows] = (X[rows] - self._centre) @ self._directions
        self._middle, self._width = float(length.mean()), max(float(length.std()), 1e-6)

    def features(self, rows: np.ndarray, n_directions: int) -> np.ndarray:
        """``(len(rows), n_directions + 1)`` float32, the length last; fewer where d is smaller."""
        scores = self._scores[rows, :n_directions]
        length = (self._length[rows] - self._middle) / self._width
        return np.concatenate([scores, length[:, None]], axis=1).astype(np.float32, copy=False)

    def fold(
        self, lines: LogLines, kind: int, columns: Sequence[int], weights: np.ndarray, offset: np.ndarray
    ) -> None:
        """Write lines on features as lines on vectors and lengths.

        Args:
            lines: filled at ``kind`` and ``columns``.
            weights, offset: ``(n_features, len(columns))``, ``(len(columns),)``.
        """
        directions = self._directions[:, : len(weights) - 1]
        across = directions @ weights[:-1]
        lines.weights[:, kind, columns] = across
        lines.on_length[kind, columns] = weights[-1] / self._width
        lines.offset[kind, columns] = (
            offset - weights[-1] * self._middle / self._width - self._centre @ across
        )


def _principal(X: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` leading principal directions ``(d, count)``, and the centre ``(d,)``."""
    centre = X.mean(axis=0)
    scatter = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X), 10_000):
        centred = X[start : start + 10_000] - centre
        scatter += centred.T @ centred
    _, basis = np.linalg.eigh(scatter)
    return basis[:, ::-1][:, :count].astype(np.float32), centre
