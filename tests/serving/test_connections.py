"""Clients' connections: heads have a limit, and who sends a request too slowly is hung up on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import read_chunk, read_completion
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Chunk, Completion
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import App
from herdwise.serving.connections import MOST_HEAD_BYTES, Protocol
from herdwise.serving.process import Server
from herdwise.serving.service import Service, Settings


class LongWinded(Backend):
    """Says more than sockets hold."""

    name = "long_winded"

    async def complete(self, body: Any) -> Completion:
        message = {"role": "assistant", "content": "a" * 30_000_000}
        return read_completion({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}, "a")

    async def stream(self, body: Any) -> AsyncIterator[Chunk]:
        for number in range(30):
            reason = "stop" if number == 29 else None
            delta = {"content": "a" * 1_000_000}
            yield read_chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}, "a")

    async def probe(self) -> Health:
        return Health(True)


class Quiet(Server):
    """Leaves the test runner's signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Running:
    server: Server
    port: int

    def kept(self) -> int:
        """Bytes of answers that no client has taken yet."""
        return sum(one.transport.get_write_buffer_size() for one in self.server.server_state.connections)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """An endpoint that gives clients a second to send a request."""
    herd = Herd([Candidate("a", quality=0.5)])
    backends: dict[str, Any] = {"a": LongWinded()}
    settings = Settings(client_timeout_s=1.0, drain_s=0.0)
    app = App(Service(DeclaredRouter(herd), backends, {"single": Single()}, settings=settings))
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, ws="none", lifespan="off")
    server = Quiet(config, app, lambda: None)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield Running(server, listening.getsockname()[1])
    server.should_exit = True
    await serving
    listening.close()


@pytest.fixture
def port(running: Running) -> int:
    return running.port


async def told(port: int, *parts: bytes, within_s: float = 60.0) -> bytes:
    """What the endpoint says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                while data := await reader.read(65536):
                    answer += data
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


LENGTH = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HTTP/1.1\r\nhost:", LENGTH, LENGTH + b"half"],
    ids=["nothing", "half a head", "no body", "half a body"],
)
async def test_who_does_not_get_on_with_a_request_is_hung_up_on(port: int, sent: bytes) -> None:
    assert await told(port, sent) == b""


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_who_takes_nothing_of_an_answer_is_hung_up_on(running: Running, stream: str) -> None:
    body = f'{{"model": "auto", "stream": {stream}, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall((head + body).encode())
        async with asyncio.timeout(60):
            while not running.kept():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.02)
            while running.server.server_state.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while running.server.server_state.tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_second_request_on_a_kept_connection_has_its_time_too(port: int) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answer = await told(port, whole + b"GET /healthz HTTP/1.1\r\nho")
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_head_without_end_is_refused(port: int) -> None:
    line = b"x-filler: " + b"a" * 1000 + b"\r\n"
    answer = await told(port, b"GET /healthz HTTP/1.1\r\n", *[line] * (MOST_HEAD_BYTES // 500))
    assert answer.startswith(b"HTTP/1.1 431") or answer == b""  # a reset may outrun the word
    one_line = await told(port, b"GET /healthz HTTP/1.1\r\nx: ", *[b"a" * 1000] * (MOST_HEAD_BYTES // 500))
    assert one_line.startswith(b"HTTP/1.1 431") or one_line == b""


async def test_a_long_head_within_the_limit_is_read(port: int) -> None:
    line = b"x-filler: " + b"a" * 1000 + b"\r\n"
    head = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + line * 40 + b"\r\n"
    assert (await told(port, head[:30_000], head[30_000:])).startswith(b"HTTP/1.1 200")


UNKNOWN = b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
LINE = b"x-filler: " + b"a" * 1000 + b"\r\n"


async def test_a_request_that_is_answered_before_its_body_has_come_ends_with_it(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    async with asyncio.timeout(60):
        writer.write(UNKNOWN)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 404")
        writer.write(b"0\r\n\r\n")
        (connection,) = running.server.server_state.connections
        while connection.cycle.more_body:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert connection.idle_at is not None  # type: ignore[union-attr]  # kept as any other
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        [UNKNOWN, b"0\r\n\r\n", b"GET / HTTP/1.1\r\n"],
        [UNKNOWN, b"0\r\n"],
    ],
    ids=["after an early answer", "as trailers"],
)
async def test_no_head_without_end_is_taken_in_wherever_it_comes(port: int, sent: list[bytes]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(60):
            for part in sent:
                writer.write(part)
                await asyncio.sleep(0.05)
            while taken < 100 * MOST_HEAD_BYTES and not writer.is_closing():
                writer.write(LINE * 20)
                await writer.drain()
                await asyncio.sleep(0)
                taken += len(LINE) * 20
    # Sockets hold something by themselves.
    assert taken < 50 * MOST_HEAD_BYTES
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
