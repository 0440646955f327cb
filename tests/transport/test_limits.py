"""The concurrency limit of one candidate."""

from __future__ import annotations

import asyncio

import pytest

from herdwise.core.errors import ConfigError, OverloadedError
from herdwise.transport.limits import ConcurrencyLimit


async def hold(limit: ConcurrencyLimit, gate: asyncio.Event, order: list[int], number: int) -> None:
    async with limit:
        order.append(number)
        await gate.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_run_than_allowed_and_waiters_come_in_order() -> None:
    limit, order = ConcurrencyLimit("c", max_concurrency=2), []
    gates = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(hold(limit, gates[i], order, i)) for i in range(5)]
    await settle()
    assert (limit.held, limit.waiting, order) == (2, 3, [0, 1])
    gates[1].set()
    await settle()
    assert (limit.held, limit.waiting, order) == (2, 2, [0, 1, 2])
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks)
    assert (limit.held, limit.waiting, order) == (0, 0, [0, 1, 2, 3, 4])


async def test_past_the_queue_an_ask_is_refused_at_once() -> None:
    limit, gate, order = ConcurrencyLimit("small", max_concurrency=1, max_queue=1), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(limit, gate, order, i)) for i in range(2)]
    await settle()
    with pytest.raises(OverloadedError, match="'small' is busy: 1 asks run, 1 wait") as caught:
        await limit.__aenter__()
    assert caught.value.candidate == "small"
    gate.set()
    await asyncio.gather(*tasks)
    async with limit:
        assert limit.held == 1


async def test_with_no_queue_nobody_waits() -> None:
    limit = ConcurrencyLimit("c", max_concurrency=1, max_queue=0)
    async with limit:
        with pytest.raises(OverloadedError):
            await limit.__aenter__()


async def test_a_waiter_that_gives_up_leaves_its_place_to_others() -> None:
    limit, gate, order = ConcurrencyLimit("c", max_concurrency=1, max_queue=1), asyncio.Event(), []
    first = asyncio.create_task(hold(limit, gate, order, 0))
    second = asyncio.create_task(hold(limit, gate, order, 1))
    await settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(hold(limit, gate, order, 2))
    await settle()
    gate.set()
    await asyncio.gather(first, third)
    assert order == [0, 2]
    assert (limit.held, limit.waiting) == (0, 0)


async def test_an_error_inside_gives_the_slot_back() -> None:
    limit = ConcurrencyLimit("c", max_concurrency=1, max_queue=0)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with limit:
                raise KeyError
    assert limit.held == 0


async def test_without_a_limit_all_run() -> None:
    limit, gate, order = ConcurrencyLimit("c"), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(limit, gate, order, i)) for i in range(50)]
    await settle()
    assert limit.held == 50
    gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"max_queue": -1}])
def test_numbers_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="'c'"):
        ConcurrencyLimit("c", **options)
