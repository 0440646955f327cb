"""Repeats: a query that was asked before, word for word, and what came of it then.

A smooth predictor sees a repeated query as one more point of its neighbourhood, and forgets what exactly
happened there. People do ask the same things again, and a candidate that was right once mostly is so again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Self

import numpy as np

_ARRAYS = ("directions_", "shadows_", "correction_")
#: Random projections that tell queries apart; that many equal by chance means equal texts.
_N_SHADOWS = 6
#: How far shadows of the same text may lie apart: rounding, and nothing else.
_TOLERANCE = 1e-4
_WITHIN = np.float32(_TOLERANCE)
#: Groups of repeated queries below which nothing is concluded.
_MIN_GROUPS = 10
#: Most entries kept (float16).
_MAX_ENTRIES = 5_000_000


class Repeats:
    """Moves the prediction of a recorded query towards its recorded outcomes.

    The left-out residuals of a query and of its repeat have a covariance; as a share ``r`` of their variance
    it says how far an outcome repeats. With ``k`` recorded outcomes the residual to expect is their sum times
    ``c / (1 + c k)``, ``c = r / (1 - r)`` (the posterior mean of a shared part in noise). ``r`` is measured
    on the training queries that are repeated there, less one standard error; where too few are, nothing is
    moved.

    Queries are told apart by a few random projections, so that a decision costs microseconds however many are
    recorded.
    """

    @classmethod
    def none(cls, n_candidates: int) -> Self:
        """Nothing on record."""
        repeats = cls()
        repeats.directions_ = np.zeros((0, _N_SHADOWS), dtype=np.float32)
        repeats.shadows_ = np.zeros((0, _N_SHADOWS), dtype=np.float32)
        repeats.correction_ = np.zeros((0, n_candidates), dtype=np.float16)
        return repeats

    def fit(self, X: np.ndarray, Y: np.ndarray, left_out: np.ndarray, rng: np.random.Generator) -> Self:
        """Learn from ``(n, d)`` vectors, ``(n, m)`` outcomes and left-out predictions.

        ``left_out`` is moved in place, each row by the others of its text.
        """
        m = Y.shape[1]
        self.directions_ = rng.standard_normal((X.shape[1], _N_SHADOWS)).astype(np.float32)
        self.shadows_ = np.zeros((0, _N_SHADOWS), dtype=np.float32)
        self.__dict__.pop("_column", None)
        self.__dict__.pop("_across", None)
        self.correction_ = np.zeros((0, m), dtype=np.float16)
        shadows = X @ self.directions_
        group = _groups(shadows)
        size = np.bincount(group)
        rows = np.flatnonzero(size[group] > 1)
        if len(np.unique(group[rows])) < _MIN_GROUPS:
            return self
        _, place = np.unique(group[rows], return_inverse=True)
        residual, known = _residuals(Y[rows], left_out[rows])
        total, count = _sums(residual, known, place)
        # Over ordered pairs of one text: the product of their residuals, and the square of one.
        others, n_others = total[place] - residual, count[place] - known
        product = np.bincount(place, (residual * others).sum(axis=1))
        square = np.bincount(place, (residual**2 * n_others).sum(axis=1))
        repeated = float(product.sum() - np.sqrt((product**2).sum())) / max(float(square.sum()), 1e-9)
        if repeated <= 0:
            return self
        share = min(repeated, 0.95)
        weight = share / (1.0 - share)
        left_out[rows] = np.clip(left_out[rows] + weight * others / (1.0 + weight * n_others), 0.0, 1.0)
        self._keep(shadows, group, Y, left_out, rows, residual, weight, rng)
        return self

    def _keep(
        self,
        shadows: np.ndarray,
        group: np.ndarray,
        Y: np.ndarray,
        left_out: np.ndarray,
        moved: np.ndarray,
        residual: np.ndarray,
        weight: float,
        rng: np.random.Generator,
    ) -> None:
        """Fill the table of corrections, a row per distinct text, in the order of the first shadow."""
        m = Y.shape[1]
        wanted = np.ones(int(group.max()) + 1, dtype=bool)
        if len(wanted) * m > _MAX_ENTRIES:
            wanted[:] = False
            wanted[rng.choice(len(wanted), max(_MAX_ENTRIES // m, 1), replace=False)] = True
        rows = np.flatnonzero(wanted[group])
        every, known = _residuals(Y[rows], left_out[rows])
        _, among, of = np.intersect1d(rows, moved, assume_unique=True, return_indices=True)
        every[among] = residual[of]  # as they were before the move
        total, count = _sums(every, known, group[rows])
        _, first = np.unique(group[rows], return_index=True)
        order = np.argsort(shadows[rows[first], 0], kind="stable")
        self.shadows_ = np.ascontiguousarray(shadows[rows[first[order]]])
        self.correction_ = (weight * total[order] / (1.0 + weight * count[order])).astype(np.float16)

    def one(self, z: np.ndarray) -> np.ndarray | None:
        """What to add to the ``(m,)`` prediction of one vector; None where it was never asked."""
        return self._found(self._across.dot(z)) if len(self.shadows_) else None

    @cached_property
    def _across(self) -> np.ndarray:
        """The directions one after the other, which are multiplied by sooner."""
        return np.ascontiguousarray(self.directions_.T)

    @cached_property
    def _column(self) -> np.ndarray:
        """By which the shadows are sorted, one number beside the other."""
        return np.ascontiguousarray(self.shadows_[:, 0])

    def _found(self, shadow: np.ndarray) -> np.ndarray | None:
        # A number of the column's own kind: for another one all of it would be converted.
        column, first = self._column, shadow[0]
        low = int(column.searchsorted(first - _WITHIN))
        if low == len(column) or float(column[low]) > float(first + _WITHIN):
            return None
        high = int(column.searchsorted(first + _WITHIN))
        same = np.flatnonzero((np.abs(self.shadows_[low:high] - shadow) <= _TOLERANCE).all(axis=1))
        return np.asarray(self.correction_[low + same[0]], dtype=np.float32) if len(same) else None

    def __call__(self, X: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """``(n, m)`` predictions of ``(n, d)`` vectors, moved in place where a query is a repeat."""
        if len(self.shadows_):
            for row, shadow in enumerate(X @ self.directions_):
                correction = self._found(shadow)
                if correction is not None:
                    predicted[row] += correction
        return predicted

    def state(self) -> dict[str, np.ndarray]:
        """The fitted arrays."""
        return {name: np.asarray(getattr(self, name)) for name in _ARRAYS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``."""
        repeats = cls()
        for name in _ARRAYS:
            setattr(repeats, name, np.asarray(arrays[name]))
        return repeats


def _groups(shadows: np.ndarray) -> np.ndarray:
    """Number of each row's group, ``(n,)``: rows of one group have shadows that agree in every column.

    First by coarse cells of all columns: among a million queries each has a neighbour within the tolerance in
    any single column, and the neighbours would chain up to one group.
    """
    size = np.maximum(0.1 * shadows.std(axis=0), 4.0 * _TOLERANCE)
    cells = np.clip(np.floor(shadows / size), -512, 511).astype(np.int64) + 512
    _, group = np.unique(cells @ (1 << 10 * np.arange(cells.shape[1])), return_inverse=True)
    for column in shadows.T:
        order = np.lexsort((column, group))
        apart = (np.diff(group[order]) != 0) | (np.diff(column[order]) > _TOLERANCE)
        group[order] = np.concatenate([[0], np.cumsum(apart)])
    return group


def _residuals(Y: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(Y)
    return np.where(known, Y - left_out, 0.0).astype(np.float32), known


def _sums(residual: np.ndarray, known: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of residuals and number of outcomes, ``(n_groups, m)`` each."""
    order = np.argsort(place, kind="stable")
    start = np.flatnonzero(np.append(True, np.diff(place[order]) != 0))
    return np.add.reduceat(residual[order], start), np.add.reduceat(known[order].astype(np.float32), start)
