"""Cascade: ask from cheap to dear until an answer can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from herdwise.routing.base import Ask, Policy, Situation, Step, Wait
from herdwise.routing.consulting import (
    belief_of,
    by_cost,
    by_quality,
    open_candidates,
    over,
    settle,
)
from herdwise.routing.option_checks import count, fraction, one_of

_ORDERS = ("climb", "cost", "utility")
#: Who is predicted better by less than this is no step up: a call for the chance of it does not pay.
_STEP = 0.03


class Cascade(Policy):
    """One candidate at a time; the next is asked while P(right) of the likeliest answer is too low.

    P(right) is of all answers so far together, so that a second opinion that agrees ends the cascade.
    Where nothing was learned from recorded answers only the predictors' confidence is to be had:
    who is predicted below the threshold is passed over, since no answer of theirs would be believed.
    Sources: Chen et al., FrugalGPT (2023); Aggarwal et al., AutoMix (2024).

    Args:
        threshold: P(right) that is enough, in (0, 1].
        order: "climb", from cheap to dear by the goals' kind of cost (or the first that is known of
            everybody), each predicted better than all that have answered, and the end where nobody is;
            "cost", from cheap to dear, everybody; or "utility", the best first.
        most: candidates asked at most; None = all admitted.

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "cascade"
    consults: ClassVar[bool] = True

    def __init__(self, threshold: float = 0.7, order: str = "climb", most: int | None = None) -> None:
        self.threshold = fraction(self.name, "threshold", threshold, zero=False)
        self.order = one_of(self.name, "order", order, _ORDERS)
        self.most = None if most is None else count(self.name, "most", most)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        belief = belief_of(situation)
        if ended := over(situation):
            return settle(situation, belief, ended)
        if situation.in_flight:
            return Wait(situation.goals.max_seconds)
        if situation.answers:
            _, p = belief.best()
            p = max(p, *(belief.trust(answer.candidate) for answer in situation.answers))
            if p >= self.threshold:
                return settle(situation, belief, f"P(right) {p:.2f} is enough")
        if self.most is not None and situation.spent.calls >= self.most:
            return settle(situation, belief, f"{self.most} were asked")
        left = self._order(situation, open_candidates(situation))
        if not left:
            nobody = "better" if self.order == "climb" and situation.answers else "else"
            return settle(situation, belief, f"nobody {nobody} may be asked")
        return Ask((left[0],))

    def _order(self, situation: Situation, left: np.ndarray) -> list[int]:
        if situation.belief is None and len(left):
            quality = situation.estimates.quality[left]
            good = left[quality >= self.threshold]
            if not len(good):
                # The dearest step of the cascade is the best guess there is; a failure leads to the next.
                return [] if situation.answers else by_quality(situation, left)
            left = good
        if self.order == "climb" and situation.answers:
            quality = np.nan_to_num(situation.estimates.quality)
            best = max(quality[answer.candidate] for answer in situation.answers)
            left = left[quality[left] > best + _STEP]
        return by_quality(situation, left) if self.order == "utility" else by_cost(situation, left)

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"threshold": self.threshold, "order": self.order, "most": self.most}

    def spectrum(self, n_candidates: int) -> Sequence[Policy]:
        """Thresholds from one that any answer reaches to one that next to none does."""
        del n_candidates
        levels = (0.02, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
        return [Cascade(level, self.order, self.most) for level in levels]
