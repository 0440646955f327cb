"""Who has the conversation keeps it; the reason says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.query import Query
from herdwise.routing.base import Ask, Situation, Thread
from herdwise.routing.single import Single, ranking

HERD = Herd(Candidate(name) for name in "abc")


def scene(quality: list[float], thread: Thread, **changes: Any) -> Situation:
    values, unknown = np.array(quality), np.full(3, np.nan)
    facts: dict[str, Any] = {"goals": Goals(), "healthy": None} | changes
    return Situation(
        query=Query("and now?"), herd=HERD, estimates=Estimates(values, None, unknown, unknown, unknown),
        admitted=np.isfinite(values), removed={}, utility=np.where(np.isfinite(values), values, -np.inf),
        thread=thread, **facts,
    )  # fmt: skip


def test_a_small_gain_moves_no_conversation() -> None:
    order, reason = ranking(scene([0.50, 0.54, 0.1], Thread(0)))
    assert order == [0, 1, 2]
    assert reason == "a keeps the thread: a gain of 0.040 is within the margin of 0.05"


def test_a_gain_above_the_margin_does_and_the_reason_says_by_how_much() -> None:
    order, reason = ranking(scene([0.50, 0.60, 0.1], Thread(0)))
    assert order == [1, 0, 2]
    assert reason == "best predicted quality, 0.100 above a, who had the thread (margin 0.05)"


def test_the_margin_is_a_goal() -> None:
    assert ranking(scene([0.50, 0.54, 0.1], Thread(0), goals=Goals(switch_margin=0.0)))[0] == [1, 0, 2]
    assert ranking(scene([0.50, 0.90, 0.1], Thread(0), goals=Goals(switch_margin=1.0)))[0] == [0, 1, 2]


def test_a_tool_loop_is_never_switched() -> None:
    order, reason = ranking(scene([0.1, 0.9, 0.5], Thread(0, tool_loop=True)))
    assert order == [0, 1, 2]
    assert reason == "a is in the midst of a tool loop"
    assert Single().step(scene([0.1, 0.9, 0.5], Thread(0, tool_loop=True))) == Ask((0,), deliver=True)


@pytest.mark.parametrize("loop", [False, True])
def test_who_is_no_longer_admitted_loses_the_thread(loop: bool) -> None:
    assert ranking(scene([np.nan, 0.9, 0.5], Thread(0, loop)))[0] == [1, 2]


def test_who_is_unhealthy_loses_the_thread_while_somebody_healthy_is_left() -> None:
    mask = np.array([False, True, True])
    order, reason = ranking(scene([0.9, 0.8, 0.5], Thread(0), healthy=mask))
    assert order == [1, 2, 0]
    assert reason.endswith("a, who had the thread, is unhealthy")
    assert ranking(scene([0.5, 0.8, 0.5], Thread(0), healthy=~np.ones(3, dtype=bool)))[0][0] == 1


def test_without_a_thread_nothing_changes() -> None:
    assert ranking(scene([0.5, 0.54, 0.1], Thread())) == ([1, 0, 2], "best predicted quality")
