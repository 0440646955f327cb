"""HTTP as servers speak it, and as they should not: both ways to an upstream come to the same end."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from herdwise.core.errors import BackendError, BadResponseError, ConnectError, TimeoutError_
from herdwise.transport.client import Call, HttpClient, Limits, Timeouts
from herdwise.transport.plain import PlainClient

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_TIMES = Timeouts(20.0, 20.0, 20.0, 40.0)


@pytest.fixture(params=["plain", "aiohttp"])
async def client(request: Any) -> Any:
    bound = 0 if request.param == "plain" else 10  # with a bound on connections aiohttp is used
    made = HttpClient(Limits(max_connections_per_host=bound, max_body_bytes=100_000), _TIMES)
    yield made
    await made.close()


@asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[tuple[URL, list[bytes]]]:
    """A server that answers each request by ``handle``; its URL, and the heads that came."""
    heads: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task) if (task := asyncio.current_task()) else None
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                await handle(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}/a%2Fb?c=d e"), heads
    finally:
        made.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def writing(*parts: bytes, close: bool = False) -> Handler:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01 if len(parts) < 10 else 0)
        if close:
            writer.close()

    return handle


@pytest.mark.parametrize(
    "parts",
    [
        [_OK + b'Content-Length: 8\r\n\r\n{"a": 1}'],
        [_OK + b"Content-Length: 8\r\n", b'\r\n{"a"', b": 1}"],
        [
            _OK + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n',
            b"4;x=y\r\n: 1}\r\n0\r\nTrailer: t\r\n\r\n",
        ],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", _OK + b'Content-Length: 8\r\n\r\n{"a": 1}'],
        [b"HTTP/1.1 200\r\n\r\n", b'{"a": 1}', b""],
        [b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}', b""],
        [bytes([one]) for one in _OK + b'Content-Length: 8\r\n\r\n{"a": 1}'],
    ],
    ids=["whole", "pieces", "chunked", "interim", "to the end", "HTTP/1.0", "single bytes"],
)
async def test_an_answer_is_read_however_it_is_framed(client: HttpClient, parts: list[bytes]) -> None:
    async with server(writing(*parts, close=parts[-1] == b"")) as (url, _):
        assert await client.read_json(Call("GET", url, "c")) == {"a": 1}


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([b""], ConnectError),
        ([_OK], ConnectError),
        ([_OK + b'Content-Length: 9\r\n\r\n{"a": 1}'], ConnectError),
        ([_OK + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n'], ConnectError),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], BadResponseError),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], BackendError),
        ([_OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"], BadResponseError),
        ([_OK + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"], BackendError),
        ([b"HTTP/1.1 200 OK\r\n" + b"x-long: y\r\n" * 20_000], BadResponseError),
    ],
    ids=[
        "nothing",
        "head only",
        "short",
        "short chunks",
        "ssh",
        "upgrade",
        "no gzip",
        "other coding",
        "endless",
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(
    client: HttpClient, parts: list[bytes], problem: type[BackendError]
) -> None:
    async with server(writing(*parts, close=True)) as (url, _):
        with pytest.raises(problem, match="'c'"):
            await client.read_json(Call("GET", url, "c"))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
async def test_a_packed_body_is_unpacked(client: HttpClient, coding: str) -> None:
    body = b'{"a": "' + b"x" * 90_000 + b'"}'
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    packed = packed[2:-4] if coding == "raw deflate" else packed
    told = f"Content-Encoding: {coding.rsplit(maxsplit=1)[-1]}\r\nContent-Length: {len(packed)}\r\n\r\n"
    head = _OK + told.encode()
    async with server(writing(head + packed[:40], packed[40:])) as (url, _):
        assert len((await client.read_json(Call("GET", url, "c")))["a"]) == 90_000


async def test_both_send_the_same_request() -> None:
    sent: list[set[bytes]] = []
    for bound in (0, 10):
        made = HttpClient(Limits(max_connections_per_host=bound), _TIMES)
        async with server(writing(_OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")) as (url, heads):
            call = Call("POST", url, "c", data=b"{}", headers={"X-Key": "k", "user-agent": "mine"})
            await made.read_json(call)
            lines = heads[0].rstrip().split(b"\r\n")
            port = str(url.port).encode()
            pairs = (line.partition(b": ") for line in lines[1:])
            sent.append({lines[0], *(name.lower() + value.replace(port, b"") for name, _, value in pairs)})
        await made.close()
    assert {line for line in sent[1] if not line.startswith(b"content-type")} == sent[0]


async def test_a_header_with_a_line_break_is_refused() -> None:
    made = PlainClient(30.0, {})
    with pytest.raises(ValueError, match="line break"):
        await made.send(
            Call("GET", URL("http://127.0.0.1:1/"), "c"),
            {"a": "b\r\nc: d"},
            connect_s=1.0,
            total_s=1.0,
            by=None,
        )


async def noticed(client: HttpClient) -> None:
    """Until the client has seen that its connections are closed."""

    def kept() -> bool:
        if client._plain is not None:
            return bool(client._plain._open)
        assert client._session is not None
        pool: Any = client._session.connector
        return any(protocol.is_connected() for kept in pool._conns.values() for protocol, _ in kept)

    async with asyncio.timeout(60):
        while kept():  # noqa: ASYNC110 - it has no event for it
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("together", [True, False])
async def test_a_connection_that_says_more_than_was_asked_for_is_not_used_again(together: bool) -> None:
    made, answer = HttpClient(Limits(), _TIMES), _OK + b"Content-Length: 2\r\n\r\n{}"
    parts = [answer, answer.replace(b"{}", b"[]")]
    async with server(writing(*([b"".join(parts)] if together else parts))) as (url, heads):
        for _ in range(3):
            assert await made.read_json(Call("GET", url, "c")) == {}
            await noticed(made)
        assert len(heads) == 3
    await made.close()


async def test_a_connection_that_the_server_closed_is_not_used_again(client: HttpClient) -> None:
    async with server(writing(_OK + b"Content-Length: 2\r\n\r\n{}", close=True)) as (url, _):
        for _ in range(3):
            assert await client.read_json(Call("GET", url, "c")) == {}
            await noticed(client)


async def test_an_answer_that_nobody_waits_for_closes_its_connection() -> None:
    made, gone = HttpClient(Limits(), _TIMES), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_end = await reader.read()
        assert with_end == b""
        gone.set()
        del writer

    async with server(handle) as (url, heads):
        task = asyncio.create_task(made.read_json(Call("GET", url, "c")))
        async with asyncio.timeout(60):
            while not heads:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.005)
        task.cancel()
        async with asyncio.timeout(60):
            await gone.wait()
    await made.close()


async def test_a_slow_answer_times_out_also_on_a_connection_that_is_kept(client: HttpClient) -> None:
    n = 0

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n
        n += 1
        if n == 1:
            writer.write(_OK + b"Content-Length: 2\r\n\r\n{}")
        else:
            await asyncio.sleep(5)

    async with server(handle) as (url, _):
        await client.read_json(Call("GET", url, "c"))
        with pytest.raises(TimeoutError_, match=r"no whole answer within 0\.2 s"):
            await client.read_json(Call("GET", url, "c", timeouts=Timeouts(5.0, 5.0, 5.0, 0.2)))


async def test_a_reader_that_is_slow_makes_the_server_wait() -> None:
    made, written = HttpClient(Limits(max_body_bytes=10**9), _TIMES), 0
    line = b"data: " + b"x" * 100_000 + b"\n\n"

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _place in range(1000):
            writer.write(line)
            await writer.drain()
            written += len(line)
        writer.close()

    async with server(handle) as (url, _):
        events = made.events(Call("GET", url, "c"))
        await anext(events)
        await asyncio.sleep(0.3)
        assert written < 60_000_000
        assert 1 + sum([1 async for _ in events]) == 1000
    await made.close()


async def test_idle_connections_are_closed_after_a_while() -> None:
    made, gone = HttpClient(Limits(keepalive_s=0.1), _TIMES), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_OK + b"Content-Length: 2\r\n\r\n{}")
        await reader.read()
        gone.set()

    async with server(handle) as (url, _):
        await made.read_json(Call("GET", url, "c"))
        async with asyncio.timeout(60):
            await gone.wait()
    await made.close()
