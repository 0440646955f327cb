"""What gateways tell each other: over a real Redis, and what they make of it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from herdwise.core.errors import RateLimitError, UnreachableError
from herdwise.serving.health import Breakers, BreakerSettings
from herdwise.serving.shared import Shared
from herdwise.serving.shared_redis import RedisNews
from herdwise.serving.threads import Threads


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(breakers: Breakers, name: str, times: int = 3) -> None:
    for _ in range(times):
        breakers.begin(name)
        breakers.note(name, UnreachableError("gone.", candidate=name))


class Gateway:
    """One that decides by its own copy."""

    def __init__(self, clock: Clock | None = None) -> None:
        own = {} if clock is None else {"clock": clock}
        self.threads = Threads(**own)
        self.breakers = Breakers(["a", "b"], BreakerSettings(failures=3, open_s=5.0, max_open_s=60.0), **own)
        self.shared = Shared(self.threads, lambda: self.breakers)
        self.told: list[bytes] = []

    def send(self, news: bytes) -> None:
        self.told.append(news)

    async def tell(self, other: Gateway, age_s: float = 0.0) -> None:
        async with asyncio.timeout(60):
            while not self.told:  # noqa: ASYNC110 - it is told in batches
                await asyncio.sleep(0.005)
        told, self.told = self.told, []
        for news in told:
            other.shared.hear(news, age_s)


async def pair(clock: Clock) -> tuple[Gateway, Gateway]:
    one, two = Gateway(clock), Gateway(clock)
    one.shared.begin(one)
    two.shared.begin(two)
    return one, two


async def test_who_fails_for_one_is_left_alone_by_the_other_until_it_answers_again() -> None:
    one, two = await pair(clock := Clock())
    failing(one.breakers, "a")
    assert two.breakers.state("a") == "closed"
    await one.tell(two)
    assert [two.breakers.state(name) for name in "ab"] == ["open", "closed"]
    assert not two.told, "what was heard is not told again"
    clock.now += 4.0 * 1.2
    clock.now += 3.0
    assert one.breakers.begin("a")
    one.breakers.note("a", None)
    await one.tell(two)
    assert two.breakers.state("a") == "closed"
    assert two.breakers.healthy() is None


async def test_what_another_found_holds_for_a_while_and_then_an_own_ask_tells() -> None:
    one, two = await pair(clock := Clock())
    for _ in range(3):  # it is left alone for longer and longer
        failing(one.breakers, "a")
        clock.now += 30.0
    failing(one.breakers, "a")
    await one.tell(two)
    clock.now += 6.1
    assert two.breakers.state("a") == "half_open"
    assert one.breakers.state("a") == "open"
    assert two.breakers.begin("a")
    two.breakers.note("a", UnreachableError("gone.", candidate="a"))
    assert two.breakers.state("a") == "open"


async def test_a_rate_limit_holds_everywhere_for_as_long_as_the_upstream_said() -> None:
    one, two = await pair(clock := Clock())
    one.breakers.note("a", RateLimitError("slow down.", candidate="a", status=429, retry_after_s=40.0))
    await one.tell(two, age_s=10.0)
    clock.now += 29.0
    assert two.breakers.state("a") == "open"
    clock.now += 2.0
    assert two.breakers.state("a") == "half_open"


async def test_what_one_found_out_itself_is_tried_and_not_undone_when_another_reaches_it() -> None:
    one, two = await pair(Clock())
    failing(one.breakers, "a")
    failing(two.breakers, "a")
    await one.tell(two)
    one.breakers.note("a", None)
    await one.tell(two)
    assert two.breakers.state("a") == "half_open"


async def test_a_gateway_that_reaches_candidates_by_ways_of_its_own_hears_of_conversations_only() -> None:
    one, other = Gateway(), Gateway()
    other.shared = Shared(other.threads, lambda: other.breakers, share_breakers=False)
    one.shared.begin(one)
    other.shared.begin(other)
    failing(one.breakers, "a")
    failing(other.breakers, "b")
    one.threads.note([], b"session", "a")
    await one.tell(other)
    assert other.breakers.state("a") == "closed"
    assert other.threads.find([], b"session") == "a"
    assert not other.told


def test_of_one_conversation_the_latest_note_counts() -> None:
    here, there = Threads(), Threads()
    notes: list[tuple[bytes, str]] = []
    there.on_note = lambda key, candidate: notes.append((key, candidate))
    there.note([], b"s", "b")
    key, candidate = notes[0]
    here.hear(key, candidate, age_s=5.0)
    assert here.find([], b"s") == "b"
    here.note([], b"s", "a")
    here.hear(key, candidate, age_s=5.0)
    assert here.find([], b"s") == "a"
    here.hear(key, "c", age_s=0.0)
    assert here.find([], b"s") == "c"
    here.hear(b"old", "b", age_s=3601.0)
    assert len(here) == 1


class Heard:
    """A gateway's end of the stream."""

    def __init__(self, url: str, prefix: str) -> None:
        self.news: list[tuple[bytes, float]] = []
        self.prefix = prefix
        self.redis = RedisNews(url, lambda news, age_s: self.news.append((news, age_s)), prefix)
        self.redis.start()

    async def until(self, n: int) -> list[bytes]:
        async with asyncio.timeout(60):
            while len(self.news) < n:  # noqa: ASYNC110 - the stream has no event for it
                await asyncio.sleep(0.01)
        return [news for news, _ in self.news]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Callable[..., Heard]]:
    made: list[Heard] = []
    prefix = f"t-{uuid.uuid4().hex}"

    def make(url: str = redis_url) -> Heard:
        made.append(Heard(url, prefix))
        return made[-1]

    yield make
    for one in made:
        await one.redis.close()


async def test_news_reaches_all_others_in_order_and_those_who_come_later(
    gateway: Callable[..., Heard],
) -> None:
    one, two = gateway(), gateway()
    for i in range(50):
        one.redis.send(b"%d" % i)
    assert await two.until(50) == [b"%d" % i for i in range(50)]
    two.redis.send(b"back")
    assert await one.until(1) == [b"back"]
    late = gateway()
    assert await late.until(51) == [*(b"%d" % i for i in range(50)), b"back"]
    assert all(0 <= age_s < 20 for _, age_s in late.news)


async def test_without_redis_each_goes_on_alone_says_so_once_and_hears_all_when_it_is_back(
    gateway: Callable[..., Heard], redis_url: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(int(redis_url.removesuffix("/0").rpartition(":")[2]), closed_port)
    there, here = gateway(), gateway(await line.start())
    there.redis.send(b"before")
    assert await here.until(1) == [b"before"]
    caplog.set_level(logging.INFO)
    await line.cut()
    there.redis.send(b"meanwhile")
    here.redis.send(b"kept")
    async with asyncio.timeout(60):
        while "cannot be reached" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(1.0)
    assert caplog.text.count("cannot be reached") == 1
    await line.start()
    assert await here.until(2) == [b"before", b"meanwhile"]
    assert await there.until(1) == [b"kept"]
    async with asyncio.timeout(60):
        while "is back" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await line.cut()


async def test_news_that_cannot_be_read_stops_nobody(
    gateway: Callable[..., Heard], redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = gateway(), Gateway()
    hearing = RedisNews(redis_url, two.shared.hear, one.prefix)
    hearing.start()
    source = Gateway()
    source.shared.begin(one.redis)
    one.redis.send(b"\xff\xff of another version")
    source.threads.note([], b"session", "a")
    async with asyncio.timeout(60):
        while two.threads.find([], b"session") != "a":  # noqa: ASYNC110 - the stream has no event for it
            await asyncio.sleep(0.01)
    assert "cannot be read" in caplog.text
    await hearing.close()


class Line:
    """A TCP line to a server, which can be cut and mended."""

    def __init__(self, to: int, port: int) -> None:
        self._to, self._port, self._open = to, port, False
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self._open = True
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        return f"redis://127.0.0.1:{self._port}/0"

    async def cut(self) -> None:
        self._open = False
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, out]
        if not self._open:  # it was cut meanwhile
            await self.cut()
        await asyncio.gather(self._pump(reader, out), self._pump(there, writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()


CONFIG = """
candidates:
  - {{name: good, base_url: '{good}', quality: 0.50}}
  - {{name: spare, base_url: '{spare}', quality: 0.49}}
ledger: {{url: '{ledger}'}}
state: {{url: '{redis}'}}
server: {{breaker: {{open_s: 8}}}}
"""


@pytest.fixture
def gateways(
    tmp_path: Path, threaded_upstream: Callable[..., Any], postgres_url: str, redis_url: str
) -> Iterator[Callable[[], tuple[list[str], Any]]]:
    """``gateways()`` starts two processes on one PostgreSQL and one Redis."""
    processes: list[subprocess.Popen[str]] = []

    def start() -> tuple[list[str], Any]:
        good, spare = threaded_upstream(models=("good",)), threaded_upstream(models=("spare",))
        name = f"t_{uuid.uuid4().hex}"
        server = create_engine(f"{postgres_url}/postgres", isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        server.dispose()
        file = tmp_path / "herdwise.yaml"
        file.write_text(
            CONFIG.format(
                good=good.base_url, spare=spare.base_url, ledger=f"{postgres_url}/{name}", redis=redis_url
            )
        )
        script = Path(sys.executable).with_name("herdwise")
        command = [script, "serve", "--config", file, "--port", "0", "--json"]
        processes.extend(subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
        return [ready(process) for process in processes], good

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
    try:
        assert [process.wait(60) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=20)


def ready(process: subprocess.Popen[str]) -> str:
    told = ""
    assert process.stdout is not None
    for line in process.stdout:
        told += line
        if line.startswith("}"):
            break
    url: str = json.loads(told)["url"]
    return url


def ask(url: str, session: str, model: str = "auto") -> str:
    """Who answered."""
    return asked(url, session, model)["x-herdwise-candidate"]


def grade(url: str, name: str) -> int:
    body = json.dumps({"decision_id": name, "thumbs": "up"}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/feedback", body), timeout=30) as answer:
        status: int = answer.status
        return status


def asked(url: str, session: str, model: str = "auto") -> dict[str, str]:
    """The answer's headers."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]}).encode()
    headers = {"content-type": "application/json", "x-herdwise-session": session}
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/v1/chat/completions", body, headers), timeout=30
    ) as answer:
        return dict(answer.headers.items())


def left_alone(url: str) -> list[str]:
    with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
        names: list[str] = json.load(answer)["left_alone"]
        return names


def test_two_gateways_on_one_postgres_and_one_redis_share_conversations_and_who_is_left_alone(
    gateways: Callable[[], tuple[list[str], Any]],
) -> None:
    (first, second), good = gateways()
    assert ask(first, "begun at the first", "spare") == "spare"
    good.behave("server_error")
    assert [ask(first, f"s{i}") for i in range(4)] == ["spare"] * 4
    within_s(60.0, lambda: left_alone(second) == ["good"])
    n_asked = len(good.requests)
    assert ask(second, "another") == "spare"
    assert len(good.requests) == n_asked, "the second never asked it"
    good.behave("ok")
    within_s(60.0, lambda: ask(first, f"a trial {time.monotonic()}") == "good")
    within_s(60.0, lambda: left_alone(second) == [])
    assert ask(second, "begun at the first") == "spare"
    assert ask(second, "one more") == "good"
    for number in range(3):
        assert grade(second, asked(first, f"to be graded {number}")["x-herdwise-decision-id"]) == 200


def within_s(limit_s: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
