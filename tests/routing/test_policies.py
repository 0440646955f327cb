"""What each policy asks, in which order, and when it has heard enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ConfigError
from herdwise.core.query import Query
from herdwise.evaluation.replay import Records, Replay, replay
from herdwise.routing.base import (
    Answer,
    Ask,
    Cancel,
    Failure,
    Finish,
    InFlight,
    Policy,
    Situation,
    Spent,
    Step,
    Wait,
)
from herdwise.routing.cascade import Cascade
from herdwise.routing.consult import Consult
from herdwise.routing.plain_votes import PlainVotes
from herdwise.routing.route_then_check import RouteThenCheck
from herdwise.routing.vote import Vote

#: small is cheap and often wrong, large dear and often right.
QUALITY = (0.55, 0.6, 0.65, 0.8)
SIZES = (1.0, 2.0, 4.0, 20.0)
NAN = float("nan")


def opening(quality: Sequence[float] = QUALITY, *, learned: bool = True, **goals: Any) -> Situation:
    m = len(quality)
    q = np.array(quality)
    wanted = Goals(**{"cost_kind": "active_params", **goals})
    size = np.array(SIZES[:m])
    return Situation(
        query=Query("q"),
        herd=Herd(Candidate(f"c{j}", active_params_b=size[j]) for j in range(m)),
        estimates=Estimates(q, None, np.full(m, NAN), np.full(m, NAN), np.full(m, NAN)),
        goals=wanted,
        admitted=np.ones(m, dtype=bool),
        removed={},
        utility=q - wanted.cost_weight * size,
        belief=PlainVotes(q) if learned else None,
    )


def run(policy: Policy, *answers: str | None, start: Situation | None = None) -> Replay:
    """One query, each candidate with its recorded answer."""
    m = len(answers)
    unknown = np.full((1, m), NAN)
    recorded = np.array([answers], dtype=object)
    records = Records(np.ones((1, m), dtype=bool), recorded, unknown, unknown)
    return replay(policy, lambda _row: start or opening(), records)


def asked(course: Replay) -> list[int]:
    return np.flatnonzero(course.asks[0]).tolist()


def test_a_cascade_climbs_from_cheap_to_dear_until_two_agree() -> None:
    course = run(Cascade(threshold=0.8), "A", "B", "B", "C")
    assert asked(course) == [0, 1, 2]
    assert course.answered.tolist() == [2], "of those that said B the one predicted best answers"


def test_a_cascade_ends_with_the_likeliest_answer_when_nobody_is_left() -> None:
    course = run(Cascade(threshold=1.0), "A", "B", "C", "D")
    assert asked(course) == [0, 1, 2, 3]
    assert course.answered.tolist() == [3]


def test_a_climbing_cascade_passes_over_who_is_predicted_no_better() -> None:
    start = opening((0.6, 0.62, 0.5, 0.8))
    assert asked(run(Cascade(threshold=0.99), "A", "B", "C", "D", start=start)) == [0, 3]
    everybody = Cascade(threshold=0.99, order="cost")
    assert asked(run(everybody, "A", "B", "C", "D", start=start)) == [0, 1, 2, 3]
    assert asked(run(Cascade(threshold=0.5), None, "B", "C", "D", start=start)) == [0, 1], (
        "who failed is no rung"
    )


def test_a_cascade_by_utility_asks_the_best_first() -> None:
    assert asked(run(Cascade(threshold=0.75, order="utility"), "A", "B", "B", "C")) == [3]


def test_a_cascade_without_learned_beliefs_passes_over_whom_it_would_not_believe() -> None:
    blind = opening(learned=False)
    assert asked(run(Cascade(threshold=0.62), "A", "B", "B", "C", start=blind)) == [2]
    assert asked(run(Cascade(threshold=0.9), "A", "B", "B", "C", start=blind)) == [3]


def test_a_cascade_on_recorded_qualities_alone_goes_by_the_predictors_confidence() -> None:
    unknown = np.full((1, 4), NAN)
    records = Records(np.ones((1, 4), dtype=bool), None, unknown, unknown)
    course = replay(Cascade(threshold=0.6), lambda _row: opening(learned=False), records)
    assert asked(course) == [1]


def test_an_unreadable_answer_is_a_failure_and_the_next_is_asked() -> None:
    course = run(Cascade(threshold=0.5), None, "B", "B", "C")
    assert asked(course) == [0, 1]
    assert course.answered.tolist() == [1]


def test_when_nobody_gives_an_answer_somebodys_text_is_returned() -> None:
    assert run(Vote(k=4), None, None, None, None).answered.tolist() == [3]


def test_a_vote_asks_the_best_k_and_a_failure_is_replaced() -> None:
    assert asked(run(Vote(k=2, enough=1.0), "A", "B", "C", "D")) == [2, 3]
    assert asked(run(Vote(k=2, enough=1.0), "A", "B", "C", None)) == [1, 2, 3]


def flying(policy: Policy, heard: str, left: Sequence[int]) -> Any:
    """The step after candidates 0, 1, ... said what ``heard`` spells, those of ``left`` being under way."""
    start = opening()
    belief = start.belief
    assert belief is not None
    for candidate, value in enumerate(heard):
        belief = belief.observe(candidate, value)
    answers = tuple(Answer(i, i, "text", value) for i, value in enumerate(heard))
    under_way = tuple(InFlight(len(heard) + i, c, 0.0) for i, c in enumerate(left))
    calls = len(heard) + len(left)
    return policy.step(
        replace(start, answers=answers, in_flight=under_way, spent=Spent(calls=calls), belief=belief)
    )


def test_a_vote_that_the_rest_cannot_turn_is_over_and_the_rest_is_cancelled() -> None:
    # One more small vote can't turn three that agree, though P(right) is below what is enough.
    assert flying(Vote(k=4, enough=1.0), "BBB", [3]) == Cancel((3,))


def test_a_vote_goes_on_while_those_under_way_could_turn_it() -> None:
    assert flying(Vote(k=4, enough=1.0), "B", [1, 2, 3]) == Wait(None)
    assert flying(Vote(k=4, enough=1.0), "BAB", [3]) == Wait(None)


def test_after_a_cancel_nobody_is_asked_again() -> None:
    start = opening()
    assert start.belief is not None
    ended = replace(
        start,
        answers=(Answer(0, 0, "text", "B"),),
        spent=Spent(calls=3),
        belief=start.belief.observe(0, "B"),
    )
    for policy in (Vote(k=4), Cascade(threshold=0.99), Consult(until=1.0), RouteThenCheck(threshold=0.99)):
        step = policy.step(ended)
        assert isinstance(step, Finish)
        assert step.answer == 0


def test_a_vote_within_a_cost_leaves_out_who_does_not_fit() -> None:
    assert asked(run(Vote(k=4, max_cost=7.0, enough=1.0), "A", "B", "C", "D")) == [0, 1, 2]


def test_consult_asks_while_the_gain_exceeds_the_cost() -> None:
    dear = run(Consult(min_gain=0.0), "A", "B", "C", "D", start=opening(cost_weight=0.2))
    cheap = run(Consult(min_gain=0.0), "A", "B", "C", "D", start=opening(cost_weight=0.0))
    assert asked(dear) == [0], "a candidate of 20B is not worth 4 of P(right)"
    assert asked(cheap) == [3]
    heard = opening(cost_weight=0.001)
    assert heard.belief is not None
    heard = replace(
        heard, answers=(Answer(0, 0, "text", "A"),), spent=Spent(calls=1), belief=heard.belief.observe(0, "A")
    )
    assert Consult(min_gain=0.0).step(heard) == Ask((3,))
    dearer = replace(heard, goals=heard.goals.replace(cost_weight=0.1))
    assert isinstance(Consult(min_gain=0.0).step(dearer), Finish)


def test_consult_first_asks_the_candidate_that_is_expected_to_be_right() -> None:
    assert asked(run(Consult(min_gain=0.5), "A", "B", "C", "D")) == [3]


def test_consult_by_ratio_begins_with_the_cheap() -> None:
    course = run(Consult(by="ratio", min_gain=0.0), "B", "B", "B", "B")
    assert 0 in asked(course)
    assert 3 not in asked(course)


def test_consult_goes_on_below_until_although_no_single_answer_could_turn_the_leader() -> None:
    start = opening((0.6, 0.2, 0.2, 0.2))
    myopic = run(Consult(min_gain=0.0), "A", "B", "B", "B", start=start)
    doubtful = run(Consult(min_gain=0.0, until=0.99), "A", "B", "B", "B", start=start)
    assert asked(myopic) == [0]
    assert asked(doubtful) == [0, 1, 2, 3]


def test_consult_in_rounds_asks_several_at_once() -> None:
    step = Consult(parallel=3).step(opening())
    assert isinstance(step, Ask)
    assert len(step.candidates) == 3


def timed(latency_s: Sequence[float], **goals: Any) -> Situation:
    """The opening where latency is what an ask costs."""
    start = opening(cost_kind="latency", **goals)
    return replace(start, estimates=replace(start.estimates, latency_s=np.array(latency_s)))


def test_consult_that_pays_for_time_asks_together_whoever_makes_a_round_no_longer() -> None:
    # Beside the best, which takes 4 s, one of 2 s costs no time; one of 40 s costs 36 s more than the best.
    step = Consult(min_gain=0.0).step(timed((40.0, 2.0, 40.0, 4.0), cost_weight=0.1))
    assert step == Ask((3, 1))
    assert Consult(min_gain=0.0).step(timed((40.0, 2.0, 40.0, 4.0))) == Ask((3,)), "time costs nothing"
    assert Consult(min_gain=0.0, parallel=1).step(timed((4.0, 2.0, 4.0, 4.0), cost_weight=0.1)) == Ask((3,))


def test_a_round_stays_within_what_is_left_of_the_calls_and_the_usd() -> None:
    start = timed((2.0, 2.0, 2.0, 4.0), cost_weight=0.01, max_calls=2)
    step = Consult(min_gain=0.0).step(start)
    assert isinstance(step, Ask)
    assert len(step.candidates) == 2
    priced = replace(start, estimates=replace(start.estimates, cost_usd=np.ones(4)))
    poor = replace(priced, goals=start.goals.replace(max_calls=None, max_total_usd=3.5))
    step = Consult(min_gain=0.0).step(poor)
    assert isinstance(step, Ask)
    assert len(step.candidates) == 3


def test_a_round_ends_when_nobody_under_way_could_turn_it() -> None:
    assert flying(Consult(min_gain=0.0, parallel=4), "BBB", [3]) == Cancel((3,))
    assert flying(Consult(min_gain=0.0, parallel=4), "B", [1, 2, 3]) == Wait(None)
    assert flying(Consult(min_gain=0.0, parallel=4, until=1.0), "BBB", [3]) == Wait(None)


def test_a_round_that_pays_for_time_does_not_wait_for_the_slow() -> None:
    start = timed((1.0, 1.0, 1.0, 60.0), cost_weight=0.01)
    assert start.belief is not None
    heard = replace(
        start,
        answers=(Answer(0, 2, "text", "B"),),
        in_flight=(InFlight(1, 3, 0.0),),
        spent=Spent(calls=2),
        belief=start.belief.observe(2, "B"),
        now_s=1.0,
    )
    assert Consult(min_gain=0.0).step(heard) == Cancel((1,))
    assert Consult(min_gain=0.0).step(replace(heard, now_s=59.0)) == Wait(None)


def test_a_second_opinion_comes_from_the_cheapest_and_settles_the_doubt() -> None:
    assert asked(run(RouteThenCheck(threshold=0.85), "B", "A", "A", "B")) == [0, 3]
    assert asked(run(RouteThenCheck(threshold=0.75), "B", "A", "A", "B")) == [3], "no doubt, no check"
    assert asked(run(RouteThenCheck(threshold=0.85), "A", "C", "B", "B")) == [0, 2, 3]


def test_a_broken_call_of_unknown_cost_counts_as_predicted_against_the_usd() -> None:
    start = opening(max_total_usd=2.5)
    priced = replace(start, estimates=replace(start.estimates, cost_usd=np.ones(4)))
    broken = Failure(0, 3, "timeout")
    once = replace(priced, failures=(broken,), spent=Spent(usd=None, calls=1))
    assert isinstance(Cascade().step(once), Ask)
    twice = replace(once, failures=(broken, Failure(1, 2, "timeout")), spent=Spent(usd=None, calls=2))
    assert isinstance(Cascade().step(twice), Finish)


class Clock(Policy):
    """Another policy, and when its last step was."""

    name = "clock"

    def __init__(self, policy: Policy) -> None:
        self.policy, self.now_s = policy, 0.0

    def step(self, situation: Situation) -> Step:
        self.now_s = situation.now_s
        return self.policy.step(situation)


@pytest.mark.parametrize(
    "policy",
    [
        Cascade(threshold=0.99),
        Vote(k=4, enough=1.0),
        Consult(min_gain=0.0, until=1.0),
        Consult(min_gain=0.0, until=1.0, parallel=3),
        Consult(min_gain=0.0, by="ratio"),
        RouteThenCheck(threshold=0.99),
    ],
    ids=lambda policy: f"{policy.name} {policy.options().get('parallel', '')}",
)
@pytest.mark.parametrize("kind", ["calls", "usd", "seconds"])
def test_no_course_goes_beyond_a_budget(policy: Policy, kind: str) -> None:
    rng = np.random.default_rng(3)
    field = {"calls": "max_calls", "usd": "max_total_usd", "seconds": "max_seconds"}[kind]
    clock = Clock(policy)
    spent: list[float] = []
    for _ in range(60):
        cost, latency_s = rng.uniform(0.5, 4.0, (1, 4)), rng.uniform(0.5, 4.0, (1, 4))
        limit = int(rng.integers(1, 4)) if kind == "calls" else float(rng.uniform(4.0, 8.0))
        start = opening()
        start = replace(
            start,
            goals=start.goals.replace(**{field: limit}),
            estimates=replace(start.estimates, cost_usd=cost[0], latency_s=latency_s[0]),
        )
        said = rng.choice(np.array(["A", "B", "C", None], dtype=object), (1, 4))
        asks = replay(
            clock, [start].__getitem__, Records(np.ones((1, 4), dtype=bool), said, cost, latency_s)
        ).asks
        used = {"calls": asks.sum(), "usd": (asks * cost).sum(), "seconds": clock.now_s}[kind]
        spent.append(float(used) / limit)
    assert max(spent) <= 1.0 + 1e-9
    assert max(spent) > 0.6, "the budget was in the way"


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Cascade, {"threshold": 0.0}),
        (Cascade, {"threshold": "high"}),
        (Cascade, {"order": "size"}),
        (Cascade, {"most": 0}),
        (Vote, {"k": 0}),
        (Vote, {"k": 2.5}),
        (Vote, {"max_cost": -1.0}),
        (Vote, {"enough": 1.5}),
        (Consult, {"min_gain": -0.1}),
        (Consult, {"until": 2.0}),
        (Consult, {"by": "size"}),
        (Consult, {"parallel": 0}),
        (RouteThenCheck, {"threshold": 0.0}),
        (RouteThenCheck, {"most": 0}),
    ],
)
def test_options_out_of_range_are_refused_by_name(cls: type[Policy], options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        cls(**options)
