"""Direct: the client named the candidate, so nothing is decided and nobody stands in."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.query import Query
from herdwise.routing.base import Ask, Finish, Policy, Situation, Step, Wait


class Direct(Policy):
    """Asks the only admitted candidate once. Not registered: a request asks for it by a candidate's name."""

    name: ClassVar[str] = "direct"

    def step(self, situation: Situation) -> Step:
        """See ``Policy.step``."""
        if situation.answers:
            return Finish(situation.answers[0].ask, "the request named this candidate")
        if situation.in_flight:
            return Wait()
        if situation.failures:
            return Finish(None, "the candidate that the request named failed")
        return Ask((int(np.argmax(situation.admitted)),), deliver=True)


def direct_situation(herd: Herd, query: Query, goals: Goals, candidate: str) -> Situation:
    """The scene for a candidate that the client named: nothing is predicted, everybody else is out."""
    position, m = herd.index(candidate), len(herd)
    admitted = np.zeros(m, dtype=bool)
    admitted[position] = True
    unknown = np.full(m, np.nan)
    return Situation(
        query=query,
        herd=herd,
        estimates=Estimates(unknown, None, unknown, unknown, unknown, origin="none"),
        goals=goals,
        admitted=admitted,
        removed={name: "the request named another candidate" for name in herd.names if name != candidate},
        utility=np.where(admitted, 0.0, -np.inf),
    )
