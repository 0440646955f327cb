"""Connections are handed to workers in turn, and to nobody who is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from herdwise.serving.listening import listen
from herdwise.serving.workers_accept import Intake, Rota


class Hello(asyncio.Protocol):
    """Says who it is and hangs up."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._name)
        transport.close()


@pytest.fixture
def lines() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        ends[0].setblocking(False)
        made.extend(ends)
        return ends

    yield make
    for line in made:
        line.close()


async def asked(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_workers_take_turns_and_who_leaves_or_dies_is_passed_over(
    lines: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    listening = listen("127.0.0.1", 0)
    port, rota = listening.getsockname()[1], Rota(listening)
    waiting = asyncio.create_task(asked(port))
    intakes = []
    for number, name in enumerate((b"one", b"two", b"three")):
        ours, theirs = lines()
        intakes.append(Intake(theirs))
        intakes[-1].start(lambda name=name: Hello(name))
        rota.add(number, ours)
        if number == 0:
            assert await waiting == b"one", "who came before there was a worker is served by the first"
    found = [await asked(port) for _ in range(6)]
    assert sorted(found) == sorted([b"one", b"two", b"three"] * 2)
    rota.remove(1)
    assert {await asked(port) for _ in range(4)} == {b"one", b"three"}
    ours, theirs = lines()
    theirs.close()  # it has died, which is not known yet
    rota.add(3, ours)
    assert {await asked(port) for _ in range(6)} == {b"one", b"three"}
    for intake in intakes:
        intake.end()
    rota.end()
    with pytest.raises(ConnectionRefusedError):
        await asked(port)


async def test_many_at_once_wait_for_a_worker_that_takes_none_and_are_all_served(
    lines: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    listening = listen("127.0.0.1", 0)
    port, rota = listening.getsockname()[1], Rota(listening)
    ours, theirs = lines()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # few fit
    rota.add(0, ours)
    asking = [asyncio.create_task(asked(port)) for _ in range(200)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in asking)
    intake = Intake(theirs)
    intake.start(lambda: Hello(b"here"))
    assert await asyncio.gather(*asking) == [b"here"] * 200
    intake.end()
    rota.end()


async def test_one_that_came_when_all_workers_had_just_died_is_served_by_the_next(
    lines: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    listening = listen("127.0.0.1", 0)
    port, rota = listening.getsockname()[1], Rota(listening)
    ours, theirs = lines()
    theirs.close()
    rota.add(0, ours)
    asking = asyncio.create_task(asked(port))
    await asyncio.sleep(0.05)
    rota.remove(0)
    await asyncio.sleep(0.05)
    ours, theirs = lines()
    intake = Intake(theirs)
    intake.start(lambda: Hello(b"next"))
    rota.add(0, ours)
    async with asyncio.timeout(60):
        assert await asking == b"next", "nobody else has to come in first"
    intake.end()
    rota.end()
