"""Route, then check: one candidate answers, a cheap one gives a second opinion, another on doubt."""

from __future__ import annotations

from typing import Any, ClassVar

from herdwise.routing.base import Ask, Policy, Situation, Step, Wait
from herdwise.routing.consulting import belief_of, by_cost, by_quality, open_candidates, over, settle
from herdwise.routing.option_checks import count, fraction


class RouteThenCheck(Policy):
    """The candidate of best utility is asked first. Is its answer doubtful, the cheapest of the others is
    asked as its verifier; does the doubt stay, the next of best utility, up to ``most`` in all.

    Args:
        threshold: P(right) of the likeliest answer that leaves no doubt, in (0, 1].
        most: candidates asked at most.

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "route_then_check"
    consults: ClassVar[bool] = True

    def __init__(self, threshold: float = 0.7, most: int = 3) -> None:
        self.threshold = fraction(self.name, "threshold", threshold, zero=False)
        self.most = count(self.name, "most", most)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        belief = belief_of(situation)
        if ended := over(situation):
            return settle(situation, belief, ended)
        if situation.in_flight:
            return Wait(situation.goals.max_seconds)
        value, p = belief.best()
        if value is not None and p >= self.threshold:
            return settle(situation, belief, f"P(right) {p:.2f} leaves no doubt")
        # Who failed gave no opinion, and is replaced.
        if len(situation.answers) >= self.most:
            return settle(situation, belief, f"P(right) {p:.2f} after {self.most} answers")
        left = open_candidates(situation)
        if not len(left):
            return settle(situation, belief, f"P(right) {p:.2f}, and nobody else may be asked")
        order = by_cost if len(situation.answers) == 1 else by_quality
        return Ask((order(situation, left)[0],))

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"threshold": self.threshold, "most": self.most}
