"""The bound on open requests: others wait in order, not too many, not too long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herdwise.core.errors import RequestError
from herdwise.serving.gate import Gate


async def test_who_comes_first_is_let_in_first() -> None:
    gate, order = Gate(1, 10, 10.0), list[int]()

    async def visit(number: int) -> None:
        await gate.enter()
        order.append(number)
        await asyncio.sleep(0)
        gate.leave()

    await asyncio.gather(*(visit(number) for number in range(6)))
    assert order == list(range(6))
    assert (gate.open, gate.waiting) == (0, 0)


async def test_past_the_queue_nobody_waits() -> None:
    gate = Gate(1, 1, 10.0)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    with pytest.raises(RequestError, match="1 requests are open and 1 wait") as refused:
        await gate.enter()
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, "overloaded", 1.0)
    gate.leave()
    await waiting
    assert (gate.open, gate.waiting) == (1, 0)


async def test_who_has_waited_too_long_is_refused_and_takes_no_room() -> None:
    gate = Gate(1, 5, 0.02)
    await gate.enter()
    with pytest.raises(RequestError, match=r"no room for 0\.02 s"):
        await gate.enter()
    gate.leave()
    assert (gate.open, gate.waiting) == (0, 0)
    await gate.enter()
    assert gate.open == 1


async def test_who_leaves_the_queue_at_the_very_moment_it_is_let_in_gives_the_room_back() -> None:
    gate = Gate(1, 5, 10.0)
    await gate.enter()
    waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave()
    waiting[0].cancel()
    waiting[1].cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in ended] == [True, True, False]
    assert (gate.open, gate.waiting) == (1, 0)


async def test_raised_bounds_let_more_in() -> None:
    gate = Gate(1, 5, 10.0)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.change(3, 5, 10.0)
    await gate.enter()
    await waiting
    assert gate.open == 3


async def test_past_the_bound_requests_wait_and_past_the_queue_they_get_503(endpoint: Any) -> None:
    e = await endpoint(max_open_requests=1, max_waiting=1, max_wait_s=100)
    upstream = e.upstreams["large"]
    refusing = asyncio.Event()
    upstream.behave([("ok", {"until": refusing.is_set}), "ok"])
    first = asyncio.create_task(e.chat())
    await upstream.until(lambda: len(upstream.bodies) == 1)
    second = asyncio.create_task(e.chat())
    async with asyncio.timeout(60):
        while b"herdwise_waiting_requests 1" not in (await e.send("GET", "/metrics")).raw:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    refused = await e.chat()
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    message = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
    refused = await e.send("POST", "/v1/messages", message)
    assert (refused.status, refused.json["type"]) == (503, "error")
    refusing.set()
    assert [(await one).status for one in (first, second)] == [200, 200]
    assert (await e.chat()).status == 200
