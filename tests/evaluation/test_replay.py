"""Replay carries out Steps against the record."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import HerdwiseError
from herdwise.core.query import Query
from herdwise.evaluation.replay import Records, Replay, replay
from herdwise.routing.base import Ask, Cancel, Finish, Policy, Situation, Step, Wait
from herdwise.routing.single import Single

NAN = float("nan")
HERD = Herd([Candidate("small"), Candidate("large")])


class Scripted(Policy):
    """Plays what a function says; records what it was shown."""

    name: ClassVar[str] = "scripted"

    def __init__(self, play: Callable[[Situation], Step]) -> None:
        self.play = play
        self.seen: list[Situation] = []

    def step(self, situation: Situation) -> Step:
        self.seen.append(situation)
        return self.play(situation)


def opening(utility: Sequence[float] = (0.5, 0.4)) -> Situation:
    unknown = np.full(2, NAN)
    return Situation(
        query=Query("q"),
        herd=HERD,
        estimates=Estimates(np.array(utility), None, unknown, unknown, unknown),
        goals=Goals(),
        admitted=np.ones(2, dtype=bool),
        removed={},
        utility=np.array(utility),
    )


def records(
    ran: Any = ((True, True),), cost: Any = ((1.0, 10.0),), latency: Any = ((NAN, NAN),), answers: Any = None
) -> Records:
    return Records(
        np.array(ran),
        None if answers is None else np.array(answers, dtype=object),
        np.array(cost),
        np.array(latency),
    )


def cascade(situation: Situation) -> Step:
    """Asks small, then large unless small said "sure"."""
    if situation.in_flight:
        return Wait()
    if not situation.answers:
        return Ask((0,))
    if len(situation.answers) == 1 and situation.answers[0].value != "sure":
        return Ask((1,))
    return Finish(situation.answers[-1].ask, "done")


def test_single_asks_the_best_and_returns_its_recorded_quality() -> None:
    course = replay(
        Single(),
        lambda row: opening([(0.5, 0.4), (0.1, 0.9)][row]),
        records(((True, True),) * 2, ((1.0, 10.0),) * 2, ((NAN, NAN),) * 2),
    )
    assert course.answered.tolist() == [0, 1]
    assert course.asks.tolist() == [[1, 0], [0, 1]]
    assert course.quality(np.array([[0.25, 1.0], [1.0, 0.75]])).tolist() == [0.25, 0.75]
    assert course.cost(np.array([[1.0, 10.0], [2.0, 20.0]])).tolist() == [1.0, 20.0]


def test_a_pair_that_was_not_run_is_a_failure_and_the_next_of_the_ranking_is_asked() -> None:
    policy = Scripted(Single().step)
    course = replay(policy, lambda _row: opening(), records(ran=((False, True),)))
    assert course.answered.tolist() == [1]
    assert course.calls.tolist() == [2]
    failure = policy.seen[1].failures[0]
    assert (failure.kind, failure.candidate) == ("not_run", 0)


def test_a_query_that_nobody_answers_has_no_quality_at_all() -> None:
    course = replay(Single(), lambda _row: opening(), records(ran=((False, False),)))
    assert course.answered.tolist() == [-1]
    assert np.isnan(course.quality(np.array([[NAN, NAN]]))).all()


def test_a_refused_query_asks_nobody() -> None:
    course = replay(Single(), lambda _row: None, records())
    assert course.answered.tolist() == [-1]
    assert course.calls.tolist() == [0]


def test_a_cascade_reads_recorded_answers_and_pays_for_every_ask() -> None:
    told = records(((True, True),) * 2, ((1.0, 10.0),) * 2, ((NAN, NAN),) * 2, [["sure", "B"], ["A", "B"]])
    course = replay(Scripted(cascade), lambda _row: opening(), told)
    assert course.answered.tolist() == [0, 1]
    assert course.calls.tolist() == [1, 2]
    assert course.cost(told.cost_usd).tolist() == [1.0, 11.0]


def test_an_unknown_cost_of_an_asked_candidate_makes_the_sum_unknown_and_of_another_does_not() -> None:
    asks = np.array([[1, 0], [1, 1]])
    course = Replay(np.array([0, 1]), asks)
    assert course.cost(np.array([[1.0, NAN], [1.0, NAN]])).tolist() == [1.0, pytest.approx(NAN, nan_ok=True)]


def test_what_is_spent_is_shown_to_the_policy() -> None:
    policy = Scripted(cascade)
    replay(policy, lambda _row: opening(), records(latency=((2.0, 3.0),)))
    spent = policy.seen[-1].spent
    assert (spent.usd, spent.seconds, spent.calls) == (11.0, 5.0, 2)
    assert policy.seen[-1].now_s == 5.0


def test_nothing_of_the_opening_situation_is_lost_on_the_way() -> None:
    course = {"answers", "in_flight", "failures", "spent", "now_s", "belief"}
    kept = [each.name for each in fields(Situation) if each.name not in course]
    # A value of its own in every field, so that one left at its default is noticed.
    start = replace(opening(), **{name: (name,) for name in kept if name != "query"})

    def ask_once(situation: Situation) -> Step:
        if situation.in_flight:
            return Wait()
        return Finish(0, "") if situation.answers else Ask((0,))

    policy = Scripted(ask_once)
    replay(policy, lambda _row: start, records())
    assert len(policy.seen) == 3
    for seen in policy.seen:
        assert [getattr(seen, name) for name in kept] == [getattr(start, name) for name in kept]


def test_answers_arrive_in_the_order_of_their_recorded_latencies() -> None:
    def race(situation: Situation) -> Step:
        if situation.answers:
            return Finish(situation.answers[0].ask, "first come")
        return Wait() if situation.in_flight else Ask((0, 1))

    course = replay(Scripted(race), lambda _row: opening(), records(latency=((5.0, 2.0),)))
    assert course.answered.tolist() == [1]
    assert course.calls.tolist() == [2]


def test_a_hedge_asks_another_at_its_deadline_and_may_cancel_the_slower() -> None:
    def hedge(situation: Situation) -> Step:
        flying = [ask.ask for ask in situation.in_flight]
        if situation.answers:
            return Cancel(tuple(flying)) if flying else Finish(situation.answers[0].ask, "faster")
        if not flying:
            return Ask((0,))
        if len(flying) == 1:
            return Wait(until_s=1.0) if situation.now_s < 1.0 else Ask((1,))
        return Wait()

    policy = Scripted(hedge)
    course = replay(policy, lambda _row: opening(), records(latency=((9.0, 2.0),)))
    assert course.answered.tolist() == [1]
    assert policy.seen[-1].now_s == 3.0
    # The cancelled ask was made: it counts.
    assert course.calls.tolist() == [2]


def test_other_messages_than_the_recorded_ones_have_no_record() -> None:
    def merge(situation: Situation) -> Step:
        if situation.failures:
            return Finish(None, situation.failures[0].kind)
        return Ask((0,), messages=({"role": "user", "content": "other"},))

    course = replay(Scripted(merge), lambda _row: opening(), records())
    assert course.answered.tolist() == [-1]


@pytest.mark.parametrize(
    ("play", "complaint"),
    [
        (lambda _s: Wait(), "waits for nothing"),
        (lambda _s: Ask((0,)), "did not finish"),
        (lambda _s: Finish(7, "?"), "ask 7"),
        (lambda _s: "ask small", "no Step"),
    ],
)
def test_a_policy_that_breaks_the_contract_is_named(
    play: Callable[[Situation], Step], complaint: str
) -> None:
    with pytest.raises(HerdwiseError, match=complaint):
        replay(Scripted(play), lambda _row: opening(), records())
