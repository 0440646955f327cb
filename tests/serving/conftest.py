"""A real endpoint on loopback over real HTTP upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import uvicorn

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.money import Price
from herdwise.routing.base import Policy
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import create_app
from herdwise.serving.ledger import Ledger
from herdwise.serving.retrying import RetrySettings
from herdwise.serving.service import Service, Settings
from herdwise.transport.client import HttpClient, Timeouts

#: The better one first in quality, the other cheaper.
LARGE = Candidate(
    "large", params_b=70, active_params_b=70, price=Price(2.0, 4.0), context_tokens=8192, quality=0.8,
    open_weights=True, tools=True, json_schema=True, modalities=frozenset({"text", "image"}),
)  # fmt: skip
SMALL = Candidate(
    "small", params_b=8, active_params_b=8, price=Price(0.2, 0.4), context_tokens=4096, quality=0.6,
    open_weights=True, tools=True, json_schema=True, modalities=frozenset({"text", "image"}),
)  # fmt: skip


class Server(uvicorn.Server):
    """Leaves the test runner's signal handlers alone, and stops without waiting for the next tick."""

    async def main_loop(self) -> None:
        tick = 0
        while not self.should_exit and not await self.on_tick(tick):
            tick += 1
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(60):
            while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - as uvicorn does
                await asyncio.sleep(0.005)
        await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["error"]
        assert {"message", "type", "param", "code"} <= found.keys()
        assert found["message"]
        return found

    @property
    def events(self) -> list[Any]:
        """Data of a stream's events; "[DONE]" as it stands."""
        lines = self.raw.decode().split("\n\n")
        assert lines.pop() == ""
        data = [line.removeprefix("data: ") for line in lines]
        return [text if text == "[DONE]" else json.loads(text) for text in data]

    @property
    def text(self) -> str:
        """All text of a stream's first choices."""
        chunks = [e for e in self.events if e != "[DONE]"]
        return "".join(c["delta"].get("content") or "" for e in chunks for c in e.get("choices", ()))


@dataclass
class Endpoint:
    url: str
    service: Service
    upstreams: dict[str, Any]
    session: aiohttp.ClientSession
    ledger_path: Path
    client: openai.AsyncOpenAI = field(init=False)

    def __post_init__(self) -> None:
        self.client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=120)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(
            method, f"{self.url}{path}", data=data, headers=dict(headers or {})
        ) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def chat(
        self, text: str = "Hello", *, headers: Mapping[str, str] | None = None, **body: Any
    ) -> Reply:
        full = {"model": "auto", "messages": [{"role": "user", "content": text}], **body}
        return await self.send("POST", "/v1/chat/completions", full, headers)

    async def decision(self, reply: Reply) -> dict[str, Any]:
        found = await self.send("GET", f"/v1/decisions/{reply.headers['x-herdwise-decision-id']}")
        assert found.status == 200
        decision: dict[str, Any] = found.json
        return decision


@pytest.fixture
async def endpoint(
    faulty_upstream: Callable[..., Awaitable[Any]], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[Endpoint]]]:
    """``await endpoint(**options)`` serves a herd, each candidate an upstream of its own.

    Options: ``candidates``, ``policies``, ``goals``, ``ledger`` (False = none), ``ledger_url`` (instead of
    an SQLite file), ``reach`` (candidate -> base URL instead of an upstream), ``timeouts`` (of all, or
    candidate -> its own), ``backends`` (instead of HTTP), ``ranker`` (instead of a declared one) and those
    of Settings. Nothing is retried unless ``retry`` says so.
    """
    async with AsyncExitStack() as stack:

        async def start(
            *,
            candidates: Sequence[Candidate] = (LARGE, SMALL),
            policies: Mapping[str, Policy] | None = None,
            ledger: bool = True,
            ledger_url: str | None = None,
            reach: Mapping[str, str] | None = None,
            timeouts: Timeouts | Mapping[str, Timeouts] | None = None,
            backends: Mapping[str, Any] | None = None,
            goals: Any = None,
            ranker: Any = None,
            **settings: Any,
        ) -> Endpoint:
            client = HttpClient()
            upstreams, made = {}, {}
            for candidate in candidates:
                name = candidate.name
                if backends and name in backends:
                    made[name] = backends[name]
                    continue
                url = (reach or {}).get(name)
                if url is None:
                    upstreams[name] = await faulty_upstream(models=(f"up-{name}",))
                    url = upstreams[name].base_url
                limits = timeouts.get(name) if isinstance(timeouts, Mapping) else timeouts
                made[name] = OpenAICompatible(name, url, f"up-{name}", client=client, timeouts=limits)
            path = tmp_path / "ledger.db"
            more = {} if goals is None else {"goals": goals}
            service = Service(
                ranker=ranker or DeclaredRouter(Herd(candidates)),
                backends=made,
                policies=policies or {"single": Single()},
                default_policy=next(iter(policies or {"single": 0})),
                ledger=Ledger(ledger_url or f"sqlite:///{path}") if ledger else None,
                settings=Settings(**{"retry": RetrySettings(retries=0), **settings}),
                **more,
            )
            listening = socket.create_server(("127.0.0.1", 0))
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            config = uvicorn.Config(
                create_app(service), log_config=None, access_log=False, lifespan="on", ws="none",
                # Where a test computes for long between two requests, a kept connection is still there.
                timeout_graceful_shutdown=2, timeout_keep_alive=600,
            )  # fmt: skip
            server = Server(config)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            session = aiohttp.ClientSession()
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            made_endpoint = Endpoint(url, service, upstreams, session, path)

            async def stop() -> None:
                await made_endpoint.client.close()
                await session.close()
                server.should_exit = True
                await running
                listening.close()
                await client.close()

            stack.push_async_callback(stop)
            return made_endpoint

        yield start
