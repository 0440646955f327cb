"""Calls to http upstreams: the shortest way to a model server next door.

aiohttp is a general client; half of what it does for a call serves cookies, redirects, proxies, sessions.
Upstreams by https, and clients with a bound on connections, go through it (see ``client``); for the others
this does what HTTP asks for, with the parser that the server in front uses too. Figures:
docs/experiments/2026-11-21-gateway.md.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import Any

import aiohappyeyeballs
from multidict import CIMultiDict
from yarl import URL

from herdwise.transport.call import Call, NoConnectionError, SilentError
from herdwise.transport.failures import unreachable
from herdwise.transport.plain_connection import PlainAnswer, PlainConnection

#: The next address of a name is tried after so many seconds (RFC 8305).
_NEXT_ADDRESS_S = 0.25
_MOST_HEADS = 1024
_FORBIDDEN = re.compile(r"[\r\n\0]")
_Place = tuple[str, int]


class PlainClient:
    """Connections to http upstreams that are kept. Belongs to the event loop that first uses it.

    Args:
        keepalive_s: how long an idle one is kept.
        headers: sent with every request that does not state them itself.
    """

    def __init__(self, keepalive_s: float, headers: Mapping[str, str]) -> None:
        self._keepalive_s, self._own = keepalive_s, headers
        self._idle: dict[_Place, list[PlainConnection]] = {}
        self._open: dict[PlainConnection, _Place] = {}
        self._heads: dict[tuple[str, URL, int], tuple[object, bytes]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def send(
        self,
        call: Call,
        headers: Mapping[str, str] | None,
        *,
        connect_s: float | None,
        total_s: float | None,
        by: float | None,
    ) -> PlainAnswer:
        """Ask, and wait for the head of the answer.

        Args:
            call: the request.
            headers: sent with it.
            connect_s, total_s: limits, None = none.
            by: time of the event loop by which the head has to be there, None = no matter.

        Raises:
            SilentError, NoConnectionError, TimeoutError: as the limits say.
            BackendError, aiohttp.ClientError, OSError: it cannot be reached, or is no HTTP server.
        """
        url, data = call.url, call.data
        head = self._head(call.method, url, headers)
        if data is None:
            request = head + b"\r\n"
        else:
            request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(data), data)
        total_at = None if total_s is None else asyncio.get_running_loop().time() + total_s
        place = url.raw_host or "", url.port or 80
        connection = self._kept(place) or await self._connect(place, call.candidate, connect_s, total_at, by)
        answer = connection.ask(request, call.candidate, total_at)
        try:
            await answer.begin(by)
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Close all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    def _head(self, method: str, url: URL, headers: Mapping[str, str] | None) -> bytes:
        """Request line and headers, save the body's length; they are the same for all asks of a candidate."""
        key = method, url, id(headers)
        known = self._heads.get(key)
        if known is not None and known[0] is headers:
            return known[1]
        told = CIMultiDict({"Host": url.host_port_subcomponent or "", "Accept": "*/*", **self._own})
        told.update(headers or {})
        told.popall("Content-Length", None)
        lines = [f"{method} {url.raw_path_qs} HTTP/1.1", *(f"{name}: {told[name]}" for name in told)]
        if any(_FORBIDDEN.search(line) for line in lines):
            raise ValueError("a header holds a line break")
        head = ("\r\n".join(lines) + "\r\n").encode()
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[key] = headers, head  # kept, so that nothing else gets its id
        return head

    def _kept(self, place: _Place) -> PlainConnection | None:
        kept = self._idle.get(place)
        while kept:
            connection = kept.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _connect(
        self, place: _Place, candidate: str, connect_s: float | None, total_at: float | None, by: float | None
    ) -> PlainConnection:
        loop = asyncio.get_running_loop()
        connect_at = None if connect_s is None else loop.time() + connect_s
        due_at = min((at for at in (connect_at, total_at, by) if at is not None), default=None)
        try:
            async with asyncio.timeout_at(due_at):
                connection = await self._connected(place, candidate)
        except TimeoutError:
            if due_at == connect_at:
                raise NoConnectionError from None
            raise (SilentError if due_at == by else TimeoutError) from None
        self._open[connection] = place
        return connection

    async def _connected(self, place: _Place, candidate: str) -> PlainConnection:
        loop, (host, port) = asyncio.get_running_loop(), place
        try:
            found = _numeric(host, port) or await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            made = await aiohappyeyeballs.start_connection(
                found, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
            )
        except OSError as error:  # the system's own time-out among them
            raise unreachable(error, host, port, candidate) from None
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _, connection = await loop.create_connection(
                lambda: PlainConnection(self._free, self._lost), sock=made
            )
        except BaseException:
            made.close()
            raise
        return connection

    def _free(self, connection: PlainConnection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        place = self._open.get(connection)
        if place is None:
            connection.close()
            return
        self._idle.setdefault(place, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._keepalive_s, self._close_old)

    def _lost(self, connection: PlainConnection) -> None:
        place = self._open.pop(connection, None)
        kept = self._idle.get(place) if place is not None else None
        if kept is not None and connection in kept:
            kept.remove(connection)

    def _close_old(self) -> None:
        """Close those that have been idle for long; who waits is looked at again."""
        loop = asyncio.get_running_loop()
        self._sweep = None
        now = loop.time()
        for kept in self._idle.values():
            for connection in list(kept):
                if now - connection.idle_since >= self._keepalive_s:
                    kept.remove(connection)
                    connection.close()
        oldest = min((c.idle_since for kept in self._idle.values() for c in kept), default=None)
        if oldest is not None:
            self._sweep = loop.call_at(oldest + self._keepalive_s, self._close_old)


def _numeric(host: str, port: int) -> list[Any]:
    """Where an address leads; empty for a name, which has to be looked up on a thread."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []
