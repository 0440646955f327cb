"""FreeVotes: a belief for free text and programs, whose differing says nothing against any of them.

Two letters cannot both be right; two essays can. So an answer is trusted as far as its candidate is
predicted good at the query, and one that says the same as another as far as the better of the two: near
wording shows a common source as often as a common truth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from herdwise.routing.base import Answer

_MARKED = re.compile(r"(?:text|code): .* \.\.\. [0-9a-f]{12}", re.DOTALL)
_LEAST, _MOST = 0.02, 0.98


def stands_for_more(value: str | None) -> bool:
    """Whether a value stands for a free text or a program (see ``hearing.marked``)."""
    return value is not None and _MARKED.fullmatch(value) is not None


def free_only(answers: Sequence[Answer]) -> bool:
    """Whether all answers that have a value are free texts or programs, and there is one."""
    values = [answer.value for answer in answers if answer.value is not None]
    return bool(values) and all(stands_for_more(value) for value in values)


@dataclass(frozen=True, slots=True)
class FreeVotes:
    """See ``routing.base.Belief``.

    Args:
        quality: ``(m,)`` predicted quality; NaN = nobody knows, and nothing is believed.
        heard: (candidate, value, log-odds of its signals) of each answer.
    """

    quality: np.ndarray
    heard: tuple[tuple[int, str, float], ...] = ()

    @classmethod
    def of(cls, quality: np.ndarray, answers: Sequence[Answer]) -> FreeVotes:
        """After all answers."""
        return cls(quality, tuple((a.candidate, a.value, a.evidence) for a in answers if a.value is not None))

    def observe(self, candidate: int, value: str | None) -> FreeVotes:
        """One more answer."""
        return self if value is None else FreeVotes(self.quality, (*self.heard, (candidate, value, 0.0)))

    def posterior(self) -> dict[str, float]:
        """Value -> P(right); they need not sum to 1, for several may be right."""
        known: dict[str, float] = {}
        for candidate, value, evidence in self.heard:
            known[value] = max(known.get(value, 0.0), self._right(candidate, evidence))
        return known

    def best(self) -> tuple[str | None, float]:
        """The likeliest value; the one heard first among equals."""
        known = self.posterior()
        if not known:
            return None, 0.0
        value = max(known, key=lambda v: known[v])
        return value, known[value]

    def trust(self, candidate: int) -> float:
        """P(right) of what it said, its predicted quality while it said nothing."""
        known = self.posterior()
        own = [known[value] for who, value, _ in self.heard if who == candidate]
        return max(own) if own else self._right(candidate, 0.0)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """By how much each further candidate is predicted better than the likeliest answer, ``(k,)``."""
        expected = np.nan_to_num(np.clip(self.quality[np.asarray(candidates, dtype=np.int64)], 0.0, 1.0))
        return np.asarray(np.maximum(expected - self.best()[1], 0.0))

    def _right(self, candidate: int, evidence: float) -> float:
        quality = float(self.quality[candidate])
        if not np.isfinite(quality):
            return 0.0
        p = min(max(quality, _LEAST), _MOST)
        odds = p / (1.0 - p) * float(np.exp(evidence))
        return odds / (1.0 + odds)
