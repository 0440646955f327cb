"""Background tasks end when they are told, also where they miss it once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import uuid

import pytest

from herdwise.serving.ending import end
from herdwise.serving.shared_redis import RedisNews


async def test_a_loop_that_misses_a_cancellation_is_told_again() -> None:
    missed = 0

    async def forever() -> None:
        nonlocal missed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if missed == 2:
                    raise
                missed += 1

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await end(task, None)
    assert (missed, task.cancelled()) == (2, True)


async def test_how_a_task_ended_is_left_to_who_reads_it() -> None:
    async def broken() -> None:
        raise OSError("gone")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end(task)
    with pytest.raises(OSError, match="gone"):
        await task


async def test_news_over_redis_end_at_any_moment(redis_url: str) -> None:
    """While they connect, too: redis-py's ``wait_for`` loses about one cancellation in ten there."""
    moments = random.Random(7)
    heard: list[bytes] = []
    for _ in range(60):
        news = RedisNews(redis_url, lambda told, _: heard.append(told), f"t-{uuid.uuid4().hex}")
        news.start()
        await asyncio.sleep(moments.random() * 0.008)
        async with asyncio.timeout(60):
            await news.close()


#: What a signal breaks into may be the start of a thread, which holds the interpreter's list of threads.
BROKEN_INTO = """
import threading, time
from herdwise.serving.ending import end_by_force
with threading._active_limbo_lock:
    end_by_force(0.1, 7, "too late")
    time.sleep(60)
"""


def test_an_end_by_force_waits_for_nothing_that_a_signal_broke_into() -> None:
    ended = subprocess.run([sys.executable, "-c", BROKEN_INTO], timeout=50, check=False)
    assert ended.returncode == 7
