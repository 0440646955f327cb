"""One HTTP request and its answer, as uvicorn's, but what is sent at one go leaves in one write.

uvicorn writes an answer's head and each part of its body by themselves. A write is a call to the system and a
packet for the client, so that here the head waits for the body, and the parts of a stream that come without a
pause between them go together (docs/experiments/2026-11-21-gateway.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

#: As much is held back until the event loop gets round to it; then it is written at once.
_MOST_HELD_BYTES = 64 * 1024
#: What no header may hold beside line ends, which are counted.
_CONTROLS = bytes(c for c in (*range(32), 127) if c not in b"\t\r\n")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
#: Names of headers that were found good; the code names few.
_GOOD: set[bytes] = set()
_MOST_GOOD = 256


class Cycle(RequestResponseCycle):
    """What a cycle of uvicorn's becomes before it begins: see ``connections.Protocol``."""

    _held: list[bytes]
    _held_bytes = 0
    _flushing = False
    #: Called when the client has gone before its answer had ended.
    on_gone: Callable[[], None] | None = None

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Have this called when the client goes before its answer has ended; None = nothing any more."""
        self.on_gone = gone
        if gone is None:
            return
        # A long body that came at once has reading paused, and who is not read from is not seen to leave.
        self.flow.resume_reading()
        if self.disconnected:
            gone()

    async def run_asgi(self, app: Any) -> None:
        """See ``RequestResponseCycle``."""
        problem = ""
        try:
            if await app(self.scope, self.receive, self.send) is not None:
                problem = "the application gave something back"
            elif not self.response_complete and not self.disconnected:
                problem = "the application ended before its answer did"
        except BaseException as error:
            self.logger.error("Exception in ASGI application\n", exc_info=error)
            await self._break_off()
        else:
            if problem:
                self.logger.error(problem)
                await self._break_off()
        finally:
            self.on_response, self.on_gone = _nothing, None
            # It holds this object's method: together they would lie about until they are searched for.
            self.scope.pop("extensions", None)

    async def _break_off(self) -> None:
        if self.response_started:
            self._flush()
            self.transport.close()
        else:
            await self.send_500_response()

    async def send(self, message: Any) -> None:
        """See ASGI."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"expected http.response.start, not {kind}.")
            self._begin(message["status"], message.get("headers", ()))
        elif kind != "http.response.body" or self.response_complete:
            raise RuntimeError(f"{kind} does not belong here.")
        else:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))

    async def receive(self) -> Any:
        """See ASGI."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self.message_event.is_set():
                await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def _begin(self, status: int, headers: Any) -> None:
        self.response_started, self.waiting_for_100_continue = True, False
        self._held = []
        lines, told_to_close = [STATUS_LINE[status][:-2]], False
        for told, value in (*self.default_headers, *headers):
            name = told
            if name not in _GOOD:
                name = _checked(name)
                if name in _FRAMING:
                    told_to_close = self._frame(name, value) or told_to_close
            lines.append(b"%b: %b" % (name, value))
        if not self.keep_alive and not told_to_close:
            lines.append(b"connection: close")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        head, ends = b"\r\n".join(lines), len(lines) - 1
        if head.count(b"\n") != ends or head.count(b"\r") != ends or head.translate(None, _CONTROLS) != head:
            raise RuntimeError("a header holds a control character.")
        self._held = [head, b"\r\n\r\n"]
        if self.chunked_encoding:  # other bodies are there already
            self._flush_soon()

    def _frame(self, name: bytes, value: bytes) -> bool:
        """Take note of a header that says how the answer is framed; whether it says that this is the last."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif name == b"connection" and b"close" in [part.strip() for part in value.lower().split(b",")]:
            self.keep_alive = False
            return True
        return False

    def _go_on(self, body: bytes, *, more: bool) -> None:
        size = len(body)
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
        elif self.chunked_encoding:
            if size:
                self._held += (b"%x\r\n" % size, body, b"\r\n")
            if not more:
                self._held.append(b"0\r\n\r\n")
        else:
            if size > self.expected_content_length:
                raise RuntimeError("the answer is longer than its content-length.")
            self.expected_content_length -= size
            self._held.append(body)
        if more:
            self._held_bytes += size
            if self._held_bytes > _MOST_HELD_BYTES:
                self._flush()
            else:
                self._flush_soon()
            return
        if self.expected_content_length != 0:
            raise RuntimeError("the answer is shorter than its content-length.")
        self._flush()
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _flush_soon(self) -> None:
        """Once whoever sends has nothing more to send for now."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_late)

    def _flush_late(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        held = self._held
        if held:
            self._held, self._held_bytes = [], 0
            if not self.transport.is_closing():
                self.transport.write(b"".join(held))


def _checked(name: bytes) -> bytes:
    """A header's name in lower case.

    Raises:
        RuntimeError: when it is none.
    """
    if HEADER_RE.search(name):
        raise RuntimeError("a header's name holds a character that it may not.")
    lower = name.lower()
    if lower == name and lower not in _FRAMING and len(_GOOD) < _MOST_GOOD:
        _GOOD.add(name)
    return lower


def _nothing() -> None:
    """In place of what an answer's end sets off."""
