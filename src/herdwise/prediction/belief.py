"""Belief: what is known of one query while answers come in, and what one more would be worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from herdwise.core.errors import InputError
from herdwise.prediction.fusion_network import softmax


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The network's parameters as one query sees them (the predicted log-odds worked in).

    Args:
        say, spoke, fail: ``(m, h)`` what a candidate adds to the hidden units: of the value it says, of all
            values, of all values when it fails.
        offset, none: ``(h,)`` what all values start with; what "none of those" adds.
        readout: ``(h,)``.
        vote, none_spoke, none_fail: ``(m,)`` what a candidate adds to scores.
        none_score: score that "none of those" starts with.
        next, next_fail: ``(h, m)`` what a candidate would say, from the hidden units.
        next_new, next_fail_score: ``(m,)``.
        speaks: ``(m,)`` bool, who was learned of.
    """

    say: np.ndarray
    spoke: np.ndarray
    fail: np.ndarray
    offset: np.ndarray
    none: np.ndarray
    readout: np.ndarray
    vote: np.ndarray
    none_spoke: np.ndarray
    none_fail: np.ndarray
    none_score: float
    next: np.ndarray
    next_new: np.ndarray
    next_fail: np.ndarray
    next_fail_score: np.ndarray
    speaks: np.ndarray

    @classmethod
    def of(cls, p: Mapping[str, np.ndarray], odds: np.ndarray, speaks: np.ndarray) -> Reading:
        """Of a query with centred log-odds ``(m,)``."""
        level = float(odds.mean())
        column = odds[:, None]
        return cls(
            say=p["say"] + column * p["say_odds"],
            spoke=p["spoke"] + column * p["spoke_odds"],
            fail=p["fail"],
            offset=p["offset"] + level * p["query"],
            none=p["none"],
            readout=p["readout"],
            vote=p["vote"] + odds * p["vote_odds"],
            none_spoke=p["none_spoke"],
            none_fail=p["none_fail"],
            none_score=float(p["none_score"][0]) + level * float(p["none_query"][0]),
            next=p["next"],
            next_new=p["next_new"],
            next_fail=p["next_fail"],
            next_fail_score=p["next_fail_score"],
            speaks=speaks,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """The posterior over the values said so far on one query. Immutable: ``observe`` gives a new one.

    A candidate that was asked several times has one vote, shared among what it said.

    Args:
        reading: the network for this query.
        heard: candidate -> what it said, in the order of hearing; None = no readable answer.
        values: the distinct values, in the order of hearing.
        own: ``(V + 1, h)`` hidden inputs per value, the last row for "none of those".
        shared: ``(h,)`` hidden inputs of all.
        score: ``(V + 1,)`` the linear part of the scores.
    """

    reading: Reading
    heard: Mapping[int, tuple[str | None, ...]]
    values: tuple[str, ...]
    own: np.ndarray
    shared: np.ndarray
    score: np.ndarray

    @classmethod
    def start(cls, reading: Reading) -> Belief:
        """Before anybody was asked."""
        return cls(
            reading,
            {},
            (),
            reading.none[None].copy(),
            reading.offset,
            np.array([reading.none_score], np.float32),
        )

    def observe(self, candidate: int, value: str | None) -> Belief:
        """What is believed once ``candidate`` said ``value`` (a normal form; None: no readable answer).

        A candidate that was not learned of changes no belief, but its value counts as said.

        Raises:
            InputError: when there is no such candidate.
        """
        if not 0 <= candidate < len(self.reading.speaks):
            raise InputError(f"there is no candidate {candidate} among {len(self.reading.speaks)}.")
        if candidate in self.heard:
            everything = {**self.heard, candidate: (*self.heard[candidate], value)}
            belief = Belief.start(self.reading)
            for other, said in everything.items():
                belief = belief._with(other, said)
            return belief
        return self._with(candidate, (value,))

    def _with(self, candidate: int, said: tuple[str | None, ...]) -> Belief:
        r = self.reading
        values = self.values + tuple(v for v in dict.fromkeys(said) if v is not None and v not in self.values)
        more = len(values) - len(self.values)
        own, score, shared = self.own, self.score, self.shared
        if more:
            own = np.concatenate([own[:-1], np.zeros((more, own.shape[1]), own.dtype), own[-1:]])
            score = np.concatenate([score[:-1], np.zeros(more, score.dtype), score[-1:]])
        else:
            own, score = own.copy(), score.copy()
        if r.speaks[candidate]:
            share = np.float32(1.0 / len(said))
            for value in said:
                if value is None:
                    shared = shared + share * r.fail[candidate]
                    score[-1] += share * r.none_fail[candidate]
                else:
                    place = values.index(value)
                    own[place] += share * r.say[candidate]
                    score[place] += share * r.vote[candidate]
                    shared = shared + share * r.spoke[candidate]
                    score[-1] += share * r.none_spoke[candidate]
        return Belief(r, {**self.heard, candidate: said}, values, own, shared, score)

    # -- what is believed ---------------------------------------------------------------------------

    def probabilities(self) -> np.ndarray:
        """``(V + 1,)`` P(right) of ``values``, the last for "none of those"."""
        hidden = np.maximum(self.own + self.shared, 0.0)
        return softmax(hidden @ self.reading.readout + self.score, axis=0)

    def posterior(self) -> dict[str | None, float]:
        """Value -> P(it is right); the key None holds the probability that none of those said is."""
        return dict(zip((*self.values, None), self.probabilities().tolist(), strict=True))

    def best(self) -> tuple[str | None, float]:
        """The value most likely right and its probability; (None, 0.0) while nothing was said."""
        if not self.values:
            return None, 0.0
        p = self.probabilities()[:-1]
        place = int(p.argmax())
        return self.values[place], float(p[place])

    def trust(self, candidate: int) -> float:
        """P(right) of what ``candidate`` said: of its likeliest answer, 0 where it gave none.

        Raises:
            InputError: when it was not heard.
        """
        if candidate not in self.heard:
            raise InputError(f"candidate {candidate} was not heard.")
        posterior = self.posterior()
        return max((posterior[v] for v in self.heard[candidate] if v is not None), default=0.0)

    # -- what one more answer is worth --------------------------------------------------------------

    def foretold(self, candidates: np.ndarray) -> np.ndarray:
        """What each of ``candidates`` ``(k,)`` would say: ``(k, V + 2)`` over ``values``, something new, nothing."""
        r = self.reading
        hidden = np.maximum(self.own + self.shared, 0.0)
        score = np.empty((len(candidates), len(self.values) + 2), dtype=np.float32)
        score[:, :-1] = (hidden @ r.next[:, candidates]).T
        score[:, -2] += r.next_new[candidates]
        score[:, -1] = hidden[-1] @ r.next_fail[:, candidates] + r.next_fail_score[candidates]
        return softmax(score, axis=1)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected rise of P(right) of the final answer from asking each of ``candidates`` ``(k,)``, ``(k,)``.

        One step ahead: over all that it may say (each value said so far, something new, nothing), by how
        much the value that would then be best beats the one that is best now. Never negative; 0 where no
        answer of it would change the choice, or it was not learned of or already heard.
        """
        r = self.reading
        candidates = np.asarray(candidates, dtype=np.int64)
        k, v = len(candidates), len(self.values)
        if k == 0:
            return np.zeros(0)
        # Rows of the values after each event: those said, a new one, none of those.
        own = np.concatenate([self.own[:-1], np.zeros((1, self.own.shape[1]), np.float32), self.own[-1:]])
        shared = self.shared + r.spoke[candidates]
        before = np.maximum(own[None] + shared[:, None], 0.0) @ r.readout  # (k, v + 2), nobody's row changed
        after = np.maximum(own[None, :-1] + (shared + r.say[candidates])[:, None], 0.0) @ r.readout
        base = np.concatenate([self.score[:-1], np.zeros(1, np.float32), self.score[-1:]])
        before = before + base
        before[:, -1] += r.none_spoke[candidates]
        after = after + base[:-1] + r.vote[candidates][:, None]  # (k, v + 1), the row of what it says
        scores = np.repeat(before[:, None, :], v + 1, axis=1)  # (k, event, row)
        scores[:, :-1, v] = -np.inf  # a new value stands only where one was said
        event = np.arange(v + 1)
        scores[:, event, event] = after
        p = softmax(scores, axis=2)
        rise = p[:, :, :-1].max(axis=2)
        if v:
            rise = rise - p[:, :, int(self.probabilities()[:-1].argmax())]
        foretold = self.foretold(candidates)
        expected = (foretold[:, :-1] * rise).sum(axis=1)
        if v:
            expected += foretold[:, -1] * self._rise_on_failure(candidates)
        free = np.array([c not in self.heard for c in candidates.tolist()])
        return np.asarray(np.where(r.speaks[candidates] & free, expected, 0.0), dtype=np.float64)

    def _rise_on_failure(self, candidates: np.ndarray) -> np.ndarray:
        """By how much another value beats the best of now once each of ``candidates`` failed, ``(k,)``."""
        r = self.reading
        hidden = np.maximum(self.own[None] + (self.shared + r.fail[candidates])[:, None], 0.0)
        score = hidden @ r.readout + self.score
        score[:, -1] += r.none_fail[candidates]
        p = softmax(score, axis=1)[:, :-1]
        rise: np.ndarray = p.max(axis=1) - p[:, int(self.probabilities()[:-1].argmax())]
        return rise
