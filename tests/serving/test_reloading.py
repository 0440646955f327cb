"""A reload under load loses no request, keeps what is unchanged, and refuses what cannot be served."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sqlite3
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest
import uvicorn

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError, UpstreamStatusError
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import App
from herdwise.serving.cache_store import CacheSettings
from herdwise.serving.ledger import Ledger
from herdwise.serving.service import Service, Settings
from herdwise.serving.telemetry_settings import TelemetrySettings

ADMIN = {"authorization": "Bearer admin-secret"}


class Backend(OpenAICompatible):
    """Tells whether it was closed, and who asked it afterwards."""

    closed = False
    asked_when_closed = 0

    async def complete(self, body: Mapping[str, Any]) -> Any:
        self.asked_when_closed += self.closed
        told = await super().complete(body)
        self.asked_when_closed += self.closed
        return told

    async def close(self) -> None:
        self.closed = True
        await super().close()


class Running:
    """A real server whose config the test writes: ``candidates`` (name -> quality), ``moved``, ..."""

    def __init__(self, url: Callable[[str], str], ledger_url: str) -> None:
        self.reach, self.ledger_url = url, ledger_url
        self.candidates = {"a": 0.9, "b": 0.5}
        self.moved: set[str] = set()
        self.settings: dict[str, Any] = {"admin_key": "admin-secret", "api_keys": ("client",), "port": 0}
        self.problem: Exception | None = None
        self.made: list[Backend] = []
        self.url = ""
        self.app: App
        self.server: uvicorn.Server
        self.session: aiohttp.ClientSession

    def build(self, running: Service | None = None) -> Service:
        if self.problem is not None:
            raise self.problem
        backends: dict[str, Any] = {}
        for name in self.candidates:
            old = None if running is None else running.backends.get(name)
            if old is None or name in self.moved:
                old = Backend(name, self.reach(name), f"up-{name}")
                self.made.append(old)
            backends[name] = old
        herd = Herd([Candidate(name, quality=quality) for name, quality in self.candidates.items()])
        return Service(
            DeclaredRouter(herd),
            backends,
            {"single": Single()},
            ledger=Ledger(self.ledger_url),
            settings=Settings(**self.settings),
        )

    async def chat(self, text: str = "Hello", key: str = "client", **body: Any) -> tuple[int, Any]:
        full = {"model": "auto", "messages": [{"role": "user", "content": text}], **body}
        headers = {"authorization": f"Bearer {key}"}
        url = f"{self.url}/v1/chat/completions"
        async with self.session.post(url, json=full, headers=headers) as answer:
            return answer.status, await (answer.text() if body.get("stream") else answer.json())

    async def get(self, path: str) -> Any:
        async with self.session.get(
            f"{self.url}{path}", headers={"authorization": "Bearer client"}
        ) as answer:
            return await answer.json()

    async def reload(self, headers: Mapping[str, str] = ADMIN) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/admin/v1/reload", headers=headers) as answer:
            return answer.status, await answer.json()

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not met():  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.01)


@pytest.fixture
async def ups(faulty_upstream: Any) -> dict[str, Any]:
    return {name: await faulty_upstream(models=(f"up-{name}",)) for name in "abc"}


@pytest.fixture
async def running(ups: Any, tmp_path: Any) -> AsyncIterator[Running]:
    one = Running(lambda name: ups[name].base_url, f"sqlite:///{tmp_path / 'ledger.db'}")
    one.app = App(one.build(), rebuild=one.build)
    listening = socket.create_server(("127.0.0.1", 0))
    one.server = server = uvicorn.Server(
        uvicorn.Config(
            one.app,
            log_config=None,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=2,
            timeout_keep_alive=600,
        )
    )
    serving = asyncio.create_task(server._serve([listening]))
    await one.until(lambda: server.started)
    one.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with aiohttp.ClientSession() as one.session:
        yield one
    server.should_exit = True
    await serving
    assert all(backend.closed for backend in one.made)
    assert not any(backend.asked_when_closed for backend in one.made)


async def test_no_request_is_lost_in_reloads_under_load(running: Running) -> None:
    statuses: list[int] = []
    over = False

    async def client(number: int) -> None:
        while not over:
            status, told = await running.chat(f"from {number}", stream=number % 2 == 0)
            statuses.append(status)
            whole = "data: [DONE]" in told if number % 2 == 0 else told["choices"][0]["message"]["content"]
            assert whole

    clients = [asyncio.create_task(client(number)) for number in range(8)]
    for turn in range(8):
        running.candidates = {"a": 0.9, "b": 0.5} if turn % 2 else {"b": 0.5, "c": 0.9}
        running.moved = {"b"} if turn % 3 == 0 else set()
        status, told = await running.reload()
        assert (status, told["candidates"]) == (200, list(running.candidates))
        seen = len(statuses)
        await running.until(lambda seen=seen: len(statuses) > seen + 10)  # type: ignore[misc]
    over = True
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    await running.until(lambda: not running.app.reloading._retired)
    current = running.app.reloading.current.service.backends.values()
    assert {id(b) for b in running.made if not b.closed} == {id(b) for b in current}


async def test_requests_under_way_end_with_the_old_parts_which_are_closed_after_them(
    running: Running, ups: Any
) -> None:
    let_go = asyncio.Event()
    ups["a"].behave("ok", until=let_go.is_set)
    asking = asyncio.create_task(running.chat())
    await running.until(lambda: ups["a"].in_flight == 1)
    old = running.made[0]
    running.candidates = {"c": 0.9, "b": 0.5}
    assert (await running.reload())[0] == 200
    assert (await running.chat())[1]["model"] == "c"
    assert not old.closed
    assert (await running.get("/v1/models"))["data"][-2]["id"] == "c"
    ranker = weakref.ref(running.app.reloading._retired[0].service.ranker)
    (name,) = running.app.reloading.current.dispatcher.open
    assert (await running.get(f"/v1/decisions/{name}"))["status"] == "open"
    let_go.set()
    status, told = await asking
    assert (status, told["model"]) == (200, "a")
    await running.until(lambda: old.closed)
    assert not running.made[1].closed
    del asking
    gc.disable()  # it does not wait for the interpreter's own search
    try:
        await running.until(lambda: ranker() is None)  # its memory is given back
    finally:
        gc.enable()


async def test_what_is_unchanged_keeps_its_backend_breaker_and_conversations(
    running: Running, ups: Any
) -> None:
    ups["a"].behave("server_error")
    for _ in range(3):
        assert (await running.chat())[1]["model"] == "b"
    health = running.app.reloading.current.dispatcher.health
    assert health.state("a") == "open"
    running.candidates = {"c": 0.1, "b": 0.5, "a": 0.9}
    _, told = await running.reload()
    assert told["backends_kept"] == 2
    now = running.app.reloading.current.dispatcher
    assert now.health is not health
    assert (now.health.state("a"), now.health.healthy().tolist()) == ("open", [True, True, False])
    assert len(now.threads) == 1  # the conversation that was asked three times
    running.moved = {"a"}
    await running.reload()
    now = running.app.reloading.current.dispatcher
    assert (now.health.state("a"), now.health.healthy()) == ("closed", None)


async def test_a_breaker_that_opens_in_an_old_request_is_open_for_new_ones(running: Running) -> None:
    before = running.app.reloading.current.dispatcher.health
    await running.reload()
    for _ in range(3):
        before.note("a", UpstreamStatusError("failed.", candidate="a", status=500))
    now = running.app.reloading.current.dispatcher.health
    assert now.healthy().tolist() == [False, True]


async def test_a_bad_config_is_refused_with_its_error_and_the_old_one_goes_on(running: Running) -> None:
    running.problem = ConfigError("herdwise.yaml:3: candidates[0].pirce: unknown key.", remedy="price?")
    status, told = await running.reload()
    assert (status, told["error"]["code"]) == (422, "config_refused")
    assert "candidates[0].pirce" in told["error"]["message"]
    assert (await running.chat())[0] == 200
    running.problem = ValueError("secret-inside")
    status, told = await running.reload()
    assert status == 500
    assert "secret-inside" not in str(told)
    assert (await running.chat())[0] == 200
    running.problem, running.settings = None, {"host": "0.0.0.0", "port": 0}  # noqa: S104
    status, told = await running.reload()  # it goes on listening on loopback
    assert (status, told["needs_restart"]) == (200, ["server.host"])


async def test_an_address_open_to_others_cannot_lose_its_keys(running: Running) -> None:
    running.app.reloading.current.service.settings = Settings(host="0.0.0.0", api_keys=("client",))  # noqa: S104
    running.settings = {"port": 8484}
    told: dict[str, Any] = {}
    with pytest.raises(Exception, match="no API key is asked for"):
        told = await running.app.reloading.reload()
    assert told == {}
    assert (await running.chat())[0] == 200


async def test_keys_of_the_config_change_and_what_cannot_change_is_named(
    running: Running, tmp_path: Any
) -> None:
    running.settings |= {"api_keys": ("other",), "port": 1, "state_url": "redis://127.0.0.1:1"}
    running.ledger_url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    status, told = await running.reload()
    assert status == 200
    assert told["needs_restart"] == ["server.port", "state.url", "ledger.url"]
    assert (await running.chat())[0] == 401
    assert (await running.chat(key="other"))[0] == 200
    assert not (tmp_path / "elsewhere.db").exists()
    assert (await running.reload({"authorization": "Bearer other"}))[0] == 401
    running.settings |= {"admin_key": "new-admin"}
    assert (await running.reload())[0] == 200
    assert (await running.reload())[0] == 401
    assert (await running.reload({"authorization": "Bearer new-admin"}))[0] == 200


async def test_virtual_keys_and_what_they_spent_live_through_a_reload(running: Running) -> None:
    terms = {"name": "team", "terms": {"requests_per_minute": 2}}
    async with running.session.post(f"{running.url}/admin/v1/keys", json=terms, headers=ADMIN) as made:
        key = (await made.json())["key"]
    # A minute may end in between: then its next two are let in.
    statuses = []
    for _ in range(6):
        statuses.append((await running.chat(key=key))[0])
        assert (await running.reload())[0] == 200
    assert statuses[:2] == [200, 200]
    assert statuses.count(429) >= 2


async def test_a_process_that_is_about_to_end_is_not_ready_and_reloads_nothing(running: Running) -> None:
    assert (await running.get("/readyz"))["status"] == "ready"
    running.app.reloading.draining = True
    async with running.session.get(f"{running.url}/readyz") as answer:
        assert (answer.status, await answer.json()) == (503, {"status": "draining"})
        assert answer.headers["connection"] == "close"
    status, told = await running.reload()
    assert (status, told["error"]["code"]) == (503, "draining")
    assert (await running.chat())[0] == 200  # what comes in is answered to the last


async def test_a_stream_that_the_end_cuts_off_ends_with_an_error_event(running: Running, ups: Any) -> None:
    ups["a"].behave("hang_mid_stream")
    streaming = asyncio.create_task(running.chat("one two three four", stream=True))
    await running.until(lambda: ups["a"].in_flight == 1)
    running.server.should_exit = True
    status, told = await streaming
    last = [line for line in told.split("\n\n") if line][-1]
    assert status == 200
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"


async def test_the_cache_lives_through_a_reload_and_goes_by_the_new_config(
    running: Running, ups: Any
) -> None:
    def asked() -> int:
        return sum(len(up.bodies) for up in ups.values())

    await running.chat()
    running.settings |= {"cache": CacheSettings(kind="exact"), "cache_url": "redis://127.0.0.1:9/0"}
    told = (await running.reload())[1]
    assert told["needs_restart"] == ["cache.url"]
    for _ in range(3):
        await running.chat()
    assert asked() == 2
    await running.reload()
    await running.chat()
    await running.chat(model="a")
    assert asked() == 3
    running.candidates = {"b": 0.5, "c": 0.9}
    await running.reload()
    assert (await running.chat())[1]["model"] == "c"
    assert asked() == 4
    running.settings |= {"cache": CacheSettings(), "telemetry": TelemetrySettings("http://127.0.0.1:9")}
    assert (await running.reload())[1]["needs_restart"] == ["cache.url", "telemetry"]
    await running.chat()
    assert asked() == 5


async def test_what_is_prepared_and_dropped_has_changed_nothing(running: Running) -> None:
    def noted() -> set[str]:
        with sqlite3.connect(running.ledger_url.removeprefix("sqlite:///")) as connection:
            found = {row[0] for row in connection.execute("select candidate from candidates")}
        connection.close()
        return found

    async def kept() -> int:
        headers = {"authorization": "Bearer client"}
        async with running.session.get(f"{running.url}/metrics", headers=headers) as answer:
            lines = (await answer.text()).splitlines()
        return int(next(line for line in lines if line.startswith("herdwise_cache_entries ")).split()[1])

    running.settings |= {"cache": CacheSettings(kind="semantic", similarity=0.99)}
    await running.reload()
    for text in ("one", "two", "three"):
        await running.chat(text)
    assert await kept() == 3
    similar = running.app._stores.similar
    running.settings |= {"cache": CacheSettings(kind="semantic", max_entries=1), "max_open_requests": 1}
    running.candidates = {"a": 0.9, "c": 0.5}
    reloading = running.app.reloading
    await reloading.prepare()
    reloading.abandon()
    assert (await kept(), noted()) == (3, {"a", "b"})
    assert running.app._stores.similar is similar
    await running.reload()
    assert await kept() == 1
    await running.until(lambda: noted() == {"a", "b", "c"})
