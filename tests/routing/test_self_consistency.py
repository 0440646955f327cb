"""One candidate asked several times: what it asks, and when the samples have decided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ConfigError
from herdwise.core.query import Query
from herdwise.routing.base import Answer, Ask, Cancel, Failure, Finish, InFlight, Situation, Spent, Wait
from herdwise.routing.plain_votes import PlainVotes
from herdwise.routing.self_consistency import SelfConsistency
from herdwise.routing.served_belief import ServedBelief

HERD = Herd([Candidate("ant"), Candidate("bee")])


def opening(**goals: Any) -> Situation:
    quality, cost = np.array([0.6, 0.7]), np.array([1.0, 1.0])
    return Situation(
        query=Query("q"),
        herd=HERD,
        estimates=Estimates(quality, None, cost, np.full(2, np.nan), np.full(2, np.nan)),
        goals=Goals(**goals),
        admitted=np.ones(2, dtype=bool),
        removed={},
        utility=quality,
    )


def heard(*values: str, candidate: int = 1, under_way: int = 0) -> Situation:
    """After some samples of one candidate, while others are under way."""
    n = len(values)
    return replace(
        opening(),
        answers=tuple(Answer(k, candidate, f"({v})", v) for k, v in enumerate(values)),
        in_flight=tuple(InFlight(n + k, candidate, 0.0) for k in range(under_way)),
        spent=Spent(calls=n + under_way),
    )


def test_all_samples_of_the_best_are_asked_at_once_and_without_the_clients_seed() -> None:
    step = SelfConsistency(samples=3, temperature=0.9).step(opening())
    assert step == Ask((1, 1, 1), sampling={"temperature": 0.9, "seed": None})
    named = SelfConsistency(samples=2, candidate="ant").step(opening())
    assert isinstance(named, Ask)
    assert named.candidates == (0, 0)


def test_the_commonest_answer_is_returned_the_first_among_equals() -> None:
    policy = SelfConsistency()
    step = policy.step(heard("A", "B", "B"))
    assert isinstance(step, Finish)
    assert (step.answer, "2 of 3" in step.reason) == (1, True)
    tie = policy.step(heard("A", "B"))
    assert isinstance(tie, Finish)
    assert tie.answer == 0


def test_samples_that_can_change_nothing_are_cancelled() -> None:
    policy = SelfConsistency()
    assert policy.step(heard("B", "B", "A", under_way=2)) == Wait(None)
    assert policy.step(heard("B", "B", "B", under_way=2)) == Cancel((3, 4))
    assert policy.step(heard("B", "B", under_way=2)) == Wait(None), "two could still draw level"


def test_a_candidate_that_gives_nothing_is_replaced() -> None:
    failed = replace(
        opening(),
        failures=tuple(Failure(k, 1, "timeout") for k in range(5)),
        spent=Spent(calls=5),
    )
    step = SelfConsistency().step(failed)
    assert isinstance(step, Ask)
    assert set(step.candidates) == {0}


@pytest.mark.parametrize(
    ("goals", "n"),
    [({}, 5), ({"max_calls": 2}, 2), ({"max_total_usd": 3.5}, 3), ({"max_total_usd": 1.0}, 1)],
)
def test_so_many_samples_as_the_budget_allows(goals: dict[str, Any], n: int) -> None:
    step = SelfConsistency(samples=5).step(opening(**goals))
    assert isinstance(step, Ask)
    assert len(step.candidates) == n


def test_samples_of_one_candidate_share_one_vote() -> None:
    quality = np.array([0.6, 0.7])
    for start in (
        PlainVotes(quality),
        ServedBelief(PlainVotes(quality), np.array([0, 1]), quality),
    ):
        once = start.observe(1, "A")
        belief = once
        for _ in range(4):
            belief = belief.observe(1, "A")
        assert belief.posterior()["A"] == pytest.approx(once.posterior()["A"]), (
            "five of a kind are no five votes"
        )
        split = start.observe(1, "A").observe(1, "A").observe(1, "B")
        assert split.posterior()["B"] < split.posterior()["A"] < once.posterior()["A"]
        assert split.trust(1) == pytest.approx(split.posterior()["A"])
        # Another candidate's agreement is worth more than any number of its own.
        assert once.observe(0, "A").posterior()["A"] > once.posterior()["A"]


def test_a_candidate_that_is_not_in_the_herd_is_refused_before_serving() -> None:
    with pytest.raises(ConfigError, match="'cat'"):
        SelfConsistency(candidate="cat").check(HERD)
    SelfConsistency(candidate="ant").check(HERD)
    with pytest.raises(ConfigError, match="samples"):
        SelfConsistency(samples=0)
