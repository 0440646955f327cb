"""Nothing of a request lies about after its end until the interpreter searches for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import uvicorn

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import App
from herdwise.serving.connections import Protocol
from herdwise.serving.health import BreakerSettings
from herdwise.serving.service import Service, Settings
from herdwise.transport.client import HttpClient

#: Of each request there is one of these, or more.
OURS = {"Course", "LiveAsk", "Situation", "Exchange", "Cycle", "RequestResponseCycle", "PlainAnswer", "Call"}


class Quiet(uvicorn.Server):
    """Leaves the test runner's signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    def __init__(self, port: int, first: Any) -> None:
        self.url, self.first = f"http://127.0.0.1:{port}/v1/chat/completions", first

    async def chat(self, times: int, *, stream: bool) -> None:
        """Ask so often on one connection, then close it."""
        async with aiohttp.ClientSession() as session:
            for number in range(times):
                message = {"role": "user", "content": f"Question {number}"}
                body = json.dumps({"model": "auto", "stream": stream, "messages": [message]})
                headers = {"content-type": "application/json"}
                async with session.post(self.url, data=body, headers=headers) as answer:
                    text = await answer.text()
                    assert answer.status == 200
                    assert "error" not in text


@pytest.fixture
async def running(faulty_upstream: Any) -> AsyncIterator[Running]:
    """A real server before two candidates, of which the first is asked first whatever it does."""
    ups = {name: await faulty_upstream(models=(name,)) for name in ("first", "second")}
    client = HttpClient()
    backends = {name: OpenAICompatible(name, up.base_url, name, client=client) for name, up in ups.items()}
    herd = Herd([Candidate("first", quality=0.9), Candidate("second", quality=0.5)])
    settings = Settings(breaker=BreakerSettings(failures=10_000, probe_s=0))
    app = App(Service(DeclaredRouter(herd), backends, {"single": Single()}, settings=settings))
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, ws="none", lifespan="off")
    server = Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield Running(listening.getsockname()[1], ups["first"])
    server.should_exit = True
    await serving
    listening.close()
    await client.close()


def lying_about() -> Counter[str]:
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one).__name__ in OURS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "behaviour",
    ["ok", "server_error", "close_before_headers", "not_http"],
)
async def test_what_a_request_took_is_free_without_a_search(
    running: Running, behaviour: str, stream: bool
) -> None:
    await running.chat(2, stream=stream)
    running.first.behave(behaviour)
    gc.collect()
    gc.disable()
    try:
        before = lying_about()
        await running.chat(6, stream=stream)
        left = lying_about()
        async with asyncio.timeout(60):
            # The connection's end comes a moment later; what it had last is free by then too.
            while any(left[name] - before[name] > 1 for name in OURS):
                await asyncio.sleep(0.05)
                left = lying_about()
    finally:
        gc.enable()
