"""An upstream whose streams keep a pace; every chunk says when it was sent.

    python paced_upstream.py PORT

A request's field ``paced`` is ``{"interval_s": ..., "n": ...}``: that many chunks, so far apart. The text of
a chunk is ``time.monotonic_ns()`` at its sending, which another process on the same machine can compare.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_OTHER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_BEGIN = (
    '{"id":"chatcmpl-paced","object":"chat.completion.chunk","created":1700000000,"model":"bench","choices":'
)


def _framed(event: str) -> bytes:
    data = f"data: {event}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _delta(delta: str, finish: str = "null") -> bytes:
    return _framed(f'{_BEGIN}[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}')


_END = (
    _delta("{}", '"stop"')
    + _framed(f'{_BEGIN}[],"usage":{{"prompt_tokens":60,"completion_tokens":50,"total_tokens":110}}}}')
    + _framed("[DONE]")
    + b"0\r\n\r\n"
)


class Paced(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop."""
        del exc
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read until the request is whole, then begin."""
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
        if len(body) < length:
            return
        self._held = b""
        if not head.startswith(b"POST"):
            self._write(_OTHER)
            return
        paced = json.loads(body)["paced"]
        self._interval_s, self._left = float(paced["interval_s"]), int(paced["n"])
        self._due = self._loop.time()
        self._write(_HEAD + _delta('{"role":"assistant","content":""}'))
        self._next()

    def _next(self) -> None:
        if self._left == 0:
            self._write(_END)
            return
        self._left -= 1
        self._write(_delta(f'{{"content":" {time.monotonic_ns()}"}}'))
        self._due += self._interval_s
        self._timer = self._loop.call_at(self._due, self._next)

    def _write(self, data: bytes) -> None:
        self._transport.write(data)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Paced, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
