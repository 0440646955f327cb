"""The endpoint as a process: what signals do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

SERVER = """
import asyncio, sys
from herdwise.backends.base import Backend, Health
from herdwise.backends.chat_shape import read_completion
from herdwise.core.candidate import Candidate, Herd
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import serve
from herdwise.serving.ledger import Ledger
from herdwise.serving.service import Service, Settings

class Parrot(Backend):
    name = "parrot"
    async def complete(self, body):
        if "slow" in body["messages"][-1]["content"]:
            print("asked", flush=True)
            await asyncio.sleep(600 if "without end" in body["messages"][-1]["content"] else 0.5)
        message = {"role": "assistant", "content": body["messages"][-1]["content"]}
        return read_completion({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}, "a")
    def stream(self, body):
        raise NotImplementedError
    async def probe(self):
        return Health(True)

service = Service(
    DeclaredRouter(Herd([Candidate("a", quality=0.5)])), {"a": Parrot()}, {"single": Single()},
    ledger=Ledger(sys.argv[1]), settings=Settings(port=0, drain_s=float(sys.argv[2])),
)
serve(service, on_ready=lambda url: print(url, flush=True))
"""


def start_server(path: Path, drain_s: float = 20.0) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, f"sqlite:///{path}", str(drain_s)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def rows(path: Path, query: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


async def answers(url: str) -> bool:
    """Whether a new connection gets any answer."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status > 0
    except aiohttp.ClientConnectionError:
        return False


async def post(session: Any, url: str, body: dict[str, Any]) -> tuple[int, Any, Any]:
    async with session.post(url, data=json.dumps(body)) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_kill_9_loses_no_acknowledged_feedback_and_sigterm_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    acknowledged: list[str] = []
    for end in (signal.SIGKILL, signal.SIGTERM):
        server, url = start_server(path)
        try:
            async with aiohttp.ClientSession() as session:
                for i in range(15):
                    chat = {"model": "auto", "messages": [{"role": "user", "content": f"q{i}"}]}
                    _, headers, _ = await post(session, f"{url}/v1/chat/completions", chat)
                    name = headers["x-herdwise-decision-id"]
                    said = {"decision_id": name, "thumbs": "up" if i % 2 else "down"}
                    status, _, _ = await post(session, f"{url}/v1/feedback", said)
                    assert status == 200
                    acknowledged.append(name)
                os.kill(server.pid, end)
            assert server.wait(timeout=60) == (-signal.SIGKILL if end == signal.SIGKILL else 0)
        finally:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
    kept = [r[0] for r in rows(path, "select query_id from feedback order by id")]
    assert kept == acknowledged
    assert rows(path, "select count(*) from decisions") == [(30,)]
    assert rows(path, "pragma integrity_check") == [("ok",)]


async def test_on_sigterm_open_requests_are_answered_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    server, url = start_server(path)
    assert server.stdout is not None
    try:
        async with aiohttp.ClientSession() as session:
            chat = {"model": "auto", "messages": [{"role": "user", "content": "a slow one"}]}
            asking = asyncio.create_task(post(session, f"{url}/v1/chat/completions", chat))
            assert (await asyncio.to_thread(server.stdout.readline)).strip() == "asked"
            server.terminate()
            status, _, body = await asking
        assert status == 200
        assert body["choices"][0]["message"]["content"] == "a slow one"
        assert await asyncio.to_thread(server.wait, 60) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert rows(path, "select text, status from decisions") == [("a slow one", "answered")]


async def test_while_it_drains_nobody_new_comes_in_and_what_takes_too_long_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    server, url = start_server(path, drain_s=4)
    assert server.stdout is not None
    try:
        async with aiohttp.ClientSession() as session:
            chat = {"model": "auto", "messages": [{"role": "user", "content": "a slow one without end"}]}
            asking = asyncio.create_task(post(session, f"{url}/v1/chat/completions", chat))
            assert (await asyncio.to_thread(server.stdout.readline)).strip() == "asked"
            server.terminate()
            async with asyncio.timeout(60):
                while await answers(f"{url}/healthz"):  # noqa: ASYNC110 - until the signal has come in
                    await asyncio.sleep(0.02)
            assert not asking.done()
            status, _, body = await asking
        assert (status, body["error"]["code"]) == (503, "draining")
        assert await asyncio.to_thread(server.wait, 60) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    kept = rows(path, "select status, reason from decisions")
    assert kept == [("cancelled", "the endpoint ended before the answer did")]


async def test_a_connection_is_kept_longer_than_clients_keep_theirs(tmp_path: Path) -> None:
    server, url = start_server(tmp_path / "ledger.db", drain_s=1)
    assert server.stdout is not None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for pause_s in (6.0, 0.0):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]))
            await asyncio.sleep(pause_s)
        writer.close()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


async def test_on_sigterm_no_request_on_a_kept_connection_is_lost(tmp_path: Path) -> None:
    server, url = start_server(tmp_path / "ledger.db")
    assert server.stdout is not None
    statuses: list[int] = []

    async def client(session: Any, number: int) -> None:
        chat = {"model": "auto", "messages": [{"role": "user", "content": f"q{number}"}]}
        with contextlib.suppress(aiohttp.ClientConnectorError):  # refused, not cut off
            while True:
                statuses.append((await post(session, f"{url}/v1/chat/completions", chat))[0])

    try:
        async with aiohttp.ClientSession() as session:
            clients = [asyncio.create_task(client(session, number)) for number in range(4)]
            async with asyncio.timeout(60):
                while len(statuses) < 20:  # noqa: ASYNC110 - they go on by themselves
                    await asyncio.sleep(0.01)
                server.terminate()
                await asyncio.gather(*clients)
        assert await asyncio.to_thread(server.wait, 60) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert set(statuses) == {200}
    assert rows(tmp_path / "ledger.db", "select count(*) from decisions") == [(len(statuses),)]


GUEST = (
    SERVER.rpartition("serve(service")[0]
    + """
import socket, threading, time
import uvicorn
from herdwise.serving.app import App
from herdwise.serving.connections import Protocol
from herdwise.serving.ending import LEAVE_S
from herdwise.serving.process import Server

def ready():
    # What asyncio waits for at its end, for longer than a process that is the server's own would live.
    asyncio.get_running_loop().run_in_executor(None, time.sleep, LEAVE_S + 2)
    server.should_exit = True

app = App(service)
config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="on", log_config=None, access_log=False)
server = Server(config, app, ready)
guest = threading.Thread(target=lambda: server.run(sockets=[socket.create_server(("127.0.0.1", 0))]))
guest.start()
guest.join()
print("the host goes on", flush=True)
"""
)


def test_a_server_on_a_thread_of_another_program_does_not_end_that_by_force(tmp_path: Path) -> None:
    command = [sys.executable, "-c", GUEST, f"sqlite:///{tmp_path / 'ledger.db'}", "0.1"]
    host = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100, check=False)
    assert (host.returncode, host.stdout) == (0, "the host goes on\n")
