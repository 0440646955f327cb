"""No secret stands in logs, errors, answers, metrics, traces or the ledger, whatever goes wrong."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk.trace", reason="the extra telemetry is not installed")

SECRETS = {
    "server.api_keys": "sk-client-5f1e0a7b9c",
    "server.admin_key": "sk-admin-3d8c2b6a1f",
    "candidate api_key": "sk-upstream-77aa41be02",
    "candidate headers": "team-token-9e3f5d7c",
    "ledger password": "pg-password-c0ffee42",
    "cache password": "redis-password-baddad17",
    "telemetry headers": "otlp-token-1a2b3c4d5e",
    "a guess": "sk-guess-0badcafe99",
}
PROMPT = "a-private-question-6c1d"


class Running:
    """A real ``herdwise serve``; all that it says to anybody is kept."""

    def __init__(self, file: Path, log: Path) -> None:
        command = [
            Path(sys.executable).with_name("herdwise"),
            "serve",
            "--port",
            "0",
            "--json",
            "--config",
            file,
        ]
        self.said: list[bytes] = []
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors)
        told = b""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told += line
            if line.startswith(b"}"):
                break
        assert told, log.read_text()
        self.said.append(told)
        self.url = json.loads(told)["url"]

    def send(self, method: str, path: str, key: str, body: Any = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, head, raw = answer.status, str(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, head, raw = error.code, str(error.headers), error.read()
        self.said += [head.encode(), raw]
        return status, raw

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        self.said.append(out)


@pytest.fixture
def collector() -> Iterator[Any]:
    """An OTLP receiver that keeps what it got, and which refuses the first."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(401 if len(got) == 1 else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()
    thread.join()


def config(tmp_path: Path, up: Any, closed_port: int, collector: str, ledger: str) -> Path:
    file = tmp_path / "herdwise.yaml"
    reach = f"api_key: {SECRETS['candidate api_key']}, headers: {{x-team: {SECRETS['candidate headers']}}}"
    file.write_text(
        "candidates:\n"
        f"  - {{name: good, base_url: '{up.base_url}', quality: 0.9, {reach}}}\n"
        f"  - {{name: away, base_url: 'http://127.0.0.1:{closed_port}/v1', quality: 0.1, {reach}}}\n"
        "server:\n"
        f"  api_keys: [{SECRETS['server.api_keys']}]\n"
        f"  admin_key: {SECRETS['server.admin_key']}\n"
        "  log_format: json\n"
        "  log_level: DEBUG\n"
        f"ledger: {{url: '{ledger}', store_texts: false}}\n"
        "cache:\n"
        "  kind: exact\n"
        "  store: redis\n"
        f"  url: redis://:{SECRETS['cache password']}@127.0.0.1:{closed_port}/0\n"
        "telemetry:\n"
        f"  endpoint: {collector}\n"
        f"  headers: {{x-key: {SECRETS['telemetry headers']}}}\n"
    )
    return file


def misuse(e: Running, up: Any, file: Path) -> str:
    """All that may go wrong; the virtual key that was made."""
    client, admin = SECRETS["server.api_keys"], SECRETS["server.admin_key"]
    status, raw = e.send("POST", "/admin/v1/keys", admin, {"name": "team"})
    assert status == 200
    virtual = str(json.loads(e.said.pop())["key"])  # told here and nowhere else
    chat = "/v1/chat/completions"
    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}
    whole_and_streamed = (body, {**body, "stream": True})
    for path in (chat, "/v1/decisions/none", "/metrics", "/admin/v1/keys"):
        assert e.send("GET" if path != chat else "POST", path, SECRETS["a guess"], body)[0] == 401
    for key in (client, virtual):
        for each in whole_and_streamed:
            assert e.send("POST", chat, key, each)[0] == 200
            assert e.send("POST", chat, key, {**each, "model": "away"})[0] == 502
    for behaviour in (
        "key_refused",
        "server_error",
        "reset_before_headers",
        "truncated_json",
        "malformed_sse",
    ):
        up.behave(behaviour)
        for path, each in ((chat, body), (chat, whole_and_streamed[1]), ("/v1/messages", body)):
            status, raw = e.send("POST", path, virtual, each)
            assert status >= 500 or b"error" in raw, (behaviour, status, raw)
    up.behave("ok")
    assert e.send("POST", chat, client, {**body, "model": 5})[0] == 400
    good = file.read_text()
    file.write_text(good.replace("quality: 0.9", "quality: 9"))
    assert e.send("POST", "/admin/v1/reload", admin)[0] == 422
    file.write_text(good)
    assert e.send("POST", "/admin/v1/reload", admin)[0] == 200
    assert e.send("GET", "/metrics", client)[0] == 200
    assert e.send("GET", "/readyz", client)[0] == 200
    return virtual


def leaks(said: dict[str, bytes], secrets: dict[str, str]) -> list[str]:
    return [
        f"{name} in {place}"
        for place, text in said.items()
        for name, one in secrets.items()
        if one.encode() in text
    ]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Running]]:
    running: list[Running] = []

    def start(file: Path) -> Running:
        running.append(Running(file, tmp_path / "log"))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate(timeout=20)


def test_no_secret_and_no_prompt_is_told_to_anybody(
    serve: Any, threaded_upstream: Any, closed_port: int, collector: Any, tmp_path: Path
) -> None:
    url, traces = collector
    up = threaded_upstream(models=("good",))
    file = config(tmp_path, up, closed_port, url, f"sqlite:///{tmp_path}/ledger.db")
    e = serve(file)
    virtual = misuse(e, up, file)
    deadline = time.monotonic() + 60
    while len(traces) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    e.stop()
    lines = (tmp_path / "log").read_text().splitlines()
    said = {
        "the log": "\n".join(lines).encode(),
        "an answer": b"\n".join(e.said),
        "a trace": b"\n".join(traces),
        "the ledger": b"".join(part.read_bytes() for part in tmp_path.glob("ledger.db*")),
    }
    assert leaks(said, {**SECRETS, "virtual key": virtual}) == []
    assert (
        leaks({place: said[place] for place in ("the log", "a trace", "the ledger")}, {"prompt": PROMPT})
        == []
    )
    sent = up.requests[0].headers  # they were in use all the same
    assert sent["authorization"] == f"Bearer {SECRETS['candidate api_key']}"
    assert sent["x-team"] == SECRETS["candidate headers"]
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        known = {row[0] for row in connection.execute("select query_id from decisions")}
    told = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    of_requests = [line for line in told if line["message"] == "chat"]
    assert len(of_requests) == len(known)
    assert {line["decision_id"] for line in of_requests} == known
    assert all(len(line["trace_id"]) == 32 for line in of_requests)


def test_a_databases_password_is_in_no_error_when_the_database_goes_away(
    serve: Any, threaded_upstream: Any, closed_port: int, collector: Any, postgres_url: str, tmp_path: Path
) -> None:
    from sqlalchemy import create_engine, text

    name = f"secrets_{tmp_path.name[-12:].replace('-', '_').lower()}"
    admin = create_engine(f"{postgres_url}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    up = threaded_upstream(models=("good",))
    ledger = postgres_url.replace("postgres@", f"postgres:{SECRETS['ledger password']}@") + f"/{name}"
    e = serve(config(tmp_path, up, closed_port, collector[0], ledger))
    client, body = (
        SECRETS["server.api_keys"],
        {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]},
    )
    assert e.send("POST", "/v1/chat/completions", client, body)[0] == 200
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()
    assert e.send("POST", "/v1/chat/completions", client, body)[0] == 200
    e.send("GET", "/v1/decisions/none", client)
    deadline = time.monotonic() + 60
    while b"the ledger cannot be written" not in (tmp_path / "log").read_bytes():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    e.stop()
    said = {"the log": (tmp_path / "log").read_bytes(), "an answer": b"\n".join(e.said)}
    assert leaks(said, SECRETS) == []
