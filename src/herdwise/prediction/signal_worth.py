"""SignalWorth: what the signals of an answer tell of its being right, beyond who gave it and to what.

P(right | candidate, query, signals) = sigmoid(log-odds of the predicted quality + evidence), where the
evidence is linear in the signals, each seen beside what is usual of its candidate. A group of signals counts
only if it lowers the log loss on questions that the weights were not learned of; what was never recorded
counts by a small stated prior.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from herdwise.prediction.logistic import sigmoid
from herdwise.prediction.signal_features import SIGNALS

#: Terms of the evidence: a signal, or a bend of one.
TERMS = ("length", "length_squared", "long", *SIGNALS[1:])
#: Signals that tell together, and are kept or dropped together.
GROUPS: dict[str, tuple[str, ...]] = {
    "length": ("length", "length_squared", "long"),
    "form": ("truncated", "unclosed", "repetition", "partial_refusal", "malformed"),
    "wording": ("stated", "hedges"),
    "tokens": ("mean_logprob", "min_logprob", "answer_logprob"),
}
# Weights in log-odds while nothing was recorded: cautious guesses, not measurements. Models state more than
# they reach (Xiong et al., Can LLMs Express Their Uncertainty?, 2024), so that a stated confidence counts for
# a fifth of what it says; a loop is the surest sign of a lost answer.
_PRIOR = {
    "stated": 0.2,
    "hedges": -0.1,
    "repetition": -1.5,
    "partial_refusal": -0.5,
    "malformed": -1.0,
    "answer_logprob": 0.5,
}
#: What counts as usual while nothing was recorded: "90% sure", and a sure letter. Others: 0.
_USUAL = {"stated": 2.2, "answer_logprob": -0.1}
#: Signals that are measured in the spread of their own candidate.
_BY_CANDIDATE = ("length", "mean_logprob", "min_logprob", "answer_logprob")

_MOST = 2.0  # log-odds
_LEAST_ODD = 50  # answers on which a signal is not as usual, below which nothing is learned of it
_POOLED_PENALTY, _OWN_PENALTY = 20.0, 100.0
_FOLDS = 4
#: Answers learned from: more change the weights by less than they weigh.
MOST_ANSWERS = 300_000


class SignalWorth:
    """Evidence of an answer's signals, in log-odds.

    Attributes:
        gains_: group -> (fall of the log loss per answer on left-out questions, its standard error).
        length_: which of ``LENGTHS`` an answer is measured in, None = none was recorded.
    """

    def __init__(self) -> None:
        self.centre_ = np.full((1, len(SIGNALS)), np.nan)
        self.centre_[0, 1:] = [_USUAL.get(name, 0.0) for name in SIGNALS[1:]]
        self.spread_ = np.ones((1, len(SIGNALS)))
        self.weights_ = np.array([[_PRIOR.get(name, 0.0) for name in TERMS]])
        self.gains_: dict[str, tuple[float, float]] = {}
        self.length_: str | None = None

    @property
    def n_candidates(self) -> int:
        """How many were learned of; the last row of the arrays stands for all others."""
        return len(self.weights_) - 1

    @property
    def kept_(self) -> tuple[str, ...]:
        """Groups that were learned and help."""
        return tuple(g for g, (gain, error) in self.gains_.items() if gain > error)

    def fit(
        self,
        signals: np.ndarray,
        quality: np.ndarray,
        predicted: np.ndarray,
        questions: np.ndarray,
        *,
        length: str | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from recorded answers.

        Args:
            signals: ``(n, m, len(SIGNALS))``, NaN = unknown (see ``signal_matrix``).
            quality: ``(n, m)`` of answers that were read, NaN = none.
            predicted: ``(n, m)`` quality predicted without this row's outcomes.
            questions: ``(n,)`` int; equal numbers are equal questions and stay together.
            length: what the answers' length was measured in, see ``signal_matrix``.
        """
        self.length_ = length
        seen = np.isfinite(quality) & np.isfinite(predicted)
        m = quality.shape[1]
        self._measure(signals, seen)
        row, column = np.nonzero(seen)
        terms = self._terms(signals[row, column], column)
        base = _log_odds(predicted[row, column].astype(np.float64))
        right = quality[row, column].astype(np.float64)
        fold_of = np.random.default_rng(seed).permutation(int(questions.max(initial=0)) + 1) % _FOLDS
        fold, question = fold_of[questions[row]], questions[row]
        self.weights_ = np.tile([_PRIOR.get(name, 0.0) for name in TERMS], (m + 1, 1))
        self.gains_ = {}
        kept: list[int] = []
        for group, names in GROUPS.items():
            own = [TERMS.index(name) for name in names if self._odd(terms[:, TERMS.index(name)])]
            if not own:
                continue
            self.weights_[:, own] = 0.0
            gain, error = self.gains_[group] = _gain(terms[:, own], base, right, fold, question)
            if gain > error:
                kept += own
        if kept:
            self._learn(terms[:, kept], base, right, column, kept)
        return self

    def _learn(
        self, terms: np.ndarray, base: np.ndarray, right: np.ndarray, column: np.ndarray, kept: list[int]
    ) -> None:
        """Weights of all together, then each candidate's own, which shrink towards them."""
        fixed = np.stack([np.ones(len(base)), base], axis=1)
        start = np.concatenate([[0.0, 1.0], np.zeros(len(kept))])
        pooled = _newton(np.hstack([fixed, terms]), right, start, _POOLED_PENALTY)
        self.weights_[:, kept] = pooled[2:]
        level = fixed @ pooled[:2]
        for j in range(self.n_candidates):
            mine = column == j
            if mine.any():
                own = _newton(terms[mine], right[mine], pooled[2:], _OWN_PENALTY, offset=level[mine])
                self.weights_[j, kept] = own

    def _measure(self, signals: np.ndarray, seen: np.ndarray) -> None:
        """What is usual of each candidate; of those unseen, what is usual of all, but for the length."""
        m = signals.shape[1]
        centre = np.tile([_USUAL.get(name, 0.0) for name in SIGNALS], (m + 1, 1))
        spread = np.ones((m + 1, len(SIGNALS)))
        centre[:, 0] = np.nan
        for k, name in enumerate(SIGNALS):
            values = np.where(seen, signals[:, :, k], np.nan)
            known = np.isfinite(values)
            if not known.any():
                continue
            if name not in _BY_CANDIDATE:
                centre[:, k] = np.nanmean(values)
                continue
            for j in np.flatnonzero(known.sum(axis=0) >= 2):
                own = values[known[:, j], j].astype(np.float64)
                centre[j, k], spread[j, k] = own.mean(), own.std() + 0.05
            if name != "length":
                centre[m, k], spread[m, k] = np.nanmean(values), np.nanstd(values) + 0.05
        self.centre_, self.spread_ = centre, spread

    def _terms(self, signals: np.ndarray, column: np.ndarray) -> np.ndarray:
        """``(k, len(TERMS))`` of ``(k, len(SIGNALS))`` rows of the given columns; 0 where unknown."""
        z = np.clip((signals - self.centre_[column]) / self.spread_[column], -3.0, 3.0)
        z = np.nan_to_num(z.astype(np.float64))
        length = z[:, :1]
        known = np.isfinite(signals[:, :1]) & np.isfinite(self.centre_[column, :1])
        # Of a standard normal length the square is 1 on average, and what exceeds 1 is 0.083.
        bent = np.where(known, np.hstack([length**2 - 1.0, np.maximum(length - 1.0, 0.0) - 0.083]), 0.0)
        return np.hstack([length, bent, z[:, 1:]])

    @staticmethod
    def _odd(term: np.ndarray) -> bool:
        """Whether a signal differs from what is usual often enough to learn of it."""
        if not len(term):
            return False
        values, counts = np.unique(term, return_counts=True)
        return len(values) > 1 and len(term) - int(counts.max()) >= _LEAST_ODD

    def evidence(self, column: int, signals: np.ndarray) -> float:
        """Log-odds that one answer's signals add, in [-2, 2].

        Args:
            column: of its candidate among those learned of, -1 = another.
            signals: ``(len(SIGNALS),)``, see ``signal_row``.
        """
        return float(self.evidences(signals[None, None], np.array([column]))[0, 0])

    def evidences(self, signals: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Of many answers, ``(n, m)``.

        Args:
            signals: ``(n, m, len(SIGNALS))``.
            columns: ``(m,)`` as in ``evidence``.
        """
        n, m = signals.shape[:2]
        column = np.tile(np.where(columns < self.n_candidates, columns, -1), n)
        terms = self._terms(signals.reshape(n * m, -1), column)
        total = (terms * self.weights_[column]).sum(axis=1)
        return np.asarray(np.clip(total, -_MOST, _MOST)).reshape(n, m)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options as JSON values, and the fitted arrays."""
        arrays = {name: getattr(self, name) for name in ("centre_", "spread_", "weights_")}
        gains = {group: list(gain) for group, gain in self.gains_.items()}
        return {"signals": list(SIGNALS), "gains": gains, "length": self.length_}, arrays

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``; signals that were not known then count nothing.

        Raises:
            KeyError, ValueError: when the state is not whole.
        """
        worth = cls()
        known = list(options["signals"])
        for name in ("centre_", "spread_", "weights_"):
            stored, fresh = np.asarray(arrays[name], dtype=np.float64), getattr(worth, name)
            # A signal of a later version counts by its prior until the router is trained again.
            names, before = (TERMS, [*TERMS[:3], *known[1:]]) if name == "weights_" else (SIGNALS, known)
            columns = [
                stored[:, before.index(n)] if n in before else np.full(len(stored), fresh[0, k])
                for k, n in enumerate(names)
            ]
            setattr(worth, name, np.stack(columns, axis=1))
        worth.length_ = options["length"]
        worth.gains_ = {group: (float(g), float(e)) for group, (g, e) in options["gains"].items()}
        return worth


def _gain(
    terms: np.ndarray, base: np.ndarray, right: np.ndarray, fold: np.ndarray, question: np.ndarray
) -> tuple[float, float]:
    """Fall of the log loss per answer by some terms on left-out folds, and its error over questions."""
    fixed = np.stack([np.ones(len(base)), base], axis=1)
    fall = np.zeros(len(base))
    for k in range(_FOLDS):
        learn, held = fold != k, fold == k
        losses = []
        for X in (fixed, np.hstack([fixed, terms])):
            start = np.concatenate([[0.0, 1.0], np.zeros(X.shape[1] - 2)])
            p = sigmoid(X[held] @ _newton(X[learn], right[learn], start, _POOLED_PENALTY))
            p = np.clip(p, 1e-6, 1.0 - 1e-6)
            losses.append(-(right[held] * np.log(p) + (1.0 - right[held]) * np.log(1.0 - p)))
        fall[held] = losses[0] - losses[1]
    total = np.bincount(question, weights=fall)[np.unique(question)]
    error = float(np.sqrt(len(total)) * total.std() / len(fall))
    return float(fall.mean()), error


def _newton(
    X: np.ndarray, y: np.ndarray, start: np.ndarray, penalty: float, offset: np.ndarray | None = None
) -> np.ndarray:
    """Weights of a logistic regression that shrink towards ``start``; targets may be fractions."""
    weights, add = start.copy(), np.zeros(len(y)) if offset is None else offset
    for _ in range(25):
        p = sigmoid(X @ weights + add)
        gradient = X.T @ (p - y) + penalty * (weights - start)
        curvature = (X * (p * (1.0 - p))[:, None]).T @ X + penalty * np.eye(len(weights))
        move = np.linalg.solve(curvature, gradient)
        weights = weights - move
        if np.abs(move).max() < 1e-6:
            break
    return weights


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 0.01, 0.99)
    return np.asarray(np.log(p / (1.0 - p)))
