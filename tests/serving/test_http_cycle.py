"""What is sent at one go leaves in one write, and HTTP is kept all the same."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn

from herdwise.core.candidate import Candidate, Herd
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import App
from herdwise.serving.asking import GONE
from herdwise.serving.connections import MOST_HEAD_BYTES, Protocol
from herdwise.serving.service import Service, Settings

_LONG_S = 30.0
Application = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Counting(Protocol):
    """Notes what is written."""

    written: list[bytes] = []  # noqa: RUF012 - emptied by the fixture

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Noting(transport))  # type: ignore[arg-type]


class _Noting:
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        Counting.written.append(data)
        self._transport.write(data)


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Application], Awaitable[int]]]:
    """A server of our protocol for any application; gives its port."""
    Counting.written.clear()
    # The protocol asks the endpoint's own application how many connections there may be.
    backends: dict[str, Any] = {"a": object()}
    settings = App(
        Service(DeclaredRouter(Herd([Candidate("a", quality=0.5)])), backends, {"single": Single()},
                settings=Settings())
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:

        async def start(application: Application) -> int:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                await application(scope, receive, send)

            app.reloading = settings.reloading  # type: ignore[attr-defined]
            listening = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(
                app, http=Counting, log_config=None, access_log=False, ws="none", lifespan="off"
            )
            server = _Quiet(config)
            running = asyncio.create_task(server.serve(sockets=[listening]))

            async def stop() -> None:
                server.should_exit = server.force_exit = True
                await running
                listening.close()

            stack.push_async_callback(stop)
            return int(listening.getsockname()[1])

        yield start


async def exchange(port: int, sent: bytes, until: bytes | None = None) -> bytes:
    """What comes back, up to some bytes or the connection's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(_LONG_S):
            writer.write(sent)
            return await (reader.read() if until is None else reader.readuntil(until))
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def start_of(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


Serve = Callable[[Application], Awaitable[int]]


async def test_a_whole_answer_is_one_write(serve: Serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of((b"content-length", b"5"), (b"X-Mixed", b"a b")))
        await send(part(b"hello"))

    answer = await exchange(await serve(app), GET, b"hello")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx-mixed: a b\r\n" in answer
    assert len(Counting.written) == 1


async def test_parts_without_a_pause_go_together_and_a_pause_holds_nothing_back(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of())
        await send(part(b"one", more=True))
        await send(part(b"two", more=True))
        await go_on.wait()
        await send(part(b"three", more=True))
        await send(part(b""))

    port = await serve(app)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(_LONG_S):
        writer.write(GET)
        first = await reader.readuntil(b"two\r\n")
        assert b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n" in first
        assert len(Counting.written) == 1
        go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nthree\r\n0\r\n\r\n"
    assert len(Counting.written) == 2
    writer.close()
    await writer.wait_closed()


async def test_much_is_not_held_back(serve: Serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of())
        for _ in range(40):
            await send(part(b"x" * 10_000, more=True))
        await send(part(b""))

    close = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    answer = await exchange(await serve(app), close)
    assert answer.endswith(b"\r\n0\r\n\r\n")
    assert answer.count(b"x" * 10_000) == 40
    assert max(map(len, Counting.written)) < 100_000


async def test_what_was_said_before_an_application_broke_off_arrives(serve: Serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of())
        await send(part(b"the beginning", more=True))
        raise RuntimeError("broken")

    answer = await exchange(await serve(app), GET)
    assert answer.endswith(b"the beginning\r\n")


@pytest.mark.parametrize(
    "header", [(b"x-a", b"b\r\nx-c: d"), (b"x-a", b"b\0"), (b"x a", b"b"), (b"x-a\n", b"b"), (b"x-a", b"b\n")]
)
async def test_headers_that_would_break_the_head_are_refused(
    serve: Serve, header: tuple[bytes, bytes]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of((b"content-length", b"2"), header))
        await send(part(b"no"))

    answer = await exchange(await serve(app), GET)
    assert b"x-c" not in answer
    assert b"no" not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("body", [b"too long", b"s"])
async def test_an_answer_of_another_length_than_stated_ends_the_connection(serve: Serve, body: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_of((b"content-length", b"4")))
        await send(part(body))

    assert len((await exchange(await serve(app), GET)).partition(b"\r\n\r\n")[2]) < 4


async def test_head_requests_and_requests_one_behind_the_other_are_answered(serve: Serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["more_body"] is False
        await send(start_of((b"content-length", b"4")))
        await send(part(scope["path"].encode()[:4]))

    head = b"HEAD /one HTTP/1.1\r\nhost: a\r\n\r\n"
    close = b"GET /two HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    answer = await exchange(await serve(app), head + close)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"/one" not in answer
    assert answer.endswith(b"/two")
    assert b"connection: close\r\n" in answer


async def test_who_leaves_before_the_answer_ends_is_told_of_at_once(serve: Serve) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][GONE](gone.set)
        await asyncio.Event().wait()

    port = await serve(app)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    await writer.drain()
    async with asyncio.timeout(_LONG_S):
        await asyncio.sleep(0.05)
        writer.close()
        await gone.wait()


async def test_who_leaves_with_another_request_behind_is_told_of_too(serve: Serve) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][GONE](gone.set)
        await send(start_of())
        while not gone.is_set():
            await send(part(b"and on", more=True))
            await asyncio.sleep(0.01)

    port = await serve(app)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + GET)
    async with asyncio.timeout(_LONG_S):
        await reader.readuntil(b"and on")
        writer.transport.abort()
        await asyncio.sleep(0)
        await gone.wait()


async def test_who_sends_a_head_without_end_during_an_answer_is_hung_up_on(serve: Serve) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][GONE](gone.set)
        await gone.wait()

    port = await serve(app)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"GET / HTTP/1.1\r\n")
    async with asyncio.timeout(_LONG_S):
        while not gone.is_set():
            await asyncio.sleep(0.05)
            writer.write(b"x-filler: 0123456789\r\n" * (MOST_HEAD_BYTES // 20))
    assert Counting.written == []  # no word stands in the midst of an answer
    writer.transport.abort()
    await asyncio.sleep(0)


async def test_who_leaves_after_a_long_body_is_told_of(serve: Serve) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        scope["extensions"][GONE](gone.set)
        begun.set()
        await gone.wait()

    port = await serve(app)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.write(b"x" * 200_000)
    async with asyncio.timeout(_LONG_S):
        await begun.wait()
        writer.close()
        await gone.wait()
