"""Clients' connections: how long a head may be, and how slow a client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Longest head of a request: its first line and headers, in bytes. The server below keeps no limit.
MOST_HEAD_BYTES = 64 * 1024
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a limit on what comes before a request is known."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and (cycle.more_body or not cycle.response_complete):
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()


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
        return one.timeout_keep_alive_task is None
    return bool(one.cycle.more_body)
