"""Guard: leave the best single candidate only for an advantage that left-out data bears out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np

_MARGINS = (0.0, 0.01, 0.02, 0.04, 0.08)
#: Queries that would leave the best single, below which their gain is no evidence.
_MIN_PAIRS = 30
#: Margin where too few queries were run by both the best single and the pick to measure one.
_DEFAULT_MARGIN = 0.02
_NEVER = 2.0
#: Candidates, the best first, that learn a margin of their own; the others take the stated one.
_MAX_REFERENCES = 64
#: What is left of an advantage below the margin, so that order among candidates survives.
_CRUMB = 1e-4


def held_back(predicted: np.ndarray, reference: np.ndarray, margin: np.ndarray | np.floating) -> np.ndarray:
    """Predictions with a margin off every advantage over a reference; within it, a hair below that.

    Args:
        predicted: of any shape.
        reference: the best single's prediction, of a shape that broadcasts.
        margin: one, or one per candidate.
    """
    lead = predicted - reference
    within = reference - _CRUMB / (1.0 + np.maximum(lead, 0.0))
    held: np.ndarray = np.where(lead > margin, predicted - margin, np.where(lead > 0, within, predicted))
    return held


class Guard:
    """Takes a margin off every predicted advantage over the best single candidate.

    The highest of many noisy predictions is too high (the winner's curse). The margin is chosen on
    left-out predictions by gain over the best single, less ``caution`` standard errors of it; where no
    margin gains, nobody overtakes. An advantage within the margin puts the candidate a hair below the
    best single: a cheaper one still wins as soon as cost counts.

    Each candidate has a margin for when it is the best single of a restricted herd: learned among those
    whose mean is no higher, who then are all it could be restricted to.

    Args:
        caution: standard errors taken off.
    """

    def __init__(self, caution: float = 2.0) -> None:
        self.caution = caution

    def fit(self, predicted: np.ndarray, Y: np.ndarray, means: np.ndarray) -> Self:
        """Choose the margins on left-out ``(n, m)`` predictions; ``means`` ``(m,)`` name the best single."""
        known = np.isfinite(Y)
        # Only candidates that were run about as often as the most-run one can be called best.
        often = known.sum(axis=0) >= 0.5 * known.sum(axis=0).max()
        self.levels_ = np.where(often, means, -1.0).astype(np.float32)
        order = np.argsort(-self.levels_, kind="stable")
        self.margins_ = np.full(len(means), _DEFAULT_MARGIN, dtype=np.float32)
        # From the last reference to the first, those whom it could be left for grow by one each time; the
        # seldom run are always among them. Of equally good ones the first in order is kept.
        rows, top = np.arange(len(Y)), np.full(len(Y), -np.inf, dtype=np.float32)
        pick = np.zeros(len(Y), dtype=np.int64)
        references = order[:_MAX_REFERENCES].tolist()
        seldom = [j for j in order[::-1].tolist() if not often[j]]
        groups = [seldom, *([j] for j in order[::-1].tolist() if often[j])]
        for group in groups:
            for j in group:
                better = predicted[:, j] >= top
                pick[better], top[better] = j, predicted[better, j]
            gained = Y[rows, pick]
            for j in set(group).intersection(references):
                self.margins_[j] = self._margin(top - predicted[:, j], gained - Y[:, j])
        return self.among(order)

    def among(self, columns: np.ndarray) -> Self:
        """Take the best of these candidates for the best single from here on; returns itself."""
        self.best_ = int(columns[self.levels_[columns].argmax()])
        self.margin_ = float(self.margins_[self.best_])
        return self

    def _margin(self, ahead: np.ndarray, gain: np.ndarray) -> float:
        """Margin for leaving a candidate, by the picks' predicted leads ``(n,)`` and what they gained."""
        both = np.isfinite(gain)
        gain = np.where(both, gain, 0.0).astype(np.float64)
        if both[ahead > 0].sum() < min(_MIN_PAIRS, (ahead > 0).sum()):
            return _DEFAULT_MARGIN
        best, chosen = 0.0, _NEVER
        for margin in _MARGINS:
            leaves = (ahead > margin) & both
            if leaves.sum() < _MIN_PAIRS:
                break
            moved = np.where(leaves, gain, 0.0)[both]
            bound = float(moved.mean() - self.caution * moved.std() / np.sqrt(len(moved)))
            if bound > best:
                best, chosen = bound, margin
        return chosen

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Guarded ``(n, m)`` predictions."""
        if self.margin_ == 0.0:
            return predicted
        return self._guarded(predicted, predicted[:, self.best_][:, None])

    def one(self, predicted: np.ndarray) -> np.ndarray:
        """Guarded ``(m,)`` predictions."""
        if self.margin_ == 0.0:
            return predicted
        # Few lead, so that they are moved one by one; ``held_back`` says how.
        reference, margin = float(predicted[self.best_]), float(np.float32(self.margin_))
        ahead = (predicted > reference).nonzero()[0].tolist()
        if not ahead:
            return predicted
        held = predicted.copy()
        for place in ahead:
            value = float(predicted[place])
            lead = value - reference
            held[place] = value - margin if lead > margin else reference - _CRUMB / (1.0 + lead)
        return held

    def _guarded(self, predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return held_back(predicted, reference, np.float32(self.margin_))

    def state(self) -> dict[str, np.ndarray]:
        """What each candidate is worth as a best single, and its margin."""
        return {"levels_": self.levels_, "margins_": self.margins_}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``, for the whole herd."""
        guard = cls()
        guard.levels_, guard.margins_ = np.asarray(arrays["levels_"]), np.asarray(arrays["margins_"])
        return guard.among(np.arange(len(guard.levels_)))
