"""What a request took is charged, whatever happens to its client or to the shared state meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from herdwise.core.candidate import Candidate
from herdwise.core.money import Price

ADMIN = {"authorization": "Bearer admin-secret"}
CHEAP = Candidate("cheap", quality=0.5, price=Price(1, 1), latency_s=1.0)


class Line:
    """A TCP line to a server, which can be held up and cut."""

    def __init__(self, to: int, port: int) -> None:
        self._port = port
        self._to, self._open, self._is_cut = to, asyncio.Event(), False
        self._open.set()
        self._writers: list[asyncio.StreamWriter] = []
        self.waiting = asyncio.Event()

    async def start(self) -> str:
        await self.mend()
        return f"redis://127.0.0.1:{self._port}/0"

    async def mend(self) -> None:
        self._is_cut = False
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)

    def hold(self) -> None:
        self._open.clear()
        self.waiting.clear()

    def release(self) -> None:
        self._open.set()

    async def cut(self) -> None:
        self._is_cut = True
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, out]
        if self._is_cut:  # meanwhile
            await self.cut()
        await asyncio.gather(self._pump(reader, out, held=True), self._pump(there, writer, held=False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        try:
            while data := await reader.read(65536):
                if held and not self._open.is_set():
                    self.waiting.set()
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()


@pytest.fixture
async def line(redis_url: str, closed_port: int) -> AsyncIterator[Line]:
    made = Line(int(redis_url.removesuffix("/0").rpartition(":")[2]), closed_port)
    yield made
    await made.cut()


async def keyed(endpoint: Any, line: Line) -> tuple[Any, str, dict[str, str]]:
    e = await endpoint(candidates=(CHEAP,), admin_key="admin-secret", state_url=await line.start())
    terms = {"budgets": [{"usd": 1.0, "period": "ever"}]}
    made = await e.send("POST", "/admin/v1/keys", {"name": "team", "terms": terms}, ADMIN)
    return e, made.json["key_id"], {"authorization": f"Bearer {made.json['key']}"}


async def spent(e: Any, key_id: str) -> float:
    shown = await e.send("GET", f"/admin/v1/keys/{key_id}", headers=ADMIN)
    total: float = shown.json["spending"][0]["spent_usd"]
    return total


async def asked(e: Any) -> None:
    """Until the candidate is asked: what is held for the request is held by then."""
    async with asyncio.timeout(60):
        while not e.upstreams["cheap"].requests:  # noqa: ASYNC110 - the upstream has no event for it
            await asyncio.sleep(0.01)


async def test_who_leaves_before_the_charge_is_made_is_charged(endpoint: Any, line: Line) -> None:
    e, key_id, key = await keyed(endpoint, line)
    e.upstreams["cheap"].behave("slow", delay_s=0.3)
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    asking = asyncio.create_task(e.session.post(f"{e.url}/v1/chat/completions", json=body, headers=key))
    await asked(e)
    line.hold()
    answer = await asking
    async with asyncio.timeout(60):
        await line.waiting.wait()
    answer.close()
    await asyncio.sleep(0.2)  # the endpoint notices
    line.release()
    async with asyncio.timeout(60):
        while await spent(e, key_id) == 0:  # noqa: ASYNC110 - the state has no event for it
            await asyncio.sleep(0.01)


async def test_an_answer_that_nobody_can_count_is_given(endpoint: Any, line: Line, caplog: Any) -> None:
    e, _, key = await keyed(endpoint, line)
    e.upstreams["cheap"].behave("slow", delay_s=0.3)
    asking = asyncio.create_task(e.chat(headers=key))
    await asked(e)
    await line.cut()
    assert (await asking).status == 200
    assert "could not be counted" in caplog.text
    refused = await e.chat(headers=key)
    assert (refused.status, refused.error["code"]) == (503, "state_unavailable")


async def test_what_could_not_be_counted_is_counted_once_the_state_is_back(endpoint: Any, line: Line) -> None:
    e, key_id, key = await keyed(endpoint, line)
    before = await e.chat(headers=key)
    each = await spent(e, key_id)
    assert (before.status, each > 0) == (200, True)
    e.upstreams["cheap"].requests.clear()
    e.upstreams["cheap"].behave("slow", delay_s=0.3)
    asking = asyncio.create_task(e.chat(headers=key))
    await asked(e)
    await line.cut()
    assert (await asking).status == 200
    await line.mend()
    async with asyncio.timeout(60):
        while await spent(e, key_id) == each:  # noqa: ASYNC110 - the state has no event for it
            await asyncio.sleep(0.05)
    assert await spent(e, key_id) == 2 * each
