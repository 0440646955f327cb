"""Clients' connections: how long a head may be, and how slow a client."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from herdwise.serving.asking import GONE
from herdwise.serving.http_cycle import Cycle

#: Longest head of a request: its first line and headers, in bytes. The server below keeps no limit.
MOST_HEAD_BYTES = 64 * 1024
#: Systems start programs with 1,024, as some of them cannot count further.
_OPEN_FILES = 2**16
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a limit on what comes before a request is known.

    Its answers leave in fewer writes (``http_cycle``), and one timer serves all that a connection idles.
    """

    #: Bytes since a part of a body, or the end of a request, was last found in what came.
    _head_bytes = 0
    #: Whose answer is under way, or was last: with requests one behind the other not that of the latest.
    _answering: RequestResponseCycle | None = None
    #: Time of the event loop since which nothing is under way; None = something is, or was never.
    idle_at: float | None = None
    _ringing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        app: Any = self.config.app
        if len(self.connections) > app.reloading.current.service.settings.max_connections:
            transport.write(_TOO_MANY)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if b"pgrade:" in data and _is_over(self.cycle):
            data = _staying(data)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            cycle: RequestResponseCycle | None = self.cycle
            if cycle is None or cycle.response_complete:  # else it would stand in the midst of an answer
                self.transport.write(_TOO_LONG)
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """See ``HttpToolsProtocol``."""
        self._head_bytes, cycle = 0, self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """See ``HttpToolsProtocol``; also for a request that was answered before all of it was there."""
        self._head_bytes, cycle = 0, self.cycle
        cycle.more_body = False
        if cycle.response_complete:
            self._rest()
        else:
            cycle.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_lost(exc)
        if self._ringing is not None:
            self._ringing.cancel()
            self._ringing = None
        cycle = self._answering
        if cycle is None or cycle.response_complete:
            return
        if cycle is not self.cycle:  # others wait behind it, of which the latest alone was told
            cycle.disconnected = True
            cycle.message_event.set()
        if isinstance(cycle, Cycle) and cycle.on_gone is not None:
            cycle.on_gone()

    def on_response_complete(self) -> None:
        """See ``HttpToolsProtocol``: the next request, or a connection that is kept for a while."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()

    def _rest(self) -> None:
        self.idle_at = self.loop.time()
        if self._ringing is None:
            self._ringing = self.loop.call_later(self.timeout_keep_alive, self._ring)

    def _ring(self) -> None:
        """Close a connection that has been idle for long; one that was used meanwhile is looked at again."""
        self._ringing = None
        if self.idle_at is None:
            return
        left_s = self.idle_at + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._ringing = self.loop.call_later(left_s, self._ring)
        else:
            self.timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self.idle_at = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not cycle.access_log:
            cycle.__class__ = Cycle
            cycle.scope["extensions"] = {GONE: cycle.watch}  # type: ignore[attr-defined]
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


def _is_over(cycle: RequestResponseCycle | None) -> bool:
    return cycle is None or (cycle.response_complete and not cycle.more_body)


def _staying(data: bytes) -> bytes:
    """A request without its wish for another protocol, which is ours to ignore (RFC 9110, 7.8).

    The parser below takes it for a fact and drops the body; Java's clients, for one, always wish for HTTP/2.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + body if end else data


def raise_open_files() -> None:
    """Let this process open files, and so connections, for many clients, as far as the system lets it."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class SlowClients:
    """Closes connections whose clients send a request, or take an answer, too slowly. Looks once a second.

    A request must be there, as a whole, within some time; of an answer something must be taken within it.
    """

    def __init__(self) -> None:
        self._waited: dict[Any, tuple[tuple[int, int], float]] = {}

    def look(self, connections: Iterable[Any], now: float, most_s: float) -> int:
        """Close those that have been waited for, for the same thing, for more than ``most_s`` seconds.

        Args:
            connections: the server's ``Protocol`` objects.
            now: seconds, monotonic.
            most_s: how long a client may take.

        Returns:
            How many were closed.
        """
        waited: dict[Any, tuple[tuple[int, int], float]] = {}
        closed = 0
        for one in connections:
            # Bytes that are kept for a client that takes none stay as many; or else it is the same request.
            kept = one.transport.get_write_buffer_size()
            if not kept and not _is_sending(one):
                continue
            what = (id(one.cycle), kept)
            before, since = self._waited.get(one, (None, now))
            if before != what:
                since = now
            if now - since > most_s:
                one.transport.abort()
                closed += 1
            else:
                waited[one] = (what, since)
        self._waited = waited
        return closed


def _is_sending(one: Any) -> bool:
    """Whether a request is awaited, in whole or in part, that is not one more of a kept connection."""
    if one.cycle is None:
        return True
    if one.cycle.response_complete:
        return one.idle_at is None
    return bool(one.cycle.more_body)
