"""The HTTP client against a real server that misbehaves (the backend's tests walk all its behaviours)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from herdwise.core.errors import BadResponseError, ConnectError, TimeoutError_, UpstreamStatusError
from herdwise.transport.client import Call, HttpClient, Limits, Timeouts


@pytest.fixture
async def client() -> Any:
    made = HttpClient(
        Limits(max_body_bytes=100_000, max_event_bytes=10_000), Timeouts(20.0, 20.0, 20.0, 40.0)
    )
    yield made
    await made.close()


def models(up: Any, **more: Any) -> Call:
    return Call("GET", URL(up.base_url) / "models", "c", **more)


async def test_one_connection_serves_many_requests(faulty_upstream: Any, client: HttpClient) -> None:
    up = await faulty_upstream()
    for _ in range(5):
        assert (await client.read_json(models(up)))["object"] == "list"
    assert up.connections_made == 1


async def test_neither_cookies_nor_proxies_nor_credentials_of_the_environment_are_used(
    faulty_upstream: Any, client: HttpClient, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    up = await faulty_upstream(extra={"/v1/set": {}})
    await client.read_json(models(up))
    assert {"cookie", "authorization", "proxy-authorization"}.isdisjoint(up.requests[0].headers)
    assert up.requests[0].headers["accept-encoding"] == "identity"


async def test_a_body_over_its_bound_is_refused_also_when_it_says_so_beforehand(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream(extra={"/v1/big": {"x": "y" * 200_000}})
    with pytest.raises(BadResponseError, match="'c' sent a body of more than 100000 bytes"):
        await client.read(Call("GET", URL(up.base_url) / "big", "c"))
    up.behave("huge_body", everywhere=True)
    with pytest.raises(BadResponseError, match="more than 100000 bytes"):
        await client.read(models(up))
    await up.until(lambda: not up.connections)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handle: Handler) -> AsyncIterator[URL]:
    """A server that writes what ``handle`` writes; every connection is closed and awaited at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handle(reader, writer)
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        await asyncio.gather(*tasks)


async def ask_raw(client: HttpClient, answer: bytes) -> dict[str, Any]:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with raw_server(handle) as url:
        return await client.read_json(Call("GET", url, "c"))


def answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(client: HttpClient) -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(BadResponseError, match="more than 100000 bytes"):
        await ask_raw(client, answer(bomb, "Content-Type: application/json", "Content-Encoding: gzip"))


async def test_a_compressed_body_is_unpacked_and_a_broken_one_refused(client: HttpClient) -> None:
    packed = gzip.compress(b'{"a": 1}')
    headers = ("Content-Type: application/json", "Content-Encoding: gzip")
    assert await ask_raw(client, answer(packed, *headers)) == {"a": 1}
    with pytest.raises(BadResponseError):
        await ask_raw(client, answer(b"not gzip at all", *headers))


@pytest.mark.parametrize(
    "kind", ["application/json", "application/problem+json", "APPLICATION/JSON; x=y", None]
)
async def test_json_is_taken_under_any_name_that_promises_it(client: HttpClient, kind: str | None) -> None:
    headers = () if kind is None else (f"Content-Type: {kind}",)
    assert await ask_raw(client, answer(b'{"a": 1}', *headers)) == {"a": 1}


@pytest.mark.parametrize("body", [b"[1]", b"1", b"null", b"{", b"\xff\xfe{\0}\0", b"[" * 20_000])
async def test_a_body_that_is_no_json_object_is_refused(client: HttpClient, body: bytes) -> None:
    with pytest.raises(BadResponseError, match="'c'"):
        await ask_raw(client, answer(body, "Content-Type: application/json"))


async def test_a_whole_stream_in_one_segment_gives_all_its_events(client: HttpClient) -> None:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"data: a\n\ndata: b\n\n", "Content-Type: text/event-stream"))

    async with raw_server(handle) as url:
        assert [e.data async for e in client.events(Call("GET", url, "c"))] == ["a", "b"]


async def test_comments_that_keep_the_connection_alive_do_not_count_as_a_first_event(
    client: HttpClient,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while not reader.at_eof():
            writer.write(b": ping\n\n")
            await asyncio.sleep(0.02)

    async with raw_server(handle) as url:
        call = Call("GET", url, "c", timeouts=Timeouts(20.0, 0.2, 20.0, 20.0))
        with pytest.raises(TimeoutError_, match=r"no first event within 0\.2 s"):
            await anext(client.events(call))


async def test_the_total_timeout_ends_a_stream_that_never_falls_silent(
    faulty_upstream: Any, client: HttpClient
) -> None:
    up = await faulty_upstream(answer=lambda body: "word " * 1000)
    up.behave("ok", pause_s=0.02)
    url = URL(up.base_url) / "chat" / "completions"
    body = b'{"model": "test-model", "stream": true, "messages": []}'
    call = Call("POST", url, "c", data=body, timeouts=Timeouts(20.0, 20.0, 20.0, 0.3))
    with pytest.raises(TimeoutError_, match=r"no whole answer within 0\.3 s"):
        async for _ in client.events(call):
            pass
    await up.until(lambda: up.disconnects == 1)


async def test_a_connection_that_nobody_accepts_times_out(client: HttpClient) -> None:
    # A listener with a full backlog: connecting neither succeeds nor fails.
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        await asyncio.sleep(0.05)
        call = Call(
            "GET", URL(f"http://127.0.0.1:{address[1]}/"), "c", timeouts=Timeouts(0.2, 20.0, 20.0, 20.0)
        )
        with pytest.raises(TimeoutError_, match=r"no connection within 0\.2 s"):
            await client.read(call)
        for filler in fillers:
            filler.close()


async def test_an_unknown_host_is_a_connect_error_with_a_remedy(client: HttpClient) -> None:
    with pytest.raises(ConnectError, match=r"nowhere\.invalid:80") as caught:
        await client.read(Call("GET", URL("http://nowhere.invalid/"), "c"))
    assert "base_url" in caught.value.remedy


async def test_a_redirect_is_not_followed(faulty_upstream: Any, client: HttpClient) -> None:
    elsewhere, up = await faulty_upstream(), await faulty_upstream()
    up.behave("redirect", everywhere=True, to=elsewhere.base_url)
    with pytest.raises(UpstreamStatusError, match="HTTP 307 and redirects elsewhere"):
        await client.read(models(up, headers={"Authorization": "Bearer sk-secret"}))
    assert elsewhere.requests == []


async def test_a_call_does_not_show_its_headers(faulty_upstream: Any) -> None:
    call = Call("GET", URL("http://h/"), "c", headers={"Authorization": "sk-1"}, secrets=("sk-1",))
    assert "sk-1" not in repr(call)


async def test_a_closed_client_may_be_used_again_and_closed_twice(faulty_upstream: Any) -> None:
    up, made = await faulty_upstream(), HttpClient()
    await made.close()
    for _ in range(2):
        await made.read_json(models(up))
        await made.close()
    await made.close()
    await up.until(lambda: not up.connections)
