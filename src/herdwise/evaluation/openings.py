"""The scene of each measured query for a policy, under any goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import NoCandidateError
from herdwise.core.query import Query
from herdwise.evaluation.replay import Openings
from herdwise.routing.base import Belief, Policy, Situation
from herdwise.routing.router import Router


def openings_of(
    router: Router, policy: Policy, queries: list[Query], estimates: list[Estimates]
) -> Callable[[Goals], Openings]:
    """Goals -> opening situation per query, with what is believed before any answer where it is wanted."""
    # What is believed before anybody was asked depends on no goal, so that a sweep makes it once.
    beliefs: dict[int, Belief | None] = {}

    def under(goals: Goals) -> Openings:
        def opening(row: int) -> Situation | None:
            try:
                situation = router.situation(queries[row], goals, estimates[row])
            except NoCandidateError:
                return None
            if not policy.consults:
                return situation
            if row not in beliefs:
                beliefs[row] = router.belief(queries[row], estimates[row])
            return replace(situation, belief=beliefs[row])

        return opening

    return under
