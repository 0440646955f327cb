"""A process ends in time whatever hangs, and says what it could not do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
import redis

from herdwise.serving.ending import END_S, on_thread, within

ADMIN, CLIENT = "admin-secret", "client-secret"
DRAIN_S = 1.0
#: Beside the bound itself: what starting to end, and looking, may take on a busy machine.
LATE_S = 20.0


async def test_a_step_that_hangs_or_fails_is_told_and_gone_on_without(caplog: Any) -> None:
    async def broken() -> None:
        raise OSError("no")

    assert await within(5, "nothing", asyncio.sleep(0))
    assert not await within(0.01, "waiting for ever", asyncio.sleep(3600))
    assert not await within(5, "breaking", broken())
    assert [r.message for r in caplog.records] == [
        "not done within 0.01 s: waiting for ever",
        "not done: breaking",
    ]


async def test_work_on_a_thread_of_its_own_tells_what_came_of_it() -> None:
    def broken() -> None:
        raise OSError("no")

    assert await on_thread(lambda: 3) == 3
    with pytest.raises(OSError, match="no"):
        await on_thread(broken)


def processes_of_postgres(url: str) -> list[int]:
    """The server and all who work for it."""
    if not Path("/proc").is_dir():
        pytest.skip("without /proc nobody tells which processes those are")
    with psycopg.connect(url.replace("+psycopg", "") + "/postgres") as connection:
        found = connection.execute("select pg_backend_pid()").fetchone()
        assert found is not None
        status = Path(f"/proc/{found[0]}/status").read_text()
    parent = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that don't run, but keep their connections."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def served(folder: Path, up: Any, **config: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    candidate = {"name": "a", "base_url": up.base_url, "quality": 0.5}
    candidate["price"] = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
    server = {"port": 0, "admin_key": ADMIN, "api_keys": [CLIENT], "drain_s": DRAIN_S}
    file = folder / "herdwise.yaml"
    file.write_text(json.dumps({"candidates": [candidate], "server": server, **config}))
    command: list[str | Path] = [
        Path(sys.executable).with_name("herdwise"),
        "serve",
        "--config",
        file,
        "--json",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        told = ""
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if line.startswith("}"):
                break
        assert told, (folder / "log").read_text()
        yield process, json.loads(told)["url"]
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def ended(process: subprocess.Popen[str]) -> int:
    """Its status; it must be gone by the time that is promised."""
    process.send_signal(signal.SIGTERM)
    until = time.monotonic() + DRAIN_S + END_S + LATE_S
    while (status := process.poll()) is None:
        assert time.monotonic() < until, "it has not ended"
        await asyncio.sleep(0.05)
    return status


def body(text: str = "Hello", **more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


async def test_with_redis_and_postgres_stopped_it_ends_in_time_and_says_what_was_not_done(
    faulty_upstream: Any, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    database = f"ledger_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url.replace("+psycopg", "") + "/postgres", autocommit=True) as admin:
        admin.execute(f"create database {database}")
    shared = redis.Redis.from_url(redis_url)
    redis_pid = int(shared.info("server")["process_id"])
    shared.close()
    up = await faulty_upstream(models=("a",))
    wired = {
        "ledger": {"url": f"{postgres_url}/{database}"},
        "state": {"url": redis_url},
        "cache": {"kind": "exact", "store": "redis"},
    }
    with served(tmp_path, up, **wired) as (process, url):
        async with aiohttp.ClientSession() as session:

            async def post(path: str, sent: Any, key: str) -> Any:
                headers = {"Authorization": f"Bearer {key}"}
                async with session.post(url + path, json=sent, headers=headers) as reply:
                    return await reply.json()

            terms = {"budgets": [{"usd": 5, "period": "ever"}]}
            made = await post("/admin/v1/keys", {"name": "k", "terms": terms}, ADMIN)
            assert (await post("/v1/chat/completions", body(), made["key"]))["choices"]
            up.behave("hang_before_headers")
            n_before = len(up.bodies)
            hanging = [
                asyncio.create_task(post("/v1/chat/completions", body(f"{i}"), key))
                for i, key in enumerate((made["key"], CLIENT))
            ]
            await up.until(lambda: len(up.bodies) == n_before + 2)
            with stopped([redis_pid, *processes_of_postgres(postgres_url)]):
                status = await ended(process)
            await asyncio.gather(*hanging, return_exceptions=True)
    log = (tmp_path / "log").read_text()
    assert status == 1, log
    assert "charges are not counted: they stand in the ledger alone" in log
    assert "decisions are lost: the ledger could not be written" in log


async def test_an_upstream_without_end_and_a_client_that_takes_nothing_do_not_hold_it_up(
    faulty_upstream: Any, tmp_path: Path
) -> None:
    up = await faulty_upstream(models=("a",))
    up.behave("hang_before_headers", everywhere=True)
    ledger = tmp_path / "ledger.db"
    with served(tmp_path, up, ledger={"url": f"sqlite:///{ledger}"}) as (process, url):
        port = int(url.rpartition(":")[2])
        asked = {"chat/completions": body(stream=True), "embeddings": {"model": "a", "input": "x"}}
        with contextlib.ExitStack() as clients:
            for path, told in asked.items():
                sent = json.dumps(told).encode()
                head = (
                    f"POST /v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT}\r\n"
                    f"content-length: {len(sent)}\r\n\r\n"
                )
                client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(head.encode() + sent)
            await up.until(
                lambda: {r.path.rpartition("/")[2] for r in up.requests} >= {"completions", "embeddings"}
            )
            assert await ended(process) == 0, (tmp_path / "log").read_text()
    with sqlite3.connect(ledger) as connection:
        rows = connection.execute("select policy, status from decisions").fetchall()
    connection.close()
    assert sorted(rows) == [("embeddings", "cancelled"), ("single", "cancelled")]
