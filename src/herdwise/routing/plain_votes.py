"""PlainVotes: a belief from predicted quality alone, for herds whose answers were never recorded.

Each candidate is right with its predicted quality, independently of the others, and wrong in one of
``alternatives`` - 1 equally likely ways. Candidates of one family err together, so that many agreeing
votes are believed too much: what was learned from recorded answers (``Situation.belief``) is better.
Source: Nitzan & Paroush, Optimal Decision Rules in Uncertain Dichotomous Choice Situations (1982).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from herdwise.routing.base import Situation

#: Answers that a question is taken to allow, the right one included.
ALTERNATIVES = 10
_LEAST, _MOST = 0.02, 0.98


class PlainVotes:
    """See ``routing.base.Belief``. Several samples of one candidate share its vote.

    Args:
        quality: ``(m,)`` predicted quality; NaN counts as a blind guess.
        heard: candidate -> the values that it gave, of those that gave one.
        alternatives: answers that the question allows.
    """

    def __init__(
        self,
        quality: np.ndarray,
        heard: Mapping[int, tuple[str, ...]] | None = None,
        alternatives: int = ALTERNATIVES,
    ) -> None:
        known = np.where(np.isfinite(quality), quality, 1.0 / alternatives)
        self._right = np.clip(known, _LEAST, _MOST)
        self._heard = dict(heard or {})
        self._values = list(dict.fromkeys(value for said in self._heard.values() for value in said))
        self._alternatives = max(alternatives, len(self._values) + 2)
        self._scores = self._log_scores()

    @classmethod
    def of(cls, situation: Situation) -> PlainVotes:
        """After all answers of a situation."""
        heard: dict[int, tuple[str, ...]] = {}
        for answer in situation.answers:
            if answer.value is not None:
                heard[answer.candidate] = (*heard.get(answer.candidate, ()), answer.value)
        return cls(situation.estimates.quality, heard)

    def observe(self, candidate: int, value: str | None) -> PlainVotes:
        """One more vote; an unreadable one says nothing."""
        if value is None:
            return PlainVotes(self._right, self._heard, self._alternatives)
        said = (*self._heard.get(candidate, ()), value)
        return PlainVotes(self._right, {**self._heard, candidate: said}, self._alternatives)

    def posterior(self) -> dict[str, float]:
        """Value -> P(right)."""
        return dict(zip(self._values, _share(self._scores)[:-1].tolist(), strict=True))

    def best(self) -> tuple[str | None, float]:
        """The likeliest value; the one heard first among equals."""
        if not self._values:
            return None, 0.0
        shares = _share(self._scores)[:-1]
        top = int(shares.argmax())
        return self._values[top], float(shares[top])

    def trust(self, candidate: int) -> float:
        """P(right) of what it said (of its likeliest answer), its predicted quality while it said nothing."""
        said = self._heard.get(candidate)
        if not said:
            return float(self._right[candidate])
        posterior = self.posterior()
        return max(posterior[value] for value in said)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected increase of the likeliest value's P(right), ``(k,)``.

        A further candidate names a value that was heard, or one that was not. The expectation over what
        it says of the greatest P(right) is the sum over that of the greatest joint probability.
        """
        right = self._right[np.asarray(candidates, dtype=np.int64)]
        wrong = (1.0 - right) / (self._alternatives - 1)
        shares = _share(self._scores)
        n = len(self._values)
        unheard = self._alternatives - n
        each = np.append(shares[:-1], shares[-1] / unheard)  # the last: one value that nobody named
        after = np.zeros(len(right))
        for said in range(n + 1):
            joint = each[None] * wrong[:, None]
            joint[:, said] = each[said] * right
            after += joint.max(axis=1) * (unheard if said == n else 1)
        return np.maximum(after - (shares[:-1].max() if n else 0.0), 0.0)

    def _log_scores(self) -> np.ndarray:
        """Log-likelihood of each value heard, and of all others together (the last), up to a constant."""
        n = len(self._values)
        scores = np.zeros(n + 1)
        scores[n] = np.log(self._alternatives - n)
        for candidate, said in self._heard.items():
            right = self._right[candidate]
            vote = np.log(right * (self._alternatives - 1) / (1.0 - right)) / len(said)
            for value in said:
                scores[self._values.index(value)] += vote
        return scores


def _share(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum())
