"""How a candidate is asked again: over real HTTP, against an upstream that misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.errors import ConnectError, RateLimitError, UpstreamStatusError
from herdwise.profiling.asking import Asker, Patience

Start = Callable[..., Awaitable[Any]]
BODY = {"messages": [{"role": "user", "content": "hello"}]}
QUICK = Patience(attempts=4, first_wait_s=0.01, longest_wait_s=0.02, give_up_after=2)


async def test_an_upstream_that_recovers_is_asked_until_it_answers(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave(["server_error", "reset_before_headers", "overloaded", "ok"])
    backend = OpenAICompatible("ant", up.base_url)
    completion = await Asker(backend, QUICK).ask(BODY)
    assert completion.text == "echo: hello"
    assert len(up.bodies) == 4
    await backend.close()


async def test_a_rate_limit_is_waited_out_as_the_upstream_says(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave([("rate_limited", {"retry_after": 1}), "ok"])
    backend = OpenAICompatible("ant", up.base_url)
    began = time.monotonic()
    await Asker(backend, QUICK).ask(BODY)
    # A lower bound on a wait is no timing: however slow the machine, it must have rested so long.
    assert time.monotonic() - began >= 1
    assert len(up.bodies) == 2
    await backend.close()


async def test_one_workers_rate_limit_rests_them_all(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave([("rate_limited", {"retry_after": 1}), "ok"])
    backend = OpenAICompatible("ant", up.base_url)
    asker = Asker(backend, QUICK)
    began = time.monotonic()
    first = asyncio.create_task(asker.ask(BODY))
    await up.until(lambda: len(up.bodies) == 1 and up.in_flight == 0)
    await asyncio.sleep(0.1)
    await asker.ask(BODY)
    assert time.monotonic() - began >= 1
    await first
    assert len(up.bodies) == 3
    await backend.close()


async def test_too_long_a_rest_is_not_waited_for(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave("rate_limited", retry_after=3600)
    backend = OpenAICompatible("ant", up.base_url)
    with pytest.raises(RateLimitError):
        await Asker(backend, QUICK).ask(BODY)
    assert len(up.bodies) == 1
    await backend.close()


async def test_attempts_are_bounded(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave("server_error")
    backend = OpenAICompatible("ant", up.base_url)
    with pytest.raises(UpstreamStatusError):
        await Asker(backend, QUICK).ask(BODY)
    assert len(up.bodies) == 4
    await backend.close()


async def test_a_request_at_fault_is_asked_once_and_says_nothing_of_the_candidate(
    faulty_upstream: Start,
) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave("context_length_exceeded")
    backend = OpenAICompatible("ant", up.base_url)
    asker = Asker(backend, QUICK)
    for asked in (1, 2, 3):
        with pytest.raises(UpstreamStatusError):
            await asker.ask(BODY)
        assert len(up.bodies) == asked
    assert asker.gave_up is None
    await backend.close()


async def test_a_refused_key_is_not_asked_again_and_the_candidate_is_given_up(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",), api_key="right")
    backend = OpenAICompatible("ant", up.base_url, api_key="wrong-and-long")
    asker = Asker(backend, QUICK)
    for _ in range(2):
        with pytest.raises(UpstreamStatusError):
            await asker.ask(BODY)
    assert len(up.bodies) == 2
    assert asker.gave_up is not None
    assert "wrong-and-long" not in asker.gave_up
    await backend.close()


async def test_one_answer_ends_a_row_of_failures(faulty_upstream: Start) -> None:
    up = await faulty_upstream(models=("ant",))
    up.behave(["key_refused", "ok", "key_refused", "ok"])
    backend = OpenAICompatible("ant", up.base_url)
    asker = Asker(backend, QUICK)
    for _ in range(2):
        with pytest.raises(UpstreamStatusError):
            await asker.ask(BODY)
        await asker.ask(BODY)
    assert asker.gave_up is None
    await backend.close()


async def test_nobody_at_the_port_is_given_up(closed_port: int) -> None:
    backend = OpenAICompatible("ant", f"http://127.0.0.1:{closed_port}/v1")
    asker = Asker(backend, QUICK)
    for _ in range(2):
        with pytest.raises(ConnectError):
            await asker.ask(BODY)
    assert asker.gave_up is not None
    await backend.close()
