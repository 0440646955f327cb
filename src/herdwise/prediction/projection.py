"""Projection: the query vectors as the stack's members see them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Self

import numpy as np

_ARRAYS = ("centre_", "directions_")
#: Relative size below which a direction is rounding alone.
_NOTHING = 1e-3


class Projection:
    """Leading principal directions, weighted by a power of their size; each row of length one.

    The opposite of whitening: directions in which queries differ a lot say what kind of query it is, and
    likeness should count them for more; the small ones are noise to it, and cost time in every decision.
    Measured in docs/experiments.

    Args:
        n_directions: at most so many are kept.
        power: of a direction's standard deviation relative to the largest one; 0 leaves likeness as it is.
    """

    def __init__(self, n_directions: int = 256, power: float = 0.25) -> None:
        self.n_directions, self.power = n_directions, power

    def fit(self, X: np.ndarray) -> Self:
        """Learn from ``(n, d)`` vectors."""
        self.__dict__.pop("_across", None)
        self.centre_ = X.mean(axis=0)
        centred = X - self.centre_
        eigenvalues, basis = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        kept = slice(None, -self.n_directions - 1, -1)
        size = np.sqrt(np.maximum(eigenvalues[kept], 0.0))
        relative = size / max(float(size[0]), 1e-12) if size.size else size
        # What no training query had (a script, tools) was not learned, and must not move a prediction.
        weight = np.where(relative > _NOTHING, (relative + 0.02) ** self.power, 0.0)
        self.directions_ = (basis[:, kept] * weight).astype(np.float32)
        return self

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """``(n, d)`` vectors as ``(n, q)`` of length one."""
        Z = (X - self.centre_) @ self.directions_
        Z /= np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-6)
        return np.asarray(Z)

    def one(self, x: np.ndarray) -> np.ndarray:
        """One vector ``(d,)`` as ``(q,)``."""
        z: np.ndarray = self._across.dot(x - self.centre_)
        z *= np.float32(1.0 / max(float(z.dot(z)) ** 0.5, 1e-6))
        return z

    @cached_property
    def _across(self) -> np.ndarray:
        """The directions one after the other, ``(q, d)``: read in order, they are multiplied by sooner."""
        return np.ascontiguousarray(self.directions_.T)

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays."""
        return {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``."""
        projection = cls()
        for name in _ARRAYS:
            setattr(projection, name, np.asarray(arrays[name]))
        return projection
