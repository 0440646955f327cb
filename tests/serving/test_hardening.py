"""What no well-meaning client sends: it is answered, refused or hung up on, and harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.app import App
from herdwise.serving.connections import Protocol
from herdwise.serving.ledger import Ledger
from herdwise.serving.origins import Origins, check_origins
from herdwise.serving.process import Server
from herdwise.serving.service import Service, Settings
from herdwise.transport.client import HttpClient
from herdwise.transport.content import MOST_DEPTH

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}).encode()
LENGTH = f"content-length: {len(BODY)}"


class Quiet(Server):
    """Leaves the test runner's signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Running:
    """An endpoint as ``herdwise serve`` has it, over one upstream."""

    port: int
    upstream: Any
    dispatcher: Any

    async def told(self, sent: bytes, *, within_s: float = 60.0) -> bytes:
        """What it says to these bytes until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            async with asyncio.timeout(within_s):
                with contextlib.suppress(ConnectionError):
                    writer.write(sent)
                    await writer.drain()
                    while data := await reader.read(65536):
                        answer += data
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        return answer

    async def ask(
        self, *lines: str, body: bytes = BODY, first: str = f"POST {CHAT} HTTP/1.1"
    ) -> tuple[int, bytes]:
        """Status and all bytes of the answer to one request with these header lines."""
        named = "" if any(line.lower().startswith("host:") for line in lines) else "host: localhost\r\n"
        head = f"{first}\r\n{named}connection: close\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
        answer = await self.told(head.encode("latin-1") + body)
        return int(answer.split(b" ", 2)[1]), answer

    async def get(self, path: str, *lines: str) -> tuple[int, bytes]:
        return await self.ask(*lines, body=b"", first=f"GET {path} HTTP/1.1")


@pytest.fixture
async def serving(
    faulty_upstream: Callable[..., Awaitable[Any]], tmp_path: Any
) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Running:
            upstream = await faulty_upstream(models=("up",))
            client = HttpClient()
            herd = Herd([Candidate("a", quality=0.5, tools=True, modalities=frozenset({"text", "image"}))])
            backends = {"a": OpenAICompatible("a", upstream.base_url, "up", client=client)}
            service = Service(
                DeclaredRouter(herd),
                backends,
                {"single": Single()},
                ledger=Ledger(f"sqlite:///{tmp_path}/ledger.db"),
                settings=Settings(**{"client_timeout_s": 2.0, "drain_s": 0.0, **settings}),
            )
            app = App(service)
            listening = socket.create_server(("127.0.0.1", 0))
            config = uvicorn.Config(
                app,
                http=Protocol,
                log_config=None,
                access_log=False,
                ws="none",
                lifespan="on",
                server_header=False,
            )
            server = Quiet(config, app, lambda: None)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)

            async def stop() -> None:
                server.should_exit = True
                await running
                listening.close()
                await client.close()

            stack.push_async_callback(stop)
            return Running(listening.getsockname()[1], upstream, app.reloading.current.dispatcher)

        yield start


CHUNKED = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
SMUGGLED = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
MANGLED: list[tuple[list[str], bytes]] = [
    ([LENGTH, LENGTH], BODY),
    ([LENGTH, "content-length: 5"], BODY),
    ([LENGTH, "transfer-encoding: chunked"], SMUGGLED),
    (["transfer-encoding: xchunked"], CHUNKED),
    (["transfer-encoding: chunked, identity"], CHUNKED),
    (["transfer-encoding: chunked", "transfer-encoding: chunked"], SMUGGLED[:-20]),
    (["transfer-encoding: chunked"], b"zz\r\n"),
    (["transfer-encoding: chunked"], b"ffffffffffffffffff\r\na"),
    (["content-length: 99999999999999999999999"], b""),
    (["content-length: -5"], BODY),
    (["content-length: +5"], b"12345"),
    (["x-a: b\r\n c", LENGTH], BODY),
    (["x-a : b", LENGTH], BODY),
    (["x-a: b\0c", LENGTH], BODY),
    (["x-a: b\rx-b: c", LENGTH], BODY),
    (["host: localhost", "host: localhost", LENGTH], BODY),
]


async def test_requests_that_two_servers_could_read_differently_are_refused_and_end_the_connection(
    serving: Any,
) -> None:
    e = await serving()
    for lines, body in MANGLED:
        status, answer = await e.ask(*lines, body=body)
        assert status == 400, lines
        assert answer.count(b"HTTP/1.1 ") == 1, lines
    assert e.upstream.bodies == []


async def test_a_body_may_come_in_chunks_but_not_packed(serving: Any) -> None:
    e = await serving()
    assert (await e.ask("transfer-encoding: chunked", body=CHUNKED))[0] == 200
    for line in ("content-encoding: gzip", "content-encoding: identity, br"):
        status, answer = await e.ask(line, LENGTH)
        assert (status, b"unsupported_content_encoding" in answer) == (415, True)
    assert (await e.ask("transfer-encoding: gzip, chunked", body=CHUNKED))[0] == 415
    assert len(e.upstream.bodies) == 1


async def test_a_stated_length_that_is_too_short_or_too_long_is_never_waited_for_without_end(
    serving: Any,
) -> None:
    e = await serving()
    status, answer = await e.ask("content-length: 5")
    assert (status, b"invalid_json" in answer) == (400, True)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(BODY) + 9}\r\n\r\n"
    assert await e.told(head.encode() + BODY) == b""
    assert e.upstream.bodies == []


async def test_requests_in_a_row_are_answered_in_order(serving: Any) -> None:
    e = await serving()
    paths = ["/healthz", "/v1/models", "/nowhere"] * 100
    asked = "".join(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n" for path in paths)
    last = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    answer = await e.told((asked + last).encode())
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 404] * 100 + [200]


async def test_a_wish_for_another_protocol_is_ignored_and_its_body_read(serving: Any) -> None:
    e = await serving()
    wish = ("connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    head = "\r\n".join([f"POST {CHAT} HTTP/1.1", "host: localhost", *wish, LENGTH]).encode() + b"\r\n\r\n"
    end = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    answer = await e.told(head + BODY + end)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert len(e.upstream.bodies) == 1
    about = json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": "\r\nUpgrade: a"}]}
    ).encode()
    assert (await e.ask(f"content-length: {len(about)}", body=about))[0] == 200
    assert e.upstream.bodies[-1]["messages"][0]["content"] == "\r\nUpgrade: a"


async def test_more_connections_than_there_may_be_are_told_so(serving: Any) -> None:
    e = await serving(max_connections=3, client_timeout_s=60.0)
    held = [await asyncio.open_connection("127.0.0.1", e.port) for _ in range(3)]
    answer = await e.told(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503") or answer == b""  # a reset may outrun the word
    for _, writer in held:
        writer.close()
    health = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    async with asyncio.timeout(60):
        while not (await e.told(health)).startswith(b"HTTP/1.1 200"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


PLACES = [
    '"x": %s',
    '"messages": [{"role": "user", "content": "Hi", "x": %s}]',
    '"tools": [%s]',
    '"herdwise": %s',
]


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/v1/completions"])
async def test_json_that_is_nested_deeply_is_refused_and_blames_no_candidate(serving: Any, path: str) -> None:
    e = await serving()
    for depth in (MOST_DEPTH, 940, 960, 970, 980, 990, 100_000):
        for place in PLACES[: 4 if depth in (MOST_DEPTH, 980) else 1]:
            deep = place % ("[" * depth + "]" * depth)
            said = '"messages": [{"role": "user", "content": "Hi"}], "input": "Hi", "prompt": "Hi"'
            body = f'{{"model": "auto", {said}, "max_tokens": 5, {deep}}}'.encode()
            status, answer = await e.ask(
                f"content-length: {len(body)}", body=body, first=f"POST {path} HTTP/1.1"
            )
            assert (status, b"nested" in answer) == (400, True)
    assert e.upstream.bodies == []
    assert e.dispatcher.health.state("a") == "closed"


async def test_numbers_that_no_machine_counts_by_are_refused_or_passed_on(serving: Any) -> None:
    e = await serving()
    said = b'"messages": [{"role": "user", "content": "Hi"}]'
    for number in (b"1e999", b"-1e999", b"NaN", b"9" * 5000, b"9" * 30, b"18446744073709551616", b"1e-999"):
        for field in (
            b'"temperature": %s',
            b'"max_tokens": %s',
            b'"herdwise": {"max_seconds": %s}',
            b'"seed": %s',
        ):
            body = b'{"model": "auto", %s, %s}' % (said, field % number)
            status, _ = await e.ask(f"content-length: {len(body)}", body=body)
            assert status in (200, 400, 422), (number, field)
    assert e.dispatcher.health.state("a") == "closed"


async def test_of_a_key_that_is_given_twice_the_last_holds_for_us_and_for_the_candidate(serving: Any) -> None:
    e = await serving()
    twice = BODY.replace(b'"model": "auto"', b'"user": "x", "model": "nobody", "model": "auto", "user": "y"')
    status, _ = await e.ask(f"content-length: {len(twice)}", body=twice)
    assert status == 200
    assert e.upstream.bodies[-1] | {"messages": None} == {"model": "up", "user": "y", "messages": None}


PATHS = [
    *(
        "/v1/decisions/..%2f..%2fetc%2fpasswd",
        "/v1/decisions/%00",
        "/v1/decisions/%2e%2e",
        "/v1/decisions/a%0d%0ab",
    ),
    *("/v1/models/../../admin/v1/keys", "/v1/models/%00%ff", "/v1/models/..%2f..%2fadmin", "/v1/models/%"),
    *(
        "/console/%2e%2e%2fapp.js",
        "/console/../../pyproject.toml",
        "//v1/models",
        "/v1//models",
        "/./v1/models",
    ),
    *("/v1/models;a=b", "/v1/feedback/", "/V1/MODELS", "/v1/models%20", "/healthz%2f", "/\\admin"),
]


async def test_tricks_with_paths_lead_nowhere(serving: Any) -> None:
    e = await serving()
    for path in PATHS:
        status, answer = await e.get(path)
        assert (status, b'"error"' in answer) == (404, True), path


async def test_tricks_with_paths_open_no_door_that_a_key_shuts(serving: Any) -> None:
    e = await serving(api_keys=("a-key-of-the-config",), admin_key="the-admin-key")
    doors = ["/admin/v1/keys", "/%61dmin/v1/keys", "/admin/v1/keys/..", "/admin/v1/keys/%2e%2e", "/v1/models"]
    for path in [*doors, "http://localhost/admin/v1/keys", "/metrics", "/v1/decisions/x"]:
        assert (await e.get(path))[0] == 401, path
    assert (await e.get("/admin/v1/keys", "authorization: Bearer a-key-of-the-config"))[0] == 401
    assert (await e.get("/admin/v1/keys", "authorization: Bearer the-admin-key"))[0] == 200


async def test_a_request_cannot_name_an_upstream(serving: Any, faulty_upstream: Any) -> None:
    e = await serving()
    other = await faulty_upstream(models=("other",))
    url = other.base_url
    named = {
        "base_url": url,
        "api_base": url,
        "url": url,
        "proxy": url,
        "api_key": "k",
        "custom_llm_provider": url,
    }
    picture = {"type": "image_url", "image_url": {"url": f"{url}/secret.png"}}
    said = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, picture]}]
    body = json.dumps({"model": "auto", "messages": said, "extra_headers": {"host": url}, **named}).encode()
    lines = [
        f"content-length: {len(body)}",
        f"x-forwarded-host: {url}",
        f"x-original-url: {url}",
        f"x-base-url: {url}",
    ]
    assert (await e.ask(*lines, body=body))[0] == 200
    # They are fields like any others, which the candidate may make of what it will.
    assert e.upstream.bodies[-1] == {**json.loads(body), "model": "up"}
    assert "x-forwarded-host" not in e.upstream.requests[-1].headers
    for model in (url, "auto/" + url, "openai/gpt", "../a", "a\0", "a/../b"):
        wrong = json.dumps({"model": model, "messages": said}).encode()
        assert (await e.ask(f"content-length: {len(wrong)}", body=wrong))[0] == 404
    for goal in ({"base_url": url}, {"candidates": [url]}, {"policy": url}, {"generalist": url}):
        wrong = json.dumps({"model": "auto", "messages": said, "herdwise": goal}).encode()
        assert (await e.ask(f"content-length: {len(wrong)}", body=wrong))[0] == 400
    proxied = await e.ask(LENGTH, first=f"POST {url}/chat/completions HTTP/1.1")
    assert proxied[0] == 200  # by the path alone, at our own upstream
    assert (await e.told(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: localhost\r\n\r\n")).startswith(
        b"HTTP/1.1 400"
    )
    assert other.requests == [] == other.bodies


async def test_without_keys_no_web_page_from_elsewhere_gets_anything_done(serving: Any) -> None:
    e = await serving()
    own = f"127.0.0.1:{e.port}"
    for origin in (
        "https://evil.example",
        "http://localhost:1",
        "null",
        "file://",
        f"http://{own}.evil.example",
    ):
        status, answer = await e.ask(f"host: {own}", f"origin: {origin}", LENGTH)
        assert (status, b"origin_not_allowed" in answer) == (403, True), origin
        assert b"access-control" not in answer.lower()
    for path in ("/v1/models", "/v1/decisions/x", "/metrics"):
        assert (await e.get(path, "origin: https://evil.example"))[0] == 403
    asks = "access-control-request-method: POST"
    preflight = await e.ask("origin: https://evil.example", asks, body=b"", first=f"OPTIONS {CHAT} HTTP/1.1")
    assert preflight[0] == 403
    assert e.upstream.bodies == []
    assert (await e.ask(f"host: {own}", f"origin: http://{own}", LENGTH))[0] == 200  # its own console


async def test_without_keys_a_name_that_was_made_to_point_here_is_refused(serving: Any) -> None:
    e = await serving()
    for host in (
        "evil.example",
        f"evil.example:{e.port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@b",
    ):
        for origin in ([], [f"origin: http://{host}"]):
            status, answer = await e.ask(f"host: {host}", *origin, LENGTH)
            assert (status, b"host_not_allowed" in answer) == (403, True), host
    assert e.upstream.bodies == []
    for host in (
        "localhost",
        f"LOCALHOST:{e.port}",
        "127.0.0.1",
        "[::1]:80",
        "127.0.0.2",
        "a.localhost",
        "x.internal",
    ):
        assert (await e.ask(f"host: {host}", LENGTH))[0] == 200, host


async def test_an_allowed_page_may_ask_and_read(serving: Any) -> None:
    page = "https://chat.example.com"
    e = await serving(allowed_origins=(page,), api_keys=("a-key-of-the-config",))
    key = "authorization: Bearer a-key-of-the-config"
    status, answer = await e.ask(f"origin: {page}", LENGTH, key, "host: gateway.example")
    assert (status, f"access-control-allow-origin: {page}\r\n".encode() in answer) == (200, True)
    asks = (
        "access-control-request-method: POST",
        "access-control-request-headers: authorization, content-type",
    )
    status, answer = await e.ask(f"origin: {page}", *asks, body=b"", first=f"OPTIONS {CHAT} HTTP/1.1")
    assert status == 204
    assert b"access-control-allow-headers: authorization, content-type\r\n" in answer
    status, answer = await e.ask(f"origin: {page}", LENGTH)
    assert (status, b"access-control-allow-origin" in answer) == (401, True)
    assert (await e.ask("origin: https://evil.example", LENGTH, key))[0] == 403
    with pytest.raises(ConfigError, match="any web page"):
        check_origins(["*"], keyed=False)
    for wrong in ("chat.example.com", "https://chat.example.com/", "https://chat.example.com?a"):
        with pytest.raises(ConfigError, match="is not an origin"):
            check_origins([wrong], keyed=True)
    check_origins(["*", page], keyed=True)
    assert Origins(["*"]).check([(b"host", b"a"), (b"origin", b"https://x.example")], keyless=False)


async def test_where_an_upstream_is_inside_is_told_to_no_client(serving: Any) -> None:
    e = await serving()
    where = e.upstream.base_url.split("/")[2]
    e.upstream.behave("server_error", message=f"dial tcp {where}: connection refused")
    status, answer = await e.ask(LENGTH)
    assert status in (500, 502)
    assert where.encode() not in answer
    assert b"[redacted]" in answer
