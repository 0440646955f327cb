"""Consult: ask while one more answer is worth its cost; return the fused answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from herdwise.routing.base import Ask, Belief, Policy, Situation, Step, Wait
from herdwise.routing.consulting import (
    affordable,
    belief_of,
    cost_of,
    known_cost,
    open_candidates,
    over,
    settle,
)
from herdwise.routing.option_checks import count, fraction, one_of

#: Candidates of one round at most, where it is not said.
TOGETHER = 4


class Consult(Policy):
    """One-step look-ahead on the belief over answers.

    After each answer: the expected gain of P(right) by asking each further candidate, less
    ``goals.cost_weight`` x its cost. The best is asked, until nobody's gain exceeds its cost, or
    ``min_gain``, which stops where cost has no weight. One answer may be unable to turn what several
    could: below ``until`` the best is asked even so.

    Where latency has a weight, candidates are asked together: besides the best, whoever is worth the time by
    which the round gets longer for it. A round ends as soon as nobody under way is worth the wait.

    Args:
        min_gain: expected gain of P(right), after cost, below which nobody is asked any more.
        until: P(right) below which asking goes on without any gain in sight, in [0, 1].
        enough: P(right) at which the consultation is over, in (0, 1].
        by: "gain", the greatest gain after cost first, or "ratio", the greatest gain per cost first.
        parallel: candidates asked at once, in rounds: the fewer rounds, the sooner the answer. None: one, and
            up to ``TOGETHER`` that are worth it where latency has a weight.

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "consult"
    consults: ClassVar[bool] = True
    needs_belief: ClassVar[bool] = True

    def __init__(
        self,
        min_gain: float = 0.002,
        until: float = 0.0,
        enough: float = 1.0,
        by: str = "gain",
        parallel: int | None = None,
    ) -> None:
        self.min_gain = fraction(self.name, "min_gain", min_gain, zero=True)
        self.until = fraction(self.name, "until", until, zero=True)
        self.enough = fraction(self.name, "enough", enough, zero=False)
        self.by = one_of(self.name, "by", by, ("gain", "ratio"))
        self.parallel = None if parallel is None else count(self.name, "parallel", parallel)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        belief = belief_of(situation)
        if ended := over(situation):
            return settle(situation, belief, ended)
        _, p = belief.best()
        if situation.answers and p >= self.enough:
            return settle(situation, belief, f"P(right) {p:.2f} is enough")
        if situation.in_flight:
            if situation.answers and p >= self.until and not self._worth_waiting(situation, belief):
                return settle(situation, belief, f"P(right) {p:.2f}, and nobody under way is worth the wait")
            return Wait(situation.goals.max_seconds)
        left = open_candidates(situation)
        if not len(left):
            return settle(situation, belief, f"P(right) {p:.2f}, and nobody else may be asked")
        gain = belief.gain(left)
        net = gain - self._price(situation, left)
        rank = gain / known_cost(situation)[left] if self.by == "ratio" else net
        order = np.lexsort((-situation.estimates.quality[left], -rank))
        if situation.answers and p >= self.until:
            order = order[net[order] > self.min_gain]
        if not len(order):
            return settle(situation, belief, f"P(right) {p:.2f}, and nobody else is worth asking")
        together = self._together(situation, left, order, gain)
        return Ask(tuple(affordable(situation, [int(left[i]) for i in together])))

    def _together(
        self, situation: Situation, left: np.ndarray, order: np.ndarray, gain: np.ndarray
    ) -> list[int]:
        """Places in ``left`` of those asked in one round, the first of ``order`` first."""
        goals = situation.goals
        if self.parallel is not None or goals.cost_kind != "latency" or not goals.cost_weight:
            return [int(i) for i in order[: self.parallel or 1]]
        latency_s = situation.estimates.latency_s[left]
        chosen = [int(order[0])]
        longest_s = float(latency_s[chosen[0]])
        for i in np.argsort(-gain, kind="stable").tolist():
            longer_s = max(0.0, float(latency_s[i]) - longest_s)
            if i in chosen or not gain[i] - goals.cost_weight * longer_s > self.min_gain:
                continue
            chosen.append(i)
            longest_s += longer_s
            if len(chosen) == TOGETHER:
                break
        return chosen

    def _worth_waiting(self, situation: Situation, belief: Belief) -> bool:
        """Whether somebody's answer under way could still be worth the time that it takes."""
        goals = situation.goals
        waiting = np.array([ask.candidate for ask in situation.in_flight])
        gain = belief.gain(waiting)
        if goals.cost_weight and goals.cost_kind == "latency":
            started = np.array([ask.started_s for ask in situation.in_flight])
            left_s = started + situation.estimates.latency_s[waiting] - situation.now_s
            gain = gain - goals.cost_weight * np.maximum(left_s, 0.0)
        return bool((gain > self.min_gain).any())

    def _price(self, situation: Situation, left: np.ndarray) -> np.ndarray:
        goals = situation.goals
        if not goals.cost_weight:
            return np.zeros(len(left))
        # Whose cost is unknown is not admitted where cost has a weight (see utility.utilities).
        return np.asarray(goals.cost_weight * cost_of(situation, goals.cost_kind)[left])

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {
            "min_gain": self.min_gain,
            "until": self.until,
            "enough": self.enough,
            "by": self.by,
            "parallel": self.parallel,
        }

    def spectrum(self, n_candidates: int) -> Sequence[Policy]:
        """Least gains, from one that ends after one answer to none; then doubts that go on without any."""
        del n_candidates
        settings = [(gain, 0.0) for gain in (0.3, 0.1, 0.05, 0.02, 0.01, 0.005, 0.0)]
        settings += [(0.0, until) for until in (0.4, 0.5, 0.6, 0.7, 0.85)]
        return [Consult(gain, until, self.enough, self.by, self.parallel) for gain, until in settings]
