"""Deadlines of many requests by one timer."""

from __future__ import annotations

import asyncio

import pytest

from herdwise.core.errors import HerdwiseError
from herdwise.serving.deadlines import Deadlines

_LONG_S = 60.0


async def test_what_takes_too_long_is_cancelled_and_told_as_a_time_out() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.01) as deadline:
        await asyncio.sleep(_LONG_S)
    assert deadline.missed
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_ends_in_time_is_left_alone_and_its_own_errors_pass() -> None:
    deadlines = Deadlines()
    with deadlines.within(_LONG_S) as deadline:
        await asyncio.sleep(0)
    assert not deadline.missed
    with pytest.raises(HerdwiseError), deadlines.within(_LONG_S):
        raise HerdwiseError("its own")
    with pytest.raises(TimeoutError, match="its own"), deadlines.within(_LONG_S) as deadline:
        raise TimeoutError("its own")
    assert not deadline.missed


async def test_the_sooner_deadline_is_kept_whichever_began_first() -> None:
    deadlines, ended = Deadlines(), []

    async def run(name: str, seconds: float) -> None:
        try:
            with deadlines.within(seconds):
                await asyncio.sleep(_LONG_S)
        except TimeoutError:
            ended.append(name)

    late = asyncio.create_task(run("late", 0.2))
    await asyncio.sleep(0)
    soon = asyncio.create_task(run("soon", 0.02))
    async with asyncio.timeout(_LONG_S):
        await soon
        assert ended == ["soon"]
        await late
    assert ended == ["soon", "late"]


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    deadlines = Deadlines()

    async def run(seconds: float) -> None:
        with deadlines.within(seconds):
            await asyncio.sleep(_LONG_S)

    task = asyncio.create_task(run(_LONG_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_moment_as_the_deadline_wins() -> None:
    deadlines = Deadlines()

    async def run() -> None:
        with deadlines.within(_LONG_S) as deadline:
            try:
                await asyncio.sleep(_LONG_S)
            finally:
                deadline.miss()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_that_passed_with_others_open_leaves_them_theirs() -> None:
    deadlines = Deadlines()

    async def inner() -> None:
        with pytest.raises(TimeoutError), deadlines.within(0.01):
            await asyncio.sleep(_LONG_S)
        await asyncio.sleep(_LONG_S)

    with pytest.raises(TimeoutError), deadlines.within(0.05), deadlines.within(_LONG_S):
        await inner()
