"""A real OpenAI-compatible HTTP server that can misbehave in every way that upstreams do.

In tests, through the fixture ``faulty_upstream`` (see conftest.py):

    up = await faulty_upstream(models=("small",))
    up.behave("rate_limited", retry_after=2)             # from now on
    up.behave(["server_error", ("slow", {"delay_s": 1}), "ok"])   # one each; the last one stays
    up.base_url, up.requests, up.disconnects, up.in_flight

As a program: ``python tests/faulty_upstream.py --port 9001 --model small --behaviour ok``; it prints one
line, ``ready http://127.0.0.1:9001/v1``, once it answers.

A behaviour governs POST /v1/chat/completions; with ``everywhere=True`` all other paths too. Written on
bare asyncio, since a server library would not let it break HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

Answer = Callable[[Mapping[str, Any]], str]


def last_user_text(body: Mapping[str, Any]) -> str:
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(p.get("text", "") for p in content or [] if isinstance(p, dict))
    return ""


def echo(body: Mapping[str, Any]) -> str:
    return f"echo: {last_user_text(body)}"


def canned(answers: Mapping[str, str]) -> Answer:
    """Answers the first question that stands in the last user message; echoes others."""

    def answer(body: Mapping[str, Any]) -> str:
        asked = last_user_text(body)
        return next((a for q, a in answers.items() if q in asked), None) or echo(body)

    return answer


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+(?:\s+$)?", text)


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any] = field(default_factory=dict)


class Exchange(asyncio.Protocol):
    """One connection: reads requests one after another, answers each by the server's behaviour."""

    def __init__(self, server: FaultyUpstream) -> None:
        self.server = server
        self.buffer = b""
        self.task: asyncio.Task[None] | None = None
        self.request = Request("", "", {}, b"")
        self.transport: asyncio.Transport

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.server.connections.add(self)
        self.server.connections_made += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.task is not None and not self.task.done():
            self.server.disconnects += 1
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.serve_next()

    def serve_next(self) -> None:
        if self.task is not None or b"\r\n\r\n" not in self.buffer:
            return
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        raw, self.buffer = rest[:length], rest[length:]
        method, path, _ = first.split(" ", 2)
        body: Any = {}
        with contextlib.suppress(ValueError):
            body = json.loads(raw)
        self.request = Request(method, path, headers, raw, body if isinstance(body, dict) else {})
        self.task = asyncio.get_running_loop().create_task(self.answer())

    async def answer(self) -> None:
        self.server.in_flight += 1
        try:
            await self.server.respond(self)
        finally:
            self.server.in_flight -= 1
        self.task = None
        self.serve_next()

    # -- what a behaviour does with it

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items())]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def whole(
        self,
        content: bytes | Mapping[str, Any],
        *,
        status: int = 200,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.head(status, {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})})
        self.send(data)

    def error(self, status: int, message: str, **more: Any) -> None:
        headers = more.pop("headers", None)
        fields = {"type": "server_error", "param": None, "code": None, **more}
        self.whole({"error": {"message": message, **fields}}, status=status, headers=headers)

    def open_stream(self, kind: str = "text/event-stream; charset=utf-8") -> None:
        self.head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked", "Cache-Control": "no-cache"})

    def piece(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def event(self, content: Mapping[str, Any] | str) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.piece(f"data: {text}\n\n".encode())

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        """TCP RST: what a crashed upstream looks like."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.task = None
        self.transport.abort()

    def shut(self) -> None:
        self.task = None
        self.transport.close()

    # -- the right answer

    @property
    def streaming(self) -> bool:
        return self.request.body.get("stream") is True

    def parts(self) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
        """Deltas of the answer, its finish reason, its usage (a token is a word)."""
        body = self.request.body
        messages = body.get("messages") or []
        asked = sum(len(words(json.dumps(m.get("content") or ""))) for m in messages)
        tools = body.get("tools") or []
        if tools and body.get("tool_choice") != "none" and messages and messages[-1].get("role") != "tool":
            function = tools[0]["function"]["name"]
            arguments = json.dumps({"text": last_user_text(body)})
            call = {"index": 0, "id": "call_1", "type": "function"}
            deltas: list[dict[str, Any]] = [
                {"tool_calls": [{**call, "function": {"name": function, "arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]},
            ]
            return deltas, "tool_calls", usage(asked, len(words(arguments)))
        pieces = words(self.server.answer(body))
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        reason = "length" if limit is not None and limit < len(pieces) else "stop"
        pieces = pieces[:limit]
        return [{"content": p} for p in pieces], reason, usage(asked, len(pieces))

    def completion(self, **changes: Any) -> dict[str, Any]:
        deltas, reason, used = self.parts()
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if reason == "tool_calls":
            function = {
                "name": deltas[0]["tool_calls"][0]["function"]["name"],
                "arguments": deltas[1]["tool_calls"][0]["function"]["arguments"],
            }
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        else:
            message["content"] = "".join(d["content"] for d in deltas)
        n = self.request.body.get("n") or 1
        told = self.logprobs([d["content"] for d in deltas if "content" in d])
        choices = [{"index": i, "message": message, "finish_reason": reason, **told} for i in range(n)]
        return {**self.frame("chat.completion"), "choices": choices, "usage": used, **changes}

    def logprobs(self, pieces: Sequence[str]) -> dict[str, Any]:
        """Each token's logprob, where the request asks for them."""
        if not self.request.body.get("logprobs"):
            return {}
        return {"logprobs": {"content": [{"token": p, "logprob": self.server.logprob} for p in pieces]}}

    def frame(self, kind: str) -> dict[str, Any]:
        model = self.request.body.get("model")
        return {"id": f"chatcmpl-{len(self.server.requests)}", "object": kind, "created": 1, "model": model}

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        told = self.logprobs([delta["content"]]) if delta.get("content") else {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **told}
        return {**self.frame("chat.completion.chunk"), "choices": [choice]}

    def chunks(self) -> Iterator[dict[str, Any]]:
        deltas, reason, used = self.parts()
        yield self.chunk({"role": "assistant", "content": ""})
        for delta in deltas:
            yield self.chunk(delta)
        yield self.chunk({}, reason)
        if (self.request.body.get("stream_options") or {}).get("include_usage"):
            yield {**self.frame("chat.completion.chunk"), "choices": [], "usage": used}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


# Behaviours. Each answers one request, streaming or not.


async def ok(
    x: Exchange, *, pause_s: float = 0.0, until: Callable[[], bool] | None = None, after: int = -1
) -> None:
    """The right answer; given ``until``, only once that is true, but for a stream's first ``after`` texts."""
    if until is not None and (after < 0 or not x.streaming):
        await _becomes(until)
    if not x.streaming:
        x.whole(x.completion())
        return
    x.open_stream()
    for i, chunk in enumerate(x.chunks()):
        if until is not None and i == after + 1:
            await _becomes(until)
        x.event(chunk)
        await asyncio.sleep(pause_s)
    x.event("[DONE]")
    x.end_stream()


async def _becomes(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - any condition, another thread's too
        await asyncio.sleep(0.005)


async def slow(x: Exchange, *, delay_s: float = 0.5, pause_s: float = 0.0) -> None:
    await asyncio.sleep(delay_s)
    await ok(x, pause_s=pause_s)


async def hang_before_headers(x: Exchange) -> None:
    await asyncio.Event().wait()


async def _begin(x: Exchange, after: int) -> None:
    """The first ``after`` text chunks of the stream, or the first half of the whole answer."""
    if x.streaming:
        x.open_stream()
        for i, chunk in enumerate(x.chunks()):
            if i > after:
                break
            x.event(chunk)
    else:
        data = json.dumps(x.completion()).encode()
        x.head(200, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        x.send(data[: len(data) // 2])
    # What was sent reaches the client before what follows does.
    await asyncio.sleep(0.05)


async def hang_mid_stream(x: Exchange, *, after: int = 2) -> None:
    await _begin(x, after)
    await asyncio.Event().wait()


async def reset_before_headers(x: Exchange) -> None:
    x.reset()


async def close_before_headers(x: Exchange) -> None:
    x.shut()


async def reset_mid_stream(x: Exchange, *, after: int = 2) -> None:
    await _begin(x, after)
    x.reset()


async def close_mid_stream(x: Exchange, *, after: int = 2) -> None:
    """The connection closes in order, but the body has not ended."""
    await _begin(x, after)
    x.shut()


async def end_mid_stream(x: Exchange, *, after: int = 2) -> None:
    """The body ends in order, but the answer has not: neither a finish reason nor [DONE]."""
    if x.streaming:
        await _begin(x, after)
        x.end_stream()
    else:
        await truncated_json(x)


async def rate_limited(x: Exchange, *, retry_after: float | str | None = 1, status: int = 429) -> None:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    fields = {"type": "rate_limit_error", "code": "rate_limit_exceeded"}
    x.error(status, "Rate limit reached.", headers=headers, **fields)


async def overloaded(x: Exchange) -> None:
    x.error(529, "Overloaded.", type="overloaded_error")


async def server_error(x: Exchange, *, status: int = 500, message: str = "The server had an error.") -> None:
    x.error(status, message)


async def html_error(x: Exchange, *, status: int = 502) -> None:
    x.whole(b"<html><body>Bad gateway</body></html>", status=status, kind="text/html")


async def redirect(x: Exchange, *, to: str = "http://127.0.0.1:9/v1") -> None:
    x.whole(b"", status=307, kind="text/plain", headers={"Location": to})


async def context_length_exceeded(x: Exchange) -> None:
    message = "This model's maximum context length is 8 tokens."
    x.error(400, message, type="invalid_request_error", param="messages", code="context_length_exceeded")


async def key_refused(x: Exchange) -> None:
    """As a careless upstream does, it repeats the key."""
    key = x.request.headers.get("authorization", "").removeprefix("Bearer ")
    x.error(401, f"Incorrect API key provided: {key}", type="invalid_request_error", code="invalid_api_key")


async def truncated_json(x: Exchange) -> None:
    if x.streaming:
        x.open_stream()
        x.event(json.dumps(next(x.chunks()))[:-20])
        x.end_stream()
    else:
        data = json.dumps(x.completion()).encode()
        x.whole(data[: len(data) // 2])


async def malformed_sse(x: Exchange) -> None:
    if not x.streaming:
        await truncated_json(x)
        return
    x.open_stream()
    for chunk in x.chunks():
        x.piece(b"dato " + json.dumps(chunk).encode() + b"\n\n")
    x.end_stream()


async def wrong_content_type(x: Exchange) -> None:
    x.whole(b"<html><body>Welcome</body></html>", kind="text/html")


async def wrong_charset(x: Exchange) -> None:
    """Latin-1 bytes, whatever is claimed."""
    if x.streaming:
        x.open_stream()
        for chunk in (x.chunk({"content": "caf\u00e9"}), x.chunk({}, "stop")):
            x.piece(b"data: " + json.dumps(chunk, ensure_ascii=False).encode("latin-1") + b"\n\n")
        x.event("[DONE]")
        x.end_stream()
        return
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "caf\u00e9"}, "finish_reason": "stop"}
    ]
    text = json.dumps(x.completion(choices=choices), ensure_ascii=False)
    x.whole(text.encode("latin-1"), kind="application/json; charset=utf-8")


async def huge_body(x: Exchange, *, megabytes: int = 80) -> None:
    """A body without end in sight, its length not said."""
    if x.streaming:
        x.open_stream()
        x.piece(b"data: ")
    else:
        x.open_stream("application/json")
    for _ in range(megabytes * 16):
        x.piece(b" " * 65536)
        await asyncio.sleep(0)
        while x.transport.get_write_buffer_size() > 1 << 20:  # noqa: ASYNC110 - a transport has no event
            await asyncio.sleep(0.001)
    x.end_stream()


async def slow_bytes(x: Exchange, *, pause_s: float = 0.0) -> None:
    """The right answer, byte by byte."""
    if x.streaming:
        x.open_stream()
        pieces = [f"data: {json.dumps(c)}\n\n".encode() for c in x.chunks()]
        data = b"".join(pieces) + b"data: [DONE]\n\n"
    else:
        data = json.dumps(x.completion()).encode()
        x.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    for i in range(len(data)):
        x.piece(data[i : i + 1])
        await asyncio.sleep(pause_s)
    x.end_stream()


async def empty_answer(x: Exchange) -> None:
    """A well-formed answer that says nothing."""
    if x.streaming:
        x.open_stream()
        x.event(x.chunk({"role": "assistant", "content": ""}))
        x.event(x.chunk({}, "stop"))
        x.event("[DONE]")
        x.end_stream()
    else:
        used = usage(x.parts()[2]["prompt_tokens"], 0)
        message = {"role": "assistant", "content": ""}
        x.whole(x.completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}], usage=used))


async def empty_body(x: Exchange) -> None:
    if x.streaming:
        x.open_stream()
        x.end_stream()
    else:
        x.whole(b"")


async def no_choices(x: Exchange) -> None:
    if x.streaming:
        await end_mid_stream(x)
    else:
        x.whole(x.completion(choices=[]))


async def no_finish_reason(x: Exchange) -> None:
    """The whole text, then [DONE], but no reason."""
    if x.streaming:
        x.open_stream()
        for chunk in x.chunks():
            if chunk["choices"] and chunk["choices"][0]["finish_reason"] is None:
                x.event(chunk)
        x.event("[DONE]")
        x.end_stream()
    else:
        message = {"role": "assistant", "content": x.server.answer(x.request.body)}
        x.whole(x.completion(choices=[{"index": 0, "message": message, "finish_reason": None}]))


async def no_done(x: Exchange) -> None:
    """The whole text and its reason, but no [DONE]."""
    if x.streaming:
        x.open_stream()
        for chunk in x.chunks():
            x.event(chunk)
        x.end_stream()
    else:
        await ok(x)


async def hang_after_done(x: Exchange) -> None:
    """The answer is complete, but its body never ends."""
    if x.streaming:
        x.open_stream()
        for chunk in x.chunks():
            x.event(chunk)
        x.event("[DONE]")
        await asyncio.Event().wait()
    else:
        await ok(x)


async def no_content_type(x: Exchange) -> None:
    """The right answer, under no name."""
    if x.streaming:
        x.head(200, {"Transfer-Encoding": "chunked"})
        for chunk in x.chunks():
            x.event(chunk)
        x.event("[DONE]")
        x.end_stream()
    else:
        data = json.dumps(x.completion()).encode()
        x.head(200, {"Content-Length": str(len(data))})
        x.send(data)


async def error_event(x: Exchange, *, after: int = 2) -> None:
    """An error object where an answer, or the rest of one, should be."""
    error = {"message": "The engine died.", "type": "server_error", "code": None, "param": None}
    if x.streaming:
        await _begin(x, after)
        x.event({"error": error})
        x.end_stream()
    else:
        x.whole({"error": error})


async def says(
    x: Exchange,
    *,
    deltas: Sequence[Mapping[str, Any]] = ({"content": "Hi"},),
    reason: str = "stop",
    used: Mapping[str, Any] | None = None,
    **of_choice: Any,
) -> None:
    """Just these deltas, or the message that they make; ``of_choice`` stands beside the finish reason."""
    used = used or usage(7, 5)
    if not x.streaming:
        choice = {"index": 0, "message": joined(deltas), "finish_reason": reason, **of_choice}
        x.whole(x.completion(choices=[choice], usage=used))
        return
    x.open_stream()
    x.event(x.chunk({"role": "assistant", "content": ""}))
    for delta in deltas:
        x.event(x.chunk(delta))
    last = x.chunk({}, reason)
    last["choices"][0].update(of_choice)
    x.event(last)
    if (x.request.body.get("stream_options") or {}).get("include_usage"):
        x.event({**x.frame("chat.completion.chunk"), "choices": [], "usage": used})
    x.event("[DONE]")
    x.end_stream()


def joined(deltas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The message that a stream's deltas make."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        for key, value in delta.items():
            if key != "tool_calls":
                message[key] = (message.get(key) or type(value)()) + value
        for piece in delta.get("tool_calls", ()):
            function = {"name": "", "arguments": ""}
            call = calls.setdefault(piece["index"], {"type": "function", "function": function})
            call["id"] = piece.get("id") or call.get("id")
            for key, value in piece.get("function", {}).items():
                call["function"][key] += value
    return {**message, "tool_calls": list(calls.values())} if calls else message


async def not_http(x: Exchange) -> None:
    x.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    x.shut()


BEHAVIOURS: dict[str, Callable[..., Awaitable[None]]] = {
    function.__name__: function
    for function in (
        *(ok, slow, hang_before_headers, hang_mid_stream, reset_before_headers, close_before_headers),
        *(reset_mid_stream, close_mid_stream, end_mid_stream, rate_limited, overloaded, server_error),
        *(html_error, redirect, context_length_exceeded, key_refused, truncated_json, malformed_sse),
        *(wrong_content_type, wrong_charset, huge_body, slow_bytes, empty_answer, empty_body, no_choices),
        *(no_finish_reason, no_done, hang_after_done, no_content_type, error_event, says, not_http),
    )
}

Step = str | tuple[str, dict[str, Any]]


class FaultyUpstream:
    """The server.

    Args:
        models: names it lists and answers to; a request for another model gets 404.
        answer: what it says to a request body.
        api_key: demanded when given.
        port: 0 = any free one.
        extra: path -> JSON object, answered to any method: /version, /props, /api/tags ...
        owned_by: said of each model.
    """

    #: What a subclass that speaks another API replaces.
    exchange: type[Exchange] = Exchange
    chat_path = "/v1/chat/completions"
    behaviours = tuple(BEHAVIOURS)
    closed_port = staticmethod(closed_port)

    def __init__(
        self,
        models: Sequence[str] = ("test-model",),
        *,
        answer: Answer = echo,
        api_key: str | None = None,
        port: int = 0,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        owned_by: str = "tests",
    ) -> None:
        self.models, self.answer, self.api_key, self.port = tuple(models), answer, api_key, port
        self.extra, self.owned_by = dict(extra or {}), owned_by
        self.requests: list[Request] = []
        self.connections: set[Exchange] = set()
        self.disconnects = self.in_flight = self.connections_made = 0
        self.everywhere = False
        self.logprob = -0.5
        self._steps: list[Step] = ["ok"]
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Bodies of the chat requests that came."""
        return [r.body for r in self.requests if r.path == self.chat_path]

    def behave(self, kind: str | Sequence[Step], *, everywhere: bool = False, **options: Any) -> None:
        """Behave so from now on, or one step per chat request, of which the last one stays."""
        steps: list[Step] = [(kind, options)] if isinstance(kind, str) else list(kind)
        unknown = {s if isinstance(s, str) else s[0] for s in steps} - BEHAVIOURS.keys()
        assert not unknown, f"no behaviour {unknown}"
        self._steps, self.everywhere = steps, everywhere

    async def __aenter__(self) -> FaultyUpstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self.exchange(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [x.task for x in self.connections if x.task is not None]
        for exchange in list(self.connections):
            exchange.transport.abort()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=20)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        """Wait until something has become true of this server."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - any condition, not an event of ours
                await asyncio.sleep(0.005)

    async def respond(self, x: Exchange) -> None:
        self.requests.append(x.request)
        path = x.request.path.partition("?")[0]
        chat = path == self.chat_path
        if chat or self.everywhere:
            step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
            kind, options = (step, {}) if isinstance(step, str) else step
            if kind != "ok" or options or not chat:
                await BEHAVIOURS[kind](x, **options)
                return
        if self.api_key and x.request.headers.get("authorization") != f"Bearer {self.api_key}":
            await key_refused(x)
        elif path in self.extra:
            x.whole(self.extra[path])
        elif path == "/v1/models":
            data = [
                {"id": m, "object": "model", "created": 1, "owned_by": self.owned_by} for m in self.models
            ]
            x.whole({"object": "list", "data": data})
        elif not (chat or path == "/v1/embeddings"):
            x.error(404, f"no such path: {path}", type="invalid_request_error")
        elif x.request.body.get("model") not in self.models:
            message = f"The model {x.request.body.get('model')!r} does not exist."
            x.error(404, message, type="invalid_request_error", code="model_not_found")
        elif chat:
            await ok(x)
        else:
            x.whole(self.embeddings(x.request.body))

    def embeddings(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Sixteen numbers per text, drawn from its hash."""
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = []
        for i, text in enumerate(texts):
            vector = [b / 127.5 - 1 for b in hashlib.sha256(str(text).encode()).digest()[:16]]
            packed = base64.b64encode(struct.pack("<16f", *vector)).decode()
            coded = packed if body.get("encoding_format") == "base64" else vector
            data.append({"object": "embedding", "index": i, "embedding": coded})
        count = sum(len(words(str(t))) for t in texts)
        return {
            "object": "list",
            "data": data,
            "model": body["model"],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }


async def serve(options: argparse.Namespace, answers: Mapping[str, str] | None) -> None:
    async with FaultyUpstream(
        options.model or ["test-model"],
        answer=canned(answers) if answers else echo,
        api_key=options.api_key,
        port=options.port,
    ) as upstream:
        step = (options.behaviour, json.loads(options.options))
        upstream.behave([step])
        print(f"ready {upstream.base_url}", flush=True)  # noqa: T201
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that misbehaves as told.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", action="append", help="a model that it serves; may be repeated")
    parser.add_argument("--behaviour", default="ok", choices=BEHAVIOURS)
    parser.add_argument("--options", default="{}", help='of the behaviour, as JSON: {"delay_s": 1}')
    parser.add_argument("--answers", help="JSON file: question -> answer; other questions are echoed")
    parser.add_argument("--api-key")
    options = parser.parse_args()
    answers = json.loads(Path(options.answers).read_text()) if options.answers else None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options, answers))


if __name__ == "__main__":
    main()
