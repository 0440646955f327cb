"""Weighing: what the signals of answers add to what is believed of them, live as in replay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.prediction.base import Predictor
from herdwise.prediction.signal_features import recorded_length, signal_matrix
from herdwise.prediction.signal_worth import MOST_ANSWERS, SignalWorth
from herdwise.routing.base import Answer, Belief
from herdwise.routing.fusing import left_out_predictions

KnownCompletions = Mapping[tuple[str, str], str] | Callable[[Collection[str]], Mapping[tuple[str, str], str]]


def learn_worth(
    predictor: Predictor,
    X: np.ndarray,
    table: OutcomeTable,
    quality_column: str,
    seed: int,
    completions: KnownCompletions | None,
) -> SignalWorth:
    """Learn what signals are worth from the training table; where none is recorded, priors stand.

    Args:
        predictor: fitted on ``X`` and the table.
        X: ``(n, d)`` vectors of the table's queries.
        completions: (query id, candidate) -> full text, where there are any; or what reads them for some
            query ids, so that no others are held.
    """
    most = max(MOST_ANSWERS // max(table.n_candidates, 1), 1)
    rows = np.arange(table.n_queries)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    sampled = table.take(rows) if len(rows) < table.n_queries else table
    written = completions(sampled.query_ids) if callable(completions) else completions
    length = recorded_length(sampled, written)
    signals = signal_matrix(sampled, written, length)
    quality = sampled.matrix(quality_column).astype(np.float64)
    if sampled.answers is not None:
        # Who never gave an answer recorded none; a missing one of the others is a failure, known as such.
        read = np.not_equal(sampled.answer_matrix(), np.array(None, dtype=object)).astype(bool)
        quality = np.where(read | ~read.any(axis=0), quality, np.nan)
    if not (np.isfinite(signals).any(axis=2) & np.isfinite(quality)).any():
        return SignalWorth()
    predicted = predictor.left_out_
    if predicted is None:
        predicted = left_out_predictions(predictor, X, table.matrix(quality_column), seed)
    numbers: dict[str, int] = {}
    questions = np.array([numbers.setdefault(text, len(numbers)) for text in sampled.texts])
    return SignalWorth().fit(signals, quality, predicted[rows], questions, length=length, seed=seed)


@dataclass(frozen=True, slots=True)
class WeighedBelief:
    """A belief in which each answer's signals count beside its value. See ``routing.base.Belief``.

    Answers to one hard question are long all together, so that their evidence is not independent: each
    counts by 1 / n of the n heard, as one answer's in all.

    Args:
        plain: what is believed without signals.
        heard: (candidate, value, log-odds) of each answer with a value.
    """

    plain: Belief
    heard: tuple[tuple[int, str, float], ...]

    def observe(self, candidate: int, value: str | None) -> Belief:
        """One more answer, whose signals tell nothing."""
        heard = self.heard if value is None else (*self.heard, (candidate, value, 0.0))
        return replace(self, plain=self.plain.observe(candidate, value), heard=heard)

    def posterior(self) -> dict[Any, float]:
        """Value -> P(right): odds of each against none of them are moved by its evidence."""
        plain = dict(self.plain.posterior())
        told = plain.pop(None, None)
        rest = max(0.0, 1.0 - sum(plain.values()))
        odds = {value: p * float(np.exp(self._of(value))) for value, p in plain.items()}
        total = rest + sum(odds.values())
        after: dict[Any, float] = {value: p / total for value, p in odds.items()} if total > 0 else plain
        return after if told is None else {**after, None: rest / total if total > 0 else told}

    def _of(self, value: str) -> float:
        return sum(e for _, said, e in self.heard if said == value) / max(len(self.heard), 1)

    def best(self) -> tuple[str | None, float]:
        """The likeliest value."""
        known = {value: p for value, p in self.posterior().items() if value is not None}
        if not known:
            return None, 0.0
        value = max(known, key=lambda v: known[v])
        return value, known[value]

    def trust(self, candidate: int) -> float:
        """P(right) of what it said, of the likeliest where it said several."""
        known = self.posterior()
        own = [known[value] for who, value, _ in self.heard if who == candidate and value in known]
        return max(own) if own else self.plain.trust(candidate)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected gain without signals: those of answers to come are not known."""
        return self.plain.gain(candidates)


def weighed(belief: Belief, answers: Sequence[Answer]) -> Belief:
    """A belief that has heard these answers, with their evidence; itself where there is none."""
    heard = tuple((a.candidate, a.value, a.evidence) for a in answers if a.value is not None)
    plain = belief.plain if isinstance(belief, WeighedBelief) else belief
    return WeighedBelief(plain, heard) if any(e for _, _, e in heard) else belief
