"""Confidence: what fusion believes, brought to frequencies for any few candidates heard.

A network trained on all subsets at once is a little too modest of few answers and too sure of many, and too
sure of the best few, whom a consultation hears. Two numbers mend it: a scale of the scores, as in
temperature scaling (Guo et al. 2017, On Calibration of Modern Neural Networks), and a shift of the values
that nobody said. Each follows how many were heard (a parabola in the log of it) and how much better they are
predicted than the herd (their lead). They are fitted on queries that the network had not seen; the order of
the values that were said stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Self

import numpy as np

from herdwise.prediction.softmax import softmax

#: Counts for "leave the network alone" like this many queries.
_PRIOR = 30.0
_ROUNDS = 25
#: What scale and shift each follow.
N_TERMS = 5


class Confidence:
    """Scores -> scores whose softmax means frequency.

    Args:
        n_candidates: m, how many may be heard.
    """

    def __init__(self, n_candidates: int) -> None:
        self.n_candidates = n_candidates
        #: ``(2, 5)``: of scale (beside 1) and shift, the coefficients of 1, t, t^2, lead and lead x t; t = 1
        #: for all heard.
        self.change_ = np.zeros((2, N_TERMS))

    def fit(
        self, score: np.ndarray, unsaid: np.ndarray, n_heard: np.ndarray, lead: np.ndarray, right: np.ndarray
    ) -> Self:
        """Learn from queries that the network had not seen.

        Maximises the likelihood (what nobody said counts as one outcome) by Newton steps on the softmax's
        own curvature, halved until they help.

        Args:
            score: ``(n, R)`` scores of the rows, -inf where absent.
            unsaid: ``(n, R)`` bool, rows of values that nobody said.
            n_heard: ``(n,)`` candidates heard.
            lead: ``(n,)`` mean log-odds of their predicted quality less that of all candidates.
            right: ``(n, R)`` probability that each row is right; what it lacks to 1 goes to the unsaid rows.
        """
        present = np.isfinite(score)
        unsaid = unsaid & present
        usable = unsaid.any(axis=1) & (n_heard > 0)
        score, unsaid, right = score[usable], unsaid[usable], right[usable]
        if not len(score):
            return self
        present, terms = present[usable], self._terms(n_heard[usable], lead[usable])
        level = np.where(present, score, 0.0)
        level = np.where(present, level - score.max(axis=1, keepdims=True), 0.0)
        each = np.stack([level, unsaid.astype(np.float64)], axis=2)
        slopes = (each[..., None] * terms[:, None, None, :]).reshape(*level.shape, 2 * N_TERMS)
        known = np.where(present & ~unsaid, right, 0.0)
        rest = 1.0 - known.sum(axis=1, keepdims=True)
        change = self.change_.ravel()

        def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
            p = softmax(np.where(present, level + slopes @ change, -np.inf), axis=1)
            mass = np.where(unsaid, p, 0.0).sum(axis=1)
            told = known * np.log(np.maximum(p, 1e-30))
            surprise = -told.sum() - float((rest[:, 0] * np.log(np.maximum(mass, 1e-30))).sum())
            return float(surprise + 0.5 * _PRIOR * (change @ change)), p

        worst, p = loss(change)
        for _ in range(_ROUNDS):
            open_ = np.where(unsaid, p, 0.0)
            target = known + rest * open_ / np.maximum(open_.sum(axis=1, keepdims=True), 1e-12)
            flat, weight = slopes.reshape(-1, 2 * N_TERMS), p.reshape(-1, 1)
            gradient = (target - p).ravel() @ flat - _PRIOR * change
            mean = (p[:, None, :] @ slopes)[:, 0]
            curvature = (flat * weight).T @ flat - mean.T @ mean
            move = np.linalg.solve(curvature + _PRIOR * np.eye(2 * N_TERMS), gradient)
            after, p_after = loss(change + move)
            while after > worst and float(np.abs(move).max()) > 1e-4:
                move = 0.5 * move
                after, p_after = loss(change + move)
            if after > worst or float(np.abs(move).max()) < 1e-4:
                break
            change, worst, p = change + move, after, p_after
        self.change_ = change.reshape(2, N_TERMS)
        return self

    def _terms(self, n_heard: np.ndarray, lead: np.ndarray) -> np.ndarray:
        t = np.log1p(n_heard) / np.log1p(max(self.n_candidates, 1))
        return np.stack([np.ones_like(t), t, t * t, lead, lead * t], axis=-1)

    def _mended(self, n_heard: np.ndarray, lead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        change = self._terms(n_heard, lead) @ self.change_.T
        return np.maximum(1.0 + change[..., 0], 0.1), change[..., 1]

    def at(self, n_heard: int, lead: float) -> tuple[float, float]:
        """Scale of all scores, and shift of those of values that nobody said, with ``n_heard`` heard."""
        t = math.log1p(n_heard) / math.log1p(max(self.n_candidates, 1))
        (a, b, c, d, e), (f, g, h, i, j) = self._rows
        scale = 1.0 + a + b * t + c * t * t + d * lead + e * lead * t
        return max(scale, 0.1), f + g * t + h * t * t + i * lead + j * lead * t

    @cached_property
    def _rows(self) -> list[list[float]]:
        rows: list[list[float]] = self.change_.tolist()
        return rows

    def each(self, n_heard: int, lead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for several leads."""
        return self._mended(np.full(lead.shape, n_heard), lead)

    def __call__(
        self, score: np.ndarray, unsaid: np.ndarray, n_heard: np.ndarray, lead: np.ndarray
    ) -> np.ndarray:
        """Calibrated scores of many queries; shapes as in ``fit``."""
        scale, shift = self._mended(n_heard, lead)
        mended: np.ndarray = scale[:, None] * score + np.where(unsaid, shift[:, None], 0.0)
        return mended

    def state(self) -> dict[str, np.ndarray]:
        """The fitted array."""
        return {"change_": self.change_}

    @classmethod
    def from_state(cls, n_candidates: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``; one saved before leads were looked at follows the number heard alone."""
        confidence = cls(n_candidates)
        saved = np.asarray(arrays["change_"], dtype=np.float64)
        confidence.change_[:, : saved.shape[1]] = saved
        return confidence
