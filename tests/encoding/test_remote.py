from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest

from herdwise.core.errors import (
    BadResponseError,
    ConfigError,
    ConnectError,
    RateLimitError,
    TimeoutError_,
    UpstreamStatusError,
)
from herdwise.encoding.remote import RemoteEncoder

#: What the server does with one request: status, headers, JSON or bytes; or "hang", or "drop".
Reply = tuple[int, dict[str, str], Any] | str


class Server(ThreadingHTTPServer):
    """Follows ``script`` request by request, then answers with embeddings; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, script: list[Reply], embed: Callable[[str], list[float]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.embed = script, embed
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.n_connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def encoder(self, **options: Any) -> RemoteEncoder:
        return RemoteEncoder(**{"base_url": self.url, "model": "embed-1", **options})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.n_connections += 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append({"path": self.path, **body})
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        reply: Reply = self.server.script.pop(0) if self.server.script else "embed"
        if reply == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if reply == "hang":
            self.connection.recv(1)  # until the client has given up
            self.close_connection = True
            return
        if reply == "embed":
            rows = [
                {"index": i, "embedding": self.server.embed(text)} for i, text in enumerate(body["input"])
            ]
            reply = (200, {}, {"data": rows})
        status, headers, content = reply
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(payload)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: object) -> None:
        """Tests read no access log."""


@contextmanager
def serving(*script: Reply, embed: Callable[[str], list[float]] | None = None) -> Iterator[Server]:
    server = Server(list(script), embed or (lambda text: [float(len(text)), 1.0, -2.0]))
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_vectors_come_in_the_order_of_the_texts_and_have_length_one() -> None:
    backwards = {"data": [{"index": 1, "embedding": [0, 3, 4]}, {"index": 0, "embedding": [5, 0, 0]}]}
    with serving((200, {}, backwards)) as server:
        np.testing.assert_allclose(server.encoder().encode(["a", "b"]), [[1, 0, 0], [0, 0.6, 0.8]])


def test_many_texts_go_in_batches_over_one_connection() -> None:
    with serving() as server:
        vectors = server.encoder(batch_size=3).encode([f"text {i}" for i in range(8)])
        assert [len(asked["input"]) for asked in server.asked] == [3, 3, 2]
        assert server.n_connections == 1
        assert server.asked[0]["model"] == "embed-1"
        assert server.asked[0]["path"] == "/v1/embeddings"
    assert vectors.shape == (8, 3)


def test_an_empty_text_is_the_zero_vector_and_is_not_sent() -> None:
    with serving() as server:
        vectors = server.encoder().encode(["", "word", " \n"])
        assert [asked["input"] for asked in server.asked] == [["word"]]
    assert vectors.any(axis=1).tolist() == [False, True, False]


def test_the_length_of_a_vector_is_asked_for_once_when_nobody_says() -> None:
    with serving() as server:
        encoder = server.encoder()
        assert encoder.encode([]).shape == (0, 3)
        assert encoder.n_features == 3
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_asked_again(status: int) -> None:
    with serving((status, {"retry-after": "0"}, {}), (status, {"retry-after": "0.01"}, {})) as server:
        assert server.encoder().encode(["a"]).shape == (1, 3)
        assert len(server.asked) == 3


def test_a_lasting_rate_limit_is_an_error_with_url_and_status() -> None:
    with serving(*[(429, {"retry-after": "0"}, {"error": "slow down"})] * 3) as server:
        with pytest.raises(RateLimitError, match=rf"{server.url}/embeddings .*429.*slow down") as caught:
            server.encoder(attempts=3).encode(["a"])
        assert caught.value.retry_after_s == 0
        assert len(server.asked) == 3


@pytest.mark.parametrize(("status", "remedy"), [(401, "api_key"), (404, "model"), (400, "")])
def test_a_lasting_refusal_is_not_asked_again(status: int, remedy: str) -> None:
    with serving((status, {}, {"error": {"message": "no"}})) as server:
        with pytest.raises(UpstreamStatusError, match=str(status)) as caught:
            server.encoder().encode(["a"])
        assert remedy in caught.value.remedy
        assert len(server.asked) == 1


def test_the_key_is_sent_but_stands_neither_in_state_nor_in_messages() -> None:
    with serving((401, {}, {"error": "bad key sk-secret"})) as server:
        encoder = server.encoder(api_key="sk-secret")
        with pytest.raises(UpstreamStatusError) as caught:
            encoder.encode(["a"])
        assert server.headers[0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in json.dumps(encoder.state()[0])
    assert "sk-secret" not in repr(encoder)


def test_without_a_key_no_authorization_is_sent() -> None:
    with serving() as server:
        server.encoder().encode(["a"])
        assert "authorization" not in server.headers[0]


def test_a_lost_connection_is_opened_again() -> None:
    with serving("embed", "drop") as server:
        encoder = server.encoder()
        encoder.encode(["a"])
        assert encoder.encode(["b"]).shape == (1, 3)
        assert server.n_connections == 2


def test_an_unreachable_endpoint_is_named(closed_port: int) -> None:
    encoder = RemoteEncoder(base_url=f"http://127.0.0.1:{closed_port}/v1", model="m", attempts=1)
    with pytest.raises(
        ConnectError, match=rf"http://127.0.0.1:{closed_port}/v1/embeddings cannot be reached"
    ):
        encoder.encode(["a"])


def test_an_endpoint_that_does_not_answer_in_time_is_named() -> None:
    with serving("hang") as server, pytest.raises(TimeoutError_, match=r"within 0\.1 s"):
        server.encoder(timeout_s=0.1).encode(["a"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<html>", "did not answer with embeddings"),
        ({"error": "odd"}, "did not answer with embeddings"),
        ({"data": []}, "0 embeddings for 1 texts"),
        ({"data": [{"index": 0, "embedding": []}]}, "0 features"),
        ({"data": [{"index": 4, "embedding": [1.0]}]}, "1 embeddings for 1 texts"),
        ({"data": [{"index": 0, "embedding": [1.0, 2.0]}]}, "2 features, not 3"),
        ({"data": [{"index": 0, "embedding": [1e300, 2.0, 3.0]}]}, "not finite"),
    ],
)
def test_an_answer_that_is_not_embeddings_is_refused(content: Any, complaint: str) -> None:
    with serving((200, {}, content)) as server, pytest.raises(BadResponseError, match=complaint):
        server.encoder(n_features=3).encode(["a"])


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://host/v1",
        "host/v1",
        "http://",
        "http://host:99999/v1",
        "http://u:hush@host/v1",
        "http://host/v1?k=hush",
    ],
)
def test_an_address_that_cannot_be_asked_or_holds_a_secret_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteEncoder(base_url=base_url, model="m")
    assert "hush" not in str(caught.value)


def test_what_belongs_to_a_machine_is_set_after_loading_and_nothing_else():
    encoder = RemoteEncoder(base_url="http://127.0.0.1:9/v1", model="m", n_features=4)
    assert encoder.localise(api_key="k").api_key == "k"
    assert "k" not in str(encoder.state())
    with pytest.raises(ConfigError, match=r"no local option 'base_url'.*api_key, timeout_s"):
        encoder.localise(base_url="http://elsewhere/v1")
