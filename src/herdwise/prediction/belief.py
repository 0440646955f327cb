"""Belief: what is known of one query while answers come in, and what one more would be worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from herdwise.core.errors import InputError
from herdwise.prediction.fusion_reading import Reading
from herdwise.prediction.softmax import softmax


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """The posterior over the values said so far on one query. Immutable: ``observe`` gives a new one.

    A candidate that was asked several times has one vote, shared among what it said.

    Args:
        reading: the network for this query.
        heard: candidate -> what it said, in the order of hearing; None = no readable answer.
        values: the values known: the options on offer, then others in the order of hearing.
        said: ``(V + 1,)`` bool, which of them were said; the last row is "none of those", never said.
        own: ``(V + 1, h)`` hidden inputs per value, without ``unsaid``.
        own_score: ``(V + 1,)`` the linear part of the scores, without that of the unsaid.
        shared: ``(h,)`` hidden inputs of all.
        unsaid_score: linear score of what nobody said.
    """

    reading: Reading
    heard: Mapping[int, tuple[str | None, ...]]
    values: tuple[str, ...]
    said: np.ndarray
    own: np.ndarray
    own_score: np.ndarray
    shared: np.ndarray
    unsaid_score: float

    @classmethod
    def start(cls, reading: Reading) -> Belief:
        """Before anybody was asked."""
        n, h = reading.option.shape
        own, score = np.zeros((n + 1, h), dtype=np.float32), np.zeros(n + 1, dtype=np.float32)
        own[:n], score[:n] = reading.option, reading.option_score
        said = np.zeros(n + 1, dtype=bool)
        return cls(reading, {}, reading.offered, said, own, score, reading.offset, reading.unsaid_score)

    def observe(self, candidate: int, value: str | None) -> Belief:
        """What is believed once ``candidate`` said ``value`` (a normal form; None: no readable answer).

        A candidate that was not learned of sways nothing: it is noted as heard, and no more.

        Raises:
            InputError: when there is no such candidate.
        """
        if not 0 <= candidate < len(self.reading.speaks):
            raise InputError(f"there is no candidate {candidate} among {len(self.reading.speaks)}.")
        r = self.reading
        if candidate in self.heard or any(r.kin[other] == candidate for other in self.heard):
            everything = {**self.heard, candidate: (*self.heard.get(candidate, ()), value)}
            belief = Belief.start(r)
            for other, told in everything.items():
                belief = belief._with(other, told, self._weight(other, everything))
            return belief
        return self._with(candidate, (value,), self._weight(candidate, self.heard))

    def _weight(self, candidate: int, heard: Mapping[int, tuple[str | None, ...]]) -> float:
        """How much a candidate counts beside those heard."""
        r = self.reading
        return 1.0 - float(r.overlap[candidate]) if int(r.kin[candidate]) in heard else 1.0

    def _weights(self, candidates: np.ndarray) -> np.ndarray:
        """The same for several, ``(k, 1)``."""
        r = self.reading
        if (r.kin < 0).all():
            return np.ones((1, 1), dtype=np.float32)
        there = np.isin(r.kin[candidates], list(self.heard))
        weights: np.ndarray = np.where(there, 1.0 - r.overlap[candidates], np.float32(1.0))[:, None]
        return weights

    def _with(self, candidate: int, told: tuple[str | None, ...], weight: float) -> Belief:
        r = self.reading
        heard = {**self.heard, candidate: told}
        if not r.speaks[candidate]:
            return replace(self, heard=heard)
        values, said, own, score = self.values, self.said.copy(), self.own.copy(), self.own_score.copy()
        fresh = tuple(v for v in dict.fromkeys(told) if v is not None and v not in values)
        if fresh:
            at, values = len(values), values + fresh
            said = np.insert(said, at, [False] * len(fresh))
            own = np.insert(own, at, np.zeros((len(fresh), own.shape[1]), own.dtype), axis=0)
            score = np.insert(score, at, np.zeros(len(fresh), score.dtype))
        shared, unsaid_score = self.shared, self.unsaid_score
        share = np.float32(weight / len(told))
        for value in told:
            if value is not None:
                place = values.index(value)
                said[place] = True
                own[place] += share * r.say[candidate]
                score[place] += share * r.vote[candidate]
                shared = shared + share * r.spoke[candidate]
                unsaid_score += float(share * r.unsaid_spoke[candidate])
            else:
                shared = shared + share * r.fail[candidate]
                unsaid_score += float(share * r.unsaid_fail[candidate])
        return Belief(r, heard, values, said, own, score, shared, unsaid_score)

    # -- what is believed ---------------------------------------------------------------------------

    def _hidden(self) -> np.ndarray:
        """Hidden units of the values and of "none of those", ``(V + 1, h)``."""
        hidden: np.ndarray = np.maximum(
            self.own + self.shared + np.where(self.said[:, None], 0.0, self.reading.unsaid), 0.0
        )
        return hidden

    def probabilities(self) -> np.ndarray:
        """``(V + 1,)`` P(right) of ``values``, said or not; the last for none of them."""
        score = self._hidden() @ self.reading.readout + self.own_score
        score += np.where(self.said, 0.0, self.unsaid_score)
        if self.reading.offered:
            score[-1] = -np.inf
        scale, shift = self.reading.confidence.at(*self._heard_of())
        return softmax(scale * score + np.where(self.said, 0.0, shift), axis=0)

    def _heard_of(self) -> tuple[int, float]:
        """How many were heard of those learned of, and their mean lead."""
        leads = [float(self.reading.lead[c]) for c in self.heard if self.reading.speaks[c]]
        return len(leads), sum(leads) / max(len(leads), 1)

    def _calibration_after(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift, ``(k, 1)`` each, once each of ``candidates`` was heard too."""
        n, lead = self._heard_of()
        scale, shift = self.reading.confidence.each(
            n + 1, (n * lead + self.reading.lead[candidates]) / (n + 1)
        )
        return scale[:, None], shift[:, None]

    def posterior(self) -> dict[str | None, float]:
        """Value said -> P(it is right); the key None holds the probability that none of those said is."""
        p = self.probabilities().tolist()
        known: dict[str | None, float] = {value: p[i] for i, value in enumerate(self.values) if self.said[i]}
        known[None] = max(0.0, 1.0 - sum(known.values()))
        return known

    def best(self) -> tuple[str | None, float]:
        """The value most likely right of those said, and its probability; (None, 0.0) while there is none."""
        place = self._best()
        return (None, 0.0) if place is None else (self.values[place], float(self.probabilities()[place]))

    def _best(self) -> int | None:
        if not self.said.any():
            return None
        return int(np.where(self.said, self.probabilities(), -1.0).argmax())

    def trust(self, candidate: int) -> float:
        """P(right) of what ``candidate`` said: of its likeliest answer, 0 where it gave none.

        Of one that was not learned of: what others, or the options, make of its value; 0 where neither does.

        Raises:
            InputError: when it was not heard.
        """
        if candidate not in self.heard:
            raise InputError(f"candidate {candidate} was not heard.")
        p = dict(zip(self.values, self.probabilities().tolist(), strict=False))
        return max((p.get(v, 0.0) for v in self.heard[candidate] if v is not None), default=0.0)

    # -- what one more answer is worth --------------------------------------------------------------

    def foretold(self, candidates: np.ndarray) -> np.ndarray:
        """What each of ``candidates`` would say: ``(k, V + 2)`` over ``values``, another, nothing."""
        r = self.reading
        hidden = self._hidden()
        score = np.empty((len(candidates), len(self.values) + 2), dtype=np.float32)
        score[:, :-1] = (hidden @ r.next[:, candidates]).T
        score[:, :-1] += np.where(self.said, 0.0, r.next_unsaid[candidates][:, None])
        if r.offered:
            score[:, -2] = -np.inf
        score[:, -1] = (hidden[-1] @ r.next_fail)[candidates] + r.next_fail_score[candidates]
        return softmax(score, axis=1)

    def gain(self, candidates: np.ndarray) -> np.ndarray:
        """Expected rise of P(right) of the final answer from asking each of ``candidates``, ``(k,)``.

        One step ahead: over all that it may say (each value known, another, nothing), by how much the
        value that would then be best beats the one that is best now. Never negative; 0 where no answer of
        it would change the choice, or it was not learned of or already heard.
        """
        r = self.reading
        candidates = np.asarray(candidates, dtype=np.int64)
        v, best = len(self.values), self._best()
        if len(candidates) == 0:
            return np.zeros(0)
        # One row per value, one for another, one for "none of those"; column e of an event is row e.
        own = np.insert(self.own, v, 0.0, axis=0)
        own_score = np.insert(self.own_score, v, 0.0)
        said = np.insert(self.said, v, False)
        weight = self._weights(candidates)
        shared = self.shared + weight * r.spoke[candidates]
        quiet = own + np.where(said[:, None], 0.0, r.unsaid)
        before = np.maximum(quiet[None] + shared[:, None], 0.0) @ r.readout + own_score
        before += np.where(said, 0.0, self.unsaid_score + weight * r.unsaid_spoke[candidates][:, None])
        after = np.maximum(own[None, :-1] + (shared + weight * r.say[candidates])[:, None], 0.0) @ r.readout
        after += own_score[:-1] + weight * r.vote[candidates][:, None]
        before[:, v] = -np.inf  # another value has its row only where it is said
        if r.offered:
            before[:, -1] = -np.inf
        scale, shift = self._calibration_after(candidates)
        rise = _rise(scale * before + np.where(said, 0.0, shift), scale * after, said, best)
        foretold = self.foretold(candidates)
        expected = (foretold[:, :-1] * rise).sum(axis=1)
        if best is not None:
            expected += foretold[:, -1] * self._rise_on_failure(candidates, best)
        free = np.array([c not in self.heard for c in candidates.tolist()])
        return np.asarray(np.where(r.speaks[candidates] & free, expected, 0.0), dtype=np.float64)

    def _rise_on_failure(self, candidates: np.ndarray, best: int) -> np.ndarray:
        """By how much another value beats the best of now once each of ``candidates`` failed, ``(k,)``."""
        r = self.reading
        quiet = self.own + np.where(self.said[:, None], 0.0, r.unsaid)
        weight = self._weights(candidates)
        shared = self.shared + weight * r.fail[candidates]
        score = np.maximum(quiet[None] + shared[:, None], 0.0) @ r.readout
        score += self.own_score
        score += np.where(self.said, 0.0, self.unsaid_score + weight * r.unsaid_fail[candidates][:, None])
        if r.offered:
            score[:, -1] = -np.inf
        scale, shift = self._calibration_after(candidates)
        p = softmax(scale * score + np.where(self.said, 0.0, shift), axis=1)
        rise: np.ndarray = p[:, self.said].max(axis=1) - p[:, best]
        return rise


def _rise(before: np.ndarray, after: np.ndarray, said: np.ndarray, best: int | None) -> np.ndarray:
    """Rise of P(right) for each candidate and event, ``(k, R - 1)``.

    Args:
        before: ``(k, R)`` scores of the rows as far as nobody new said them.
        after: ``(k, R - 1)`` score of the row that is said.
        said: ``(R,)`` bool, rows said so far.
        best: row that is best now.
    """
    top = np.maximum(before.max(axis=1), after.max(axis=1))[:, None]
    weight, new = np.exp(before - top), np.exp(after - top)
    total = weight.sum(axis=1, keepdims=True) - weight[:, :-1] + new
    # Best of the rows said so far other than the one that is said now.
    rivals = np.where(said[:-1], weight[:, :-1], 0.0)
    first = rivals.argmax(axis=1)
    rows = np.arange(len(rivals))
    highest = rivals[rows, first]
    rivals[rows, first] = 0.0
    second = rivals.max(axis=1)
    events = np.arange(rivals.shape[1])
    others = np.where(events[None] == first[:, None], second[:, None], highest[:, None])
    winner = np.maximum(others, new)
    held = 0.0 if best is None else np.where(events[None] == best, new, weight[:, [best]])
    rise: np.ndarray = (winner - held) / total
    return rise
