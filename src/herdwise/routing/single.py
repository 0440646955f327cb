"""Single: ask the one candidate of best utility; on a failure, the next of the same ranking."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from herdwise.routing.base import Ask, Finish, Policy, Situation, Step, Wait
from herdwise.routing.hand_over import handed_over
from herdwise.routing.option_checks import one_of
from herdwise.routing.threads import kept

_RECOVERIES = ("continue", "restart", "stop")


class Single(Policy):
    """One answer, delivered as it streams.

    With ``goals.min_quality``, candidates predicted at least that good come first, by utility; where
    no expert reaches it, the generalist answers. A failure is one more thing that is known: the
    next Step follows the same ranking, without those who failed. Who has the conversation keeps it
    (see ``routing.threads``).

    Args:
        recovery: when an answer breaks off after a part of it was delivered, the next candidate is asked to
            "continue" it, or to "restart" (a line says so, then the whole answer follows); or "stop".

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "single"

    def __init__(self, recovery: str = "continue") -> None:
        self.recovery = one_of(self.name, "recovery", recovery, _RECOVERIES)

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"recovery": self.recovery}

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        if situation.answers:
            answer = situation.answers[0]
            return Finish(answer.ask, f"{situation.herd[answer.candidate].name} answered")
        if situation.in_flight:
            return Wait()
        delivered = next((f.delivered for f in reversed(situation.failures) if f.delivered), "")
        if delivered and self.recovery == "stop":
            return Finish(None, "the answer broke off after a part of it had been delivered")
        limit = situation.goals.max_calls
        if limit is not None and situation.spent.calls >= limit:
            return Finish(None, f"the budget of {limit} calls is spent")
        tried = {failure.candidate for failure in situation.failures}
        if not tried and (first := _at_once(situation)) is not None:
            return Ask((first,), deliver=True)
        order, reason = ranking(situation)
        left = [position for position in order if position not in tried]
        if not left:
            return Finish(None, "every admitted candidate failed" if tried else reason)
        if not delivered:
            return Ask((left[0],), deliver=True)
        return Ask((left[0],), deliver=True, continue_from=delivered if self.recovery == "continue" else "")


def _at_once(situation: Situation) -> int | None:
    """The first of the ranking where that is just the best utility: sorting a thousand takes its time."""
    if situation.goals.min_quality is not None or situation.thread.candidate is not None:
        return None
    first = int(situation.utility.argmax())
    if not situation.utility[first] > -np.inf:
        return None
    return first if situation.healthy is None or situation.healthy[first] else None


def ranking(situation: Situation) -> tuple[list[int], str]:
    """The order in which candidates would be asked, and why the first is first.

    Unhealthy candidates come last. Ties go to the earlier in the herd.

    Raises:
        InputError: when ``min_quality`` is set without a generalist, or the generalist is unknown.
    """
    goals = situation.goals
    utility = situation.utility
    order = np.argsort(-utility, kind="stable")
    order = order[: int(situation.admitted.sum())] if not situation.admitted.all() else order
    if len(order) == 0:
        return [], "no candidate meets the constraints"
    reason = (
        "best utility" if goals.cost_weight or not goals.preferences.neutral else "best predicted quality"
    )
    if goals.min_quality is not None:
        order, reason = handed_over(situation, order, reason, goals.min_quality)
    if situation.healthy is not None and not situation.healthy[order].all():
        healthy = situation.healthy[order]
        order = np.concatenate([order[healthy], order[~healthy]])
        reason += ", unhealthy ones last"
    return kept(order.tolist(), reason, situation)
