"""Merge: who is asked, when the answers are handed over, and what happens where that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import ConfigError, InputError
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.base import Answer, Ask, Failure, Finish, InFlight, Policy, Situation, Spent, Wait
from herdwise.routing.merge import Merge, merging

HERD = Herd(Candidate(name, price=Price(1.0, 1.0)) for name in ("ant", "bee", "cat", "judge"))
QUALITY = np.array([0.5, 0.7, 0.6, 0.9])
POLICY = Merge("judge", k=2)


def opening(query: Query | None = None, **goals: Any) -> Situation:
    return Situation(
        query=query or Query("Why is the sky blue?"),
        herd=HERD,
        estimates=Estimates(QUALITY, None, np.full(4, 1.0), np.full(4, np.nan), np.full(4, np.nan)),
        goals=Goals(**goals),
        admitted=np.ones(4, dtype=bool),
        removed={},
        utility=QUALITY,
    )


def after(*answers: tuple[int, str], start: Situation | None = None, **more: Any) -> Situation:
    told = tuple(Answer(k, c, text, text.lower()) for k, (c, text) in enumerate(answers))
    failures = more.pop("failures", ())
    in_flight = more.pop("in_flight", ())
    return replace(
        start or opening(),
        answers=told,
        failures=failures,
        in_flight=in_flight,
        spent=Spent(calls=len(told) + len(failures) + len(in_flight)),
        **more,
    )


TWO = ((1, "Scattering."), (2, "Dust."))


def test_the_best_are_asked_in_parallel_but_not_the_merger() -> None:
    assert POLICY.step(opening()) == Ask((1, 2))
    assert POLICY.step(after((1, "Scattering."), in_flight=(InFlight(1, 2, 0.0),))) == Wait(None)


def test_the_merger_gets_all_answers_and_is_streamed() -> None:
    step = POLICY.step(after(*TWO))
    assert isinstance(step, Ask)
    assert (step.candidates, step.deliver) == ((3,), True)
    assert step.messages is not None
    system, user = step.messages
    assert system["role"] == "system"
    assert "Scattering." in system["content"]
    assert "Dust." in system["content"]
    assert user == {"role": "user", "content": "Why is the sky blue?"}
    merged = after(*TWO, (3, "Rayleigh scattering."))
    finish = POLICY.step(merged)
    assert isinstance(finish, Finish)
    assert finish.answer == 2


def test_the_conversation_stays_and_there_is_one_system_message() -> None:
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Why what?"},
        {"role": "user", "content": "The sky."},
    )
    told = merging(after(*TWO, start=opening(Query("The sky.", messages=messages))))
    assert told[1:] == messages[1:]
    assert told[0]["content"].startswith("Be brief.\n\n")
    assert "[Answer 2]\nDust." in told[0]["content"]


def test_there_is_nothing_to_merge_in_one_answer_or_in_answers_that_agree() -> None:
    alone = after((1, "Scattering."), failures=(Failure(1, 2, "timeout"), Failure(2, 0, "timeout")))
    step = POLICY.step(alone)
    assert isinstance(step, Finish)
    assert step.answer == 0
    agreed = Merge("judge", k=2, enough=0.8).step(after((1, "Scattering."), (2, "Scattering.")))
    assert isinstance(agreed, Finish)


def test_tool_calls_are_voted_on_and_not_merged() -> None:
    calls = tuple(Answer(k, c, "", '[["look_up",{}]]') for k, c in enumerate((1, 2)))
    step = POLICY.step(replace(opening(), answers=calls, spent=Spent(calls=2)))
    assert isinstance(step, Finish)


def test_a_failed_ballot_is_replaced_and_a_failed_merger_leaves_the_likeliest_answer() -> None:
    assert POLICY.step(after((1, "Scattering."), failures=(Failure(1, 2, "refused"),))) == Ask((0,))
    step = POLICY.step(after(*TWO, failures=(Failure(2, 3, "timeout"),)))
    assert isinstance(step, Finish)
    assert step.answer == 0


def test_when_all_others_fail_the_merger_answers_by_itself() -> None:
    failed = tuple(Failure(k, c, "timeout") for k, c in enumerate((1, 2, 0)))
    assert POLICY.step(after(failures=failed)) == Ask((3,), deliver=True)


def test_a_merged_answer_that_breaks_off_is_gone_on_with_by_another() -> None:
    broken = Failure(2, 3, "reset", delivered="Rayleigh scat")
    step = POLICY.step(after(*TWO, failures=(broken,)))
    assert isinstance(step, Ask)
    assert (step.candidates, step.continue_from, step.deliver) == ((1,), "Rayleigh scat", True)
    assert step.messages is not None
    assert "Dust." in step.messages[0]["content"]
    gone_on = replace(
        after(*TWO, failures=(broken,)),
        answers=(*after(*TWO).answers, Answer(3, 1, "tering.")),
        spent=Spent(calls=4),
    )
    finish = POLICY.step(gone_on)
    assert isinstance(finish, Finish)
    assert finish.answer == 3


@pytest.mark.parametrize(
    ("goals", "first"),
    [
        ({"max_calls": 1}, Ask((3,), deliver=True)),
        ({"max_calls": 2}, Ask((1,))),
        ({"max_calls": 3}, Ask((1, 2))),
        ({"max_total_usd": 2.5}, Ask((1,))),
    ],
)
def test_a_call_is_kept_back_for_the_merger(goals: dict[str, Any], first: Ask) -> None:
    assert POLICY.step(opening(**goals)) == first


def test_a_merger_whose_prompt_no_longer_fits_the_usd_is_not_asked() -> None:
    long = "word " * 4_000_000  # 5 million tokens at a USD per million
    start = opening(max_total_usd=4.0)
    step = POLICY.step(after((1, long), (2, "Dust."), start=start))
    assert isinstance(step, Finish)


def test_it_is_off_until_its_candidate_is_named() -> None:
    assert not Merge().configured
    assert Policy.configured.fget(POLICY) is True  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="merge with"):
        Merge().step(opening())
    with pytest.raises(ConfigError, match="'owl'"):
        Merge("owl").check(HERD)
