"""Chunks that arrive together are given on together, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.errors import BadResponseError

BODY = {"messages": [{"role": "user", "content": "Hello"}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
Serve = Callable[[list[bytes]], Awaitable[OpenAICompatible]]


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@pytest.fixture
async def upstream() -> AsyncIterator[Serve]:
    """Starts a server that sends each piece as one packet, a moment apart."""
    servers: list[asyncio.Server] = []
    backends: list[OpenAICompatible] = []
    ended: list[None] = []

    async def serve(pieces: list[bytes]) -> OpenAICompatible:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            try:
                for piece in (HEAD, *pieces):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.2)
            except ConnectionError:  # who met a bad chunk hangs up
                pass
            finally:
                writer.close()
                ended.append(None)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        backends.append(OpenAICompatible("small", f"http://127.0.0.1:{port}/v1"))
        return backends[-1]

    yield serve
    for backend in backends:
        await backend.close()
    async with asyncio.timeout(60):
        while len(ended) < len(servers):  # noqa: ASYNC110 - each is asked once
            await asyncio.sleep(0.02)
    for server in servers:
        server.close()
        await server.wait_closed()


async def test_chunks_of_one_packet_come_as_one_and_others_apart(upstream: Serve) -> None:
    pieces = [event("a") + event("b") + event("c"), event("d", "stop") + b"data: [DONE]\n\n"]
    backend = await upstream(pieces)
    batches = [[chunk.text for chunk in batch] async for batch in backend.stream_together(BODY)]
    assert batches == [["a", "b", "c"], ["d"]]


async def test_one_by_one_they_are_the_same_chunks(upstream: Serve) -> None:
    backend = await upstream([event("a") + event("b"), event("c", "stop") + b"data: [DONE]\n\n"])
    assert [chunk.text async for chunk in backend.stream(BODY)] == ["a", "b", "c"]


@pytest.mark.parametrize("bad", [b"data: {truncated\n\n", b'data: {"choices": 3}\n\n', b"data: [1]\n\n"])
async def test_what_came_before_a_chunk_that_is_none_is_given_on(upstream: Serve, bad: bytes) -> None:
    backend = await upstream([event("a") + event("b") + bad + event("c")])
    batches = backend.stream_together(BODY)
    assert [chunk.text for chunk in await anext(batches)] == ["a", "b"]
    with pytest.raises(BadResponseError):
        await anext(batches)
