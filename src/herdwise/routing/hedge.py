"""Hedge: a second candidate is asked when the first is slow to begin; who begins first answers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from herdwise.core.errors import ConfigError
from herdwise.routing.base import Ask, Policy, Situation, Step, Wait
from herdwise.routing.consulting import usd_left
from herdwise.routing.option_checks import cost, count
from herdwise.routing.single import Single, ranking


class Hedge(Policy):
    """As ``single``, but who has not begun to answer after ``after_s`` gets a rival, the next of the ranking.

    The first to begin (of a stream) or to end (of a whole answer) is delivered, the others are
    closed, at the upstream too. Cuts the longest waits for some calls that are paid twice.
    Source: Dean and Barroso, The Tail at Scale (2013).

    Args:
        after_s: seconds of silence after which the next is asked.
        most: candidates under way at a time.
        recovery: see ``Single``.

    Raises:
        ConfigError: when an option is out of range.
    """

    name: ClassVar[str] = "hedge"

    def __init__(self, after_s: float = 3.0, most: int = 2, recovery: str = "continue") -> None:
        self.after_s, self.most = cost(self.name, "after_s", after_s), count(self.name, "most", most)
        if self.most < 2:
            raise ConfigError("hedge: most must be at least 2; with one candidate at a time it is `single`.")
        self._single = Single(recovery)

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        if situation.answers or not situation.in_flight:
            return self._single.step(situation)
        under_way = situation.in_flight
        if any(ask.delivering for ask in under_way) or len(under_way) >= self.most:
            return Wait()
        rival = self._rival(situation)
        if rival is None:
            return Wait()
        due_s = max(ask.started_s for ask in under_way) + self.after_s
        return Ask((rival,), deliver=True) if situation.now_s >= due_s else Wait(until_s=due_s)

    def _rival(self, situation: Situation) -> int | None:
        """The best of those not asked yet, within the limits of calls and USD; None = there is none.

        Two that are under way are both paid: the first counts as predicted until its bill is there.
        """
        limit = situation.goals.max_calls
        if limit is not None and situation.spent.calls >= limit:
            return None
        if any(failure.delivered for failure in situation.failures):
            return None  # a broken answer is being gone on with: two cannot
        tried = {ask.candidate for ask in situation.in_flight}
        tried |= {failure.candidate for failure in situation.failures}
        order, _ = ranking(situation)
        cost, usd = situation.estimates.cost_usd, usd_left(situation)
        return next((c for c in order if c not in tried and (usd == math.inf or cost[c] <= usd)), None)

    def options(self) -> dict[str, Any]:
        """See ``Policy.options``."""
        return {"after_s": self.after_s, "most": self.most, "recovery": self._single.recovery}
