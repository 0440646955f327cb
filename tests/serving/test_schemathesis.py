"""The OpenAPI document against a real ``herdwise serve``: requests by it and against it, in any number.

``HERDWISE_FUZZ_EXAMPLES`` (4 by default) says how many of each kind are drawn per operation.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from herdwise.serving.openapi import document

EXAMPLES = int(os.environ.get("HERDWISE_FUZZ_EXAMPLES", "4"))
KEY, ADMIN = "a-key-of-the-config", "the-key-of-the-admin"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
SCHEMA = schemathesis.openapi.from_dict(document())
SAID: dict[str, Any] = {"role": "assistant", "content": "Fine."}
USED = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


class Upstream(BaseHTTPRequestHandler):
    """Answers whatever it is asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind, frame = "application/json", {"id": "x", "created": 1, "model": "up"}
        end = {"index": 0, "finish_reason": "stop"}
        if self.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
            told = json.dumps({"object": "list", "data": [vector], "model": "up", "usage": USED})
        elif asked.get("stream") is True:
            kind = "text/event-stream"
            chunk = {
                **frame,
                "object": "chat.completion.chunk",
                "choices": [{**end, "delta": SAID}],
                "usage": USED,
            }
            told = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        else:
            whole = {
                **frame,
                "object": "chat.completion",
                "choices": [{**end, "message": SAID}],
                "usage": USED,
            }
            told = json.dumps(whole)
        self.say(told, kind)

    def do_GET(self) -> None:
        self.say(json.dumps({"object": "list", "data": [{"id": "up"}]}), "application/json")

    def say(self, told: str, kind: str) -> None:
        data = told.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint's."""
    folder = tmp_path_factory.mktemp("serve")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    reserved = socket.socket()  # until the endpoint has ended: nobody else is given the port
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    config = {
        "candidates": [
            {
                "name": "a",
                "base_url": f"http://127.0.0.1:{server.server_port}/v1",
                "model": "up",
                "quality": 0.5,
                "tools": True,
                "json_schema": True,
                "context_tokens": 100_000,
                "modalities": ["text", "image", "audio", "video", "file"],
                "price": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2},
            }
        ],
        "server": {"port": port, "api_keys": [KEY], "admin_key": ADMIN},
        "cache": {"kind": "exact"},
    }
    (folder / "herdwise.yaml").write_text(json.dumps(config))  # JSON is YAML
    endpoint = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        command = [str(Path(sys.executable).with_name("herdwise")), "serve"]
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as serving:
            try:
                _until_ready(endpoint, serving)
                yield endpoint
            finally:
                serving.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    serving.wait(60)
                serving.kill()
                server.shutdown()
                thread.join(60)
                server.server_close()
                reserved.close()
    said = (folder / "log").read_text()
    assert serving.returncode == 0, said[-2000:]
    assert "Traceback" not in said, said[-4000:]


def _until_ready(endpoint: str, serving: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and serving.poll() is None:
        try:
            with urllib.request.urlopen(f"{endpoint}/healthz", timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("herdwise serve did not start")


def checked(case: Any, url: str, checks: Any = None) -> Any:
    """The answer to a case, once it has been held against the document."""
    key = ADMIN if case.path.startswith("/admin") else KEY
    headers = {name: value for name, value in (case.headers or {}).items() if name.lower() != "x-api-key"}
    case.headers = {**headers, "Authorization": f"Bearer {key}"}
    case.cookies = {}
    answer = case.call(base_url=url, timeout=60)
    case.validate_response(answer, checks=CHECKS if checks is None else checks)
    return answer


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_the_answer_is_as_the_document_says(case: Any, url: str) -> None:
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "auto" if len(case.body["model"]) % 3 else "a"
    if isinstance(case.body, dict) and isinstance(case.body.get("herdwise"), dict):
        case.body["herdwise"].pop("max_seconds", None)  # a request that gives itself no time ends in 504
    answer = checked(case, url)
    assert answer.status_code < 500


def operation(method: str, path: str, **parts: Any) -> Any:
    return SCHEMA[path][method].Case(**parts)


USER = {"role": "user", "content": "Hello"}
CHATS = {
    "/v1/chat/completions": {"model": "auto", "messages": [USER]},
    "/v1/responses": {"model": "a", "input": "Hello"},
    "/v1/messages": {"model": "auto/single", "messages": [USER], "max_tokens": 9},
    "/v1/completions": {"model": "auto", "prompt": "Hello"},
}


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_decision_can_be_followed_by_the_document(path: str, stream: bool, url: str) -> None:
    body = {**CHATS[path], "stream": stream}
    answer = checked(operation("POST", path, body=body, media_type="application/json"), url)
    assert answer.status_code == 200
    assert answer.headers["content-type"][0].startswith("text/event-stream") is stream
    name = answer.headers["x-herdwise-decision-id"][0]
    place = {"decision_id": name}
    graded = {"decision_id": name, "score": 1}
    case = operation("POST", "/v1/feedback", body=graded, media_type="application/json")
    assert checked(case, url).status_code == 200
    found = checked(operation("GET", "/v1/decisions/{decision_id}", path_parameters=place), url)
    assert found.status_code == 200
    assert found.json()["feedback"][0]["score"] == 1


def test_a_key_can_be_made_changed_and_revoked_by_the_document(url: str) -> None:
    terms = {"budgets": [{"usd": 1, "period": "day"}], "requests_per_minute": 5}
    named = {"name": "team", "terms": terms}
    made = checked(operation("POST", "/admin/v1/keys", body=named, media_type="application/json"), url)
    assert made.status_code == 200
    place = {"key_id": made.json()["key_id"]}
    one = "/admin/v1/keys/{key_id}"
    changes = {"body": {"name": "crew"}, "media_type": "application/json"}
    assert checked(operation("PATCH", one, path_parameters=place, **changes), url).json()["name"] == "crew"
    assert checked(operation("GET", one, path_parameters=place), url).json()["spending"][0]["spent_usd"] == 0
    assert checked(operation("DELETE", one, path_parameters=place), url).json()["revoked_at"] > 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/console/examples.json",
        "/admin/v1/keys",
    ],
)
def test_what_is_only_read_is_as_the_document_says(path: str, url: str) -> None:
    assert checked(operation("GET", path), url).status_code == 200
