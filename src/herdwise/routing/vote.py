"""Vote: ask several in parallel, and stop as soon as the others can change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from herdwise.routing.base import Ask, Belief, Policy, Situation, Step, Wait
from herdwise.routing.consulting import (
    affordable,
    belief_of,
    by_quality,
    known_cost,
    open_candidates,
    over,
    settle,
    spent_of,
)
from herdwise.routing.option_checks import cost, count, fraction

#: A value that nobody gives: what those under way might say, had they all one other answer.
_OTHER = "\0another answer"


class Vote(Policy):
    """The ``k`` candidates of best utility are asked at once; who fails is replaced by the next.

    The vote ends when every ballot is in, when P(right) of the leader is ``enough``, or when the leader
    would stay ahead even if all that are under way said the same other thing; these are cancelled.

    Args:
        k: ballots.
        max_cost: cost of all ballots together, in the unit of ``goals.cost_kind``; None = no limit.
        enough: P(right) at which the vote is over, in (0, 1].

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "vote"
    consults: ClassVar[bool] = True

    def __init__(self, k: int = 5, max_cost: float | None = None, enough: float = 0.97) -> None:
        self.k = count(self.name, "k", k)
        self.max_cost = None if max_cost is None else cost(self.name, "max_cost", max_cost)
        self.enough = fraction(self.name, "enough", enough, zero=False)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        belief = belief_of(situation)
        if ended := over(situation):
            return settle(situation, belief, ended)
        if situation.answers:
            value, p = belief.best()
            if p >= self.enough:
                return settle(situation, belief, f"P(right) {p:.2f} is enough")
            if situation.in_flight and value is not None and self._decided(situation, belief, value):
                return settle(situation, belief, "the others could change nothing")
        missing = self.k - len(situation.answers) - len(situation.in_flight)
        more = self._next(situation, missing) if missing > 0 else ()
        if more:
            return Ask(more)
        if situation.in_flight:
            return Wait(situation.goals.max_seconds)
        return settle(situation, belief, f"{len(situation.answers)} voted")

    def _decided(self, situation: Situation, belief: Belief, value: str) -> bool:
        rest = [ask.candidate for ask in situation.in_flight]
        posterior = belief.posterior()
        rivals = sorted((v for v in posterior if v != value), key=lambda v: -posterior[v])[:2]
        for rival in (*rivals, _OTHER):
            after = belief
            for candidate in rest:
                after = after.observe(candidate, rival)
            if after.best()[0] != value:
                return False
        return True

    def _next(self, situation: Situation, missing: int) -> tuple[int, ...]:
        order = by_quality(situation, open_candidates(situation))
        if self.max_cost is not None:
            each = known_cost(situation)
            left = self.max_cost - spent_of(situation, each)
            fitting: list[int] = []
            for position in order:
                if each[position] <= left:
                    fitting.append(position)
                    left -= float(each[position])
            order = fitting
        return tuple(affordable(situation, order[:missing]))

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"k": self.k, "max_cost": self.max_cost, "enough": self.enough}

    def spectrum(self, n_candidates: int) -> Sequence[Policy]:
        """From one ballot to everybody's."""
        sizes = sorted({min(k, n_candidates) for k in (1, 2, 3, 5, 8, 12, 20, n_candidates)})
        return [Vote(k, self.max_cost, self.enough) for k in sizes]
