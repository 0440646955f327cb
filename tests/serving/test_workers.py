"""One endpoint by several processes: one port, one budget, one reload, numbers that add up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from herdwise.serving.listening import listen

ADMIN, CLIENT = "admin-secret", "client-secret"
CONFIG = """
candidates:
  - {{name: alpha, base_url: '{up}', quality: 0.50, price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 1}}}}
  - {{name: beta, base_url: '{up}', quality: 0.49, price: {{input_usd_per_mtok: 1, output_usd_per_mtok: 1}}}}
server: {{admin_key: {admin}, api_keys: [{client}], drain_s: 30, log_level: INFO}}
"""


class Serving:
    """A ``herdwise serve --workers 2`` over one upstream."""

    def __init__(self, folder: Path, up: Any) -> None:
        self.file, self.up = folder / "herdwise.yaml", up
        self.text = CONFIG.format(up=up.base_url, admin=ADMIN, client=CLIENT)
        self.file.write_text(self.text)
        script = Path(sys.executable).with_name("herdwise")
        self.log = folder / "log"
        command = [script, "serve", "--config", self.file, "--port", "0", "--workers", "2", "--json"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        told = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told += line
            if line.startswith("}"):
                break
        else:
            raise AssertionError(self.log.read_text())
        self.told = json.loads(told)
        self.url = self.told["url"]

    def send(
        self, method: str, path: str, body: Any = None, key: str = ADMIN, **headers: str
    ) -> tuple[int, Any, Any]:
        """Over a connection of its own: whichever worker accepts it."""
        data = None if body is None else json.dumps(body).encode()
        made = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}{path}", data, made, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                raw = answer.read()
                told = json.loads(raw) if "json" in answer.headers["content-type"] else raw.decode()
                return answer.status, told, answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), error.headers

    def key(self, **terms: Any) -> tuple[str, str]:
        _, made, _ = self.send("POST", "/admin/v1/keys", {"name": "team", "terms": terms})
        return made["key_id"], made["key"]

    def chat(
        self, key: str, model: str = "auto", text: str = "Hello", **headers: str
    ) -> tuple[int, Any, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return self.send("POST", "/v1/chat/completions", body, key, **headers)

    def metric(self, name: str) -> float:
        lines = self.send("GET", "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def models(self) -> list[str]:
        return [model["id"] for model in self.send("GET", "/v1/models", key=CLIENT)[1]["data"]]

    def workers(self) -> list[int]:
        """Process ids."""
        found = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,args="], check=True, capture_output=True, text=True
        ).stdout
        rows = [line.split(None, 2) for line in found.splitlines()]
        own = str(self.process.pid)
        return [int(pid) for pid, parent, args in rows if parent == own and "herdwise.config.worker" in args]

    def end(self, sig: int = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.process.wait(60)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_once(n: int, work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(n) as pool:
        return [done.result() for done in [pool.submit(work) for _ in range(n)]]


@pytest.fixture
def serve(tmp_path: Path, threaded_upstream: Callable[..., Any]) -> Iterator[Callable[[], Serving]]:
    started: list[Serving] = []

    def start() -> Serving:
        started.append(Serving(tmp_path, threaded_upstream(models=("alpha", "beta"))))
        return started[-1]

    yield start
    for serving in started:
        left = serving.workers()
        serving.process.kill()
        serving.process.wait(60)
        assert serving.process.stdout is not None
        serving.process.stdout.close()
        for pid in left:
            until(lambda pid=pid: not runs(pid))


def rows(serving: Serving, query: str) -> list[Any]:
    with sqlite3.connect(serving.file.parent / "herdwise.db") as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_limits_budgets_numbers_and_ids_are_those_of_one_endpoint(serve: Callable[[], Serving]) -> None:
    s = serve()
    assert (s.told["workers"], len(s.workers())) == (2, 2)
    n_asked, n_served, minutes = 0, 0, [0.0, 1.0]
    while minutes[0] != minutes[1]:  # within one minute of the clock
        _, key = s.key(requests_per_minute=10)
        until(lambda: time.time() % 60 < 50)
        minutes[0] = time.time() // 60
        statuses = sorted(status for status, _, _ in at_once(24, lambda key=key: s.chat(key)))  # type: ignore[misc]
        minutes[1] = time.time() // 60
        n_asked, n_served = n_asked + 24, n_served + statuses.count(200)
    assert statuses == [200] * 10 + [429] * 14
    key_id, key = s.key(budgets=[{"usd": 1.0, "period": "day"}])
    s.up.behave("slow", delay_s=0.2)
    replies = at_once(12, lambda: s.chat(key))
    assert {status for status, _, _ in replies} == {200}
    ids = {headers["x-herdwise-decision-id"] for _, _, headers in replies}
    assert len(ids) == 12
    spent = s.send("GET", f"/admin/v1/keys/{key_id}")[1]["spending"][0]["spent_usd"]
    assert round(spent * 1e9) == 12 * 3000
    counted = 'herdwise_requests_total{api="/v1/chat/completions"'
    assert {s.metric(counted) for _ in range(6)} == {n_asked + 12}, "whichever worker is asked"
    assert s.metric("herdwise_workers ") == 2
    ending = threading.Event()
    s.up.behave("ok", until=ending.is_set)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(s.chat, CLIENT) for _ in range(6)]
        until(lambda: s.up.in_flight == 6)
        s.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(s.url))
        ending.set()
        assert s.process.wait(60) == 0, "open requests end first, at every worker"
        assert [done.result()[0] for done in asked] == [200] * 6
    assert rows(s, "select count(*), count(distinct query_id) from decisions") == [(n_served + 18,) * 2]
    charged = dict(rows(s, "select key_id, sum(charged_usd) from decisions group by 1"))
    assert round(charged[key_id] * 1e9) == 36000


def test_decisions_feedback_and_conversations_know_no_worker(serve: Callable[[], Serving]) -> None:
    s = serve()
    key = CLIENT
    asked = threading.Event()
    s.up.behave("ok", until=asked.is_set, after=1)
    body = {"model": "auto", "messages": [{"role": "user", "content": "a b"}], "stream": True}
    request = urllib.request.Request(
        f"{s.url}/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        name = answer.headers["x-herdwise-decision-id"]
        found = at_once(6, lambda: s.send("GET", f"/v1/decisions/{name}", key=key))
        grade = {"decision_id": name, "thumbs": "up"}
        graded = at_once(6, lambda: s.send("POST", "/v1/feedback", grade, key))
        asked.set()
        answer.read()
    assert {(status, told["status"]) for status, told, _ in found} == {(200, "open")}
    assert {(status, told["error"]["code"]) for status, told, _ in graded} == {(409, "decision_open")}
    s.up.behave("ok")
    for number in range(6):
        _, _, headers = s.chat(key, text=f"question {number}")
        grade = {"decision_id": headers["x-herdwise-decision-id"], "score": 0.5}
        assert s.send("POST", "/v1/feedback", grade, key)[0] == 200, "at once, by whichever worker"
    assert s.send("GET", "/v1/decisions/nobody", key=key)[0] == 404
    assert any(kept_by_beta(s, pause_s) for pause_s in (0.1, 0.5, 2.0, 10.0)), "a machine may be busy"
    assert s.chat(key)[1]["model"] == "alpha"
    assert s.end() == 0
    assert rows(s, "select count(*) from feedback") == [(6,)]


def kept_by_beta(s: Serving, pause_s: float) -> bool:
    """Whether a conversation begun at one worker is known to the others after a while."""
    session = {"x-herdwise-session": f"session {pause_s}"}
    assert s.chat(CLIENT, "beta", **session)[1]["model"] == "beta"
    time.sleep(pause_s)
    return [s.chat(CLIENT, **session)[1]["model"] for _ in range(4)] == ["beta"] * 4


def test_a_reload_is_gone_by_by_all_or_none(serve: Callable[[], Serving]) -> None:
    s = serve()
    s.file.write_text(s.text.replace("name: beta", "nmae: beta"))
    status, told, _ = s.send("POST", "/admin/v1/reload")
    assert (status, told["error"]["code"]) == (422, "config_refused")
    s.file.write_text(s.text.replace("server:", "goals: {cost_weight: 1, cost_kind: latency}\nserver:"))
    status, told, _ = s.send("POST", "/admin/v1/reload")  # it can be read, but not be served
    assert (status, told["error"]["code"]) == (422, "config_refused")
    assert [s.chat(CLIENT)[0] for _ in range(6)] == [200] * 6
    s.file.write_text(s.text.replace("name: beta", "name: gamma") + "ledger: {keep_texts_days: 3}\n")
    status, told, _ = s.send("POST", "/admin/v1/reload")
    assert (status, told["candidates"]) == (200, ["alpha", "gamma"])
    assert all("gamma" in s.models() for _ in range(12))
    assert s.metric('herdwise_reloads_total{outcome="done"}') == 1
    assert s.metric('herdwise_reloads_total{outcome="refused"}') == 2
    s.file.write_text(s.text)
    s.process.send_signal(signal.SIGHUP)
    until(lambda: s.metric('herdwise_reloads_total{outcome="done"}') == 2)
    assert all("beta" in s.models() for _ in range(12))
    assert s.end() == 0
    assert "Traceback" not in s.log.read_text()


def test_a_worker_that_dies_is_replaced_by_one_that_knows_what_all_know(serve: Callable[[], Serving]) -> None:
    s = serve()
    key_id, key = s.key(budgets=[{"usd": 1.0, "period": "day"}])
    assert s.chat(key, "beta", **{"x-herdwise-session": "mine"})[1]["model"] == "beta"
    s.file.write_text(s.text.replace("name: alpha", "name: gamma"))
    assert s.send("POST", "/admin/v1/reload")[0] == 200
    s.file.write_text("candidates: what is this")  # not reloaded: nobody goes by it
    counted = 'herdwise_requests_total{api="/v1/chat/completions"'
    before, spent = s.metric(counted), 3000
    for pid in s.workers():
        old = s.workers()
        s.up.behave("slow", delay_s=0.1)
        replies = at_once(4, lambda: s.chat(key, "beta"))
        spent += sum(status == 200 for status, _, _ in replies) * 3000
        assert s.metric(counted) == before + 4
        before += 4
        until(lambda: not waiting_to_be_written(s))
        os.kill(pid, signal.SIGKILL)
        until(lambda old=old: len(s.workers()) == 2 and set(s.workers()) != set(old))
        until(lambda: s.metric("herdwise_workers ") == 2)
    assert s.metric("herdwise_worker_restarts_total") == 2
    assert s.metric(counted) == before, "what the dead had counted still counts"
    assert all("gamma" in s.models() for _ in range(12))
    s.up.behave("ok")
    kept = [s.chat(key, **{"x-herdwise-session": "mine"})[1]["model"] for _ in range(8)]
    assert kept == ["beta"] * 8
    found = s.send("GET", f"/admin/v1/keys/{key_id}")[1]["spending"][0]["spent_usd"]
    assert round(found * 1e9) == spent + 8 * 3000
    s.process.kill()
    until(lambda: not listens(s.url))  # without the process that started them, they end


def waiting_to_be_written(serving: Serving) -> bool:
    return serving.metric("herdwise_ledger_pending_decisions") > 0


def listens(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def test_what_no_worker_can_serve_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "herdwise.yaml"
    file.write_text("candidates: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]\nrouter: nowhere\n")
    script = Path(sys.executable).with_name("herdwise")
    ended = subprocess.run(
        [script, "serve", "--config", file, "--port", "0", "--workers", "2"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("nowhere") == 1
    assert "Traceback" not in ended.stderr


async def test_where_no_process_can_be_started_those_who_live_go_on_until_one_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from herdwise.serving.service import Settings
    from herdwise.serving.workers import Supervisor

    program, gone = tmp_path / "program", tmp_path / "gone"
    body = (
        "import socket, struct, sys, time, msgspec\n"
        "line = socket.socket(fileno=int(sys.argv[1]))\n"
        "told = msgspec.msgpack.encode({'asked': 'ready', 'body': {}})\n"
        "line.sendall(struct.pack('!I', len(told)) + told)\n"
        "time.sleep(600)\n"
    )
    program.write_text(f"#!{sys.executable}\n{body}")
    program.chmod(0o755)

    def read() -> Any:
        raise AssertionError("nobody reloads")

    ready = asyncio.Event()
    settings = Settings(host="127.0.0.1", port=0, workers=2)
    supervisor = Supervisor(settings, "", read, [str(program)], {}, lambda _facts: ready.set())
    listening = listen("127.0.0.1", 0)
    running = asyncio.create_task(supervisor._run(listening))
    async with asyncio.timeout(120):
        await ready.wait()
        first, other = (supervisor._alive[number].process for number in (0, 1))
        program.rename(gone)
        first.kill()
        while "cannot be started" not in caplog.text:  # noqa: ASYNC110 - it is said in the log alone
            await asyncio.sleep(0.02)
        assert not running.done()
        assert other.returncode is None
        gone.rename(program)
        while 0 not in supervisor._alive:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        assert supervisor._alive[0].process is not first
        supervisor._stop(signal.SIGTERM)
        assert await running == signal.SIGTERM
    listening.close()


async def test_a_worker_that_died_holds_nothing() -> None:
    from herdwise.core.errors import RequestError
    from herdwise.serving.keyring import Budget, Terms, VirtualKey
    from herdwise.serving.workers_meter import Till

    till, key = Till(), VirtualKey("k", "team", "hw-", 0.0, Terms(budgets=(Budget(1e-6, "day"),)))
    told = {"name": "team", "shown": "hw-", "created_at": 0.0, "terms": key.terms, "key_id": "k"}

    async def ask(question: str, body: Any, *, within_s: float | None = None) -> int:
        del question, body, within_s
        return 100

    at = time.time()
    one, two = till.handlers(1, ask), till.handlers(2, ask)
    body = {"key": told, "at": at, "nanos": 900, "tokens": 1, "most_nanos": 0}
    await one["reserve"](body)
    with pytest.raises(RequestError, match="spent or would be"):
        await two["reserve"](body)
    await till.release(1)
    assert (await two["reserve"](body)).nanos == 900
    assert await one["spent"]({"key": told, "budget": {"usd": 1e-6, "period": "day"}, "at": at}) == 100


async def test_what_a_worker_asked_for_as_it_died_is_not_held_either() -> None:
    from herdwise.serving.keyring import Budget, Terms, VirtualKey
    from herdwise.serving.meter import HOLD_S
    from herdwise.serving.workers_meter import Till

    till, key = Till(), VirtualKey("k", "team", "hw-", 0.0, Terms(budgets=(Budget(1e-6, "ever"),)))
    told = {"name": "team", "shown": "hw-", "created_at": 0.0, "terms": key.terms, "key_id": "k"}
    asked, died = asyncio.Event(), asyncio.Event()

    async def slow(question: str, body: Any, *, within_s: float | None = None) -> int:
        del question, body, within_s
        asked.set()
        await died.wait()
        return 0

    at = time.time()
    one, two = till.handlers(1, slow), till.handlers(2, slow)
    body = {"key": told, "at": at, "nanos": 900, "tokens": 1, "most_nanos": 0}
    late = asyncio.create_task(one["reserve"](body))
    async with asyncio.timeout(60):
        await asked.wait()
        await till.release(1)
        died.set()
        await late
    assert (await two["reserve"](body)).nanos == 900
    assert (await two["reserve"]({**body, "at": at + HOLD_S})).nanos == 900


async def test_a_worker_that_is_stuck_is_passed_over_then_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from herdwise.serving import workers_council
    from herdwise.serving.peer import Peer
    from herdwise.serving.service import Settings
    from herdwise.serving.workers_accept import Rota

    for name, value in (("PING_S", 0.01), ("SLOW_S", 0.1), ("STUCK_S", 120.0)):
        monkeypatch.setattr(workers_council, name, value)
    stuck = asyncio.Event()

    async def ping(_body: Any) -> None:
        while stuck.is_set():  # noqa: ASYNC110 - it hangs
            await asyncio.sleep(0.01)

    ours, theirs = socket.socketpair()
    intake, taken = socket.socketpair()
    intake.setblocking(False)
    there = Peer(*await asyncio.open_connection(sock=theirs), {"ping": ping})
    here = Peer(*await asyncio.open_connection(sock=ours), {})
    running = [asyncio.create_task(peer.run()) for peer in (there, here)]
    process = await asyncio.create_subprocess_exec("sleep", "600")
    listening = listen("127.0.0.1", 0)

    async def connected(within_s: float = 60.0) -> bool:
        """Whether a connection is handed over; a new one comes in."""
        with socket.create_connection(listening.getsockname(), timeout=5):
            taken.settimeout(within_s)
            try:
                _, files, _, _ = await asyncio.to_thread(socket.recv_fds, taken, 1, 1)
            except TimeoutError:
                return False
            for file in files:
                os.close(file)
            return True

    council = workers_council.Council("text", Settings(), lambda: ("text", Settings()))
    council.rota = Rota(listening)
    worker = workers_council.Worker(0, "text", process, intake)
    worker.peer = here
    await council.join(worker)
    watching = asyncio.create_task(council.watch(worker))
    assert await connected()
    stuck.set()
    async with asyncio.timeout(60):
        while council.rota._workers:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert not await connected(0.3)
    stuck.clear()
    assert await connected(), "the one that waited"
    monkeypatch.setattr(workers_council, "STUCK_S", 0.5)
    stuck.set()
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    await watching
    stuck.clear()
    council.rota.end()
    for peer in (there, here):
        peer.close()
    await asyncio.gather(*running)
    intake.close()
    taken.close()


def test_numbers_of_workers_add_up_and_states_do_not() -> None:
    from herdwise.serving.workers_metrics import Totals

    one = (
        "# HELP x_total How many, in all.\n# TYPE x_total counter\n"
        'x_total{a="b c"} 2\nx_total{a="d"} 1\n'
        "# HELP h_s Seconds.\n# TYPE h_s histogram\n"
        'h_s_bucket{le="0.5"} 1\nh_s_bucket{le="+Inf"} 2\nh_s_sum 0.75\nh_s_count 2\n'
        "# HELP herdwise_breaker_state State.\n# TYPE herdwise_breaker_state gauge\n"
        'herdwise_breaker_state{candidate="a",state="open"} 1\n'
        "# HELP open Open.\n# TYPE open gauge\nopen 3\n"
    )
    other = (
        '# HELP x_total How many, in all.\n# TYPE x_total counter\nx_total{a="e"} 7\nx_total{a="b c"} 40\n'
    )
    totals = Totals()
    for text in (one, one, other):
        totals.add(text)
    lines = totals.text().splitlines()
    assert 'x_total{a="b c"} 44' in lines
    assert 'x_total{a="e"} 7' in lines
    assert [line for line in lines if line.startswith("h_s") and "0.5" not in line] == [
        'h_s_bucket{le="+Inf"} 4',
        "h_s_sum 1.5",
        "h_s_count 4",
    ]
    assert 'herdwise_breaker_state{candidate="a",state="open"} 1' in lines
    assert "open 6" in lines
    assert sum(line.startswith("# TYPE x_total") for line in lines) == 1
    lasting = totals.lasting()
    assert "x_total" in lasting
    assert "open" not in lasting


async def test_the_line_between_processes_carries_answers_errors_and_the_others_end() -> None:
    import socket

    from herdwise.core.errors import HerdwiseError, RequestError
    from herdwise.serving.peer import GoneError, Peer

    async def echo(body: Any) -> Any:
        return body

    async def refuse(body: Any) -> Any:
        raise RequestError("no.", status=429, code="c", retry_after_s=2.0, remedy=str(body))

    async def hang(body: Any) -> Any:
        await asyncio.sleep(60)

    ends = socket.socketpair()
    peers = [
        Peer(*await asyncio.open_connection(sock=end), {"echo": echo, "refuse": refuse, "hang": hang})
        for end in ends
    ]
    running = [asyncio.create_task(peer.run()) for peer in peers]
    assert await asyncio.gather(*(peers[i % 2].ask("echo", [i, b"x", None]) for i in range(50))) == [
        [i, b"x", None] for i in range(50)
    ]
    with pytest.raises(RequestError) as refused:
        await peers[0].ask("refuse", "later")
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, "c", 2.0)
    assert str(refused.value) == "no. later"
    with pytest.raises(HerdwiseError, match="unheard of"):
        await peers[0].ask("unheard of")
    with pytest.raises(GoneError, match="does not answer"):
        await peers[0].ask("hang", within_s=0.05)
    waiting = asyncio.create_task(peers[0].ask("hang"))
    await asyncio.sleep(0)
    peers[1].close()
    with pytest.raises(GoneError, match="has ended"):
        await waiting
    with pytest.raises(GoneError):
        await peers[0].ask("echo")
    await asyncio.gather(*running)
