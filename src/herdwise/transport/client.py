"""One keep-alive HTTP client for all candidates: timeouts, bounded bodies, errors of the one tree.

Upstreams by http are called as ``plain`` does; the others, and clients with a bound on connections, go
through aiohttp (and not httpx: see docs/decisions/0006-http-client.md). Nothing is retried here; a policy
decides what follows a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import aiohttp

from herdwise.core.errors import BackendError, BadResponseError, TimeoutError_
from herdwise.transport.call import Answer, Call, Limits, NoConnectionError, SilentError, Timeouts
from herdwise.transport.content import is_json, json_object, media_type
from herdwise.transport.failures import from_aiohttp, from_error_object, from_status
from herdwise.transport.lines import LineParser
from herdwise.transport.plain import PlainClient
from herdwise.transport.sse import Event, SSEParser
from herdwise.transport.tracing import TRACE_HEADERS

_T = TypeVar("_T")
__all__ = ["Call", "HttpClient", "Limits", "Timeouts"]

#: Compression would hold back the events of a stream. A body that comes compressed all the same is unpacked,
#: and its bound holds for the unpacked bytes.
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "herdwise"}
#: How long the end of a body is awaited after a stream's last event, so that the connection can be kept.
_TAIL_S = 0.1
#: As much of an error's body is read; the rest is of no use to anybody.
_ERROR_BODY_BYTES = 256 * 1024
#: A stream that does not say what it is gets the benefit of the doubt.
_STREAMS = frozenset({"text/event-stream", ""})
_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/json-lines", ""})


class HttpClient:
    """Keep-alive connections, shared by all candidates. Belongs to the event loop that first uses it.

    No cookies, no proxies or keys from the environment, and no redirects: a redirect could carry a key
    elsewhere, so it counts as an error status.

    Args:
        limits: bounds.
        timeouts: for calls that name none of their own.
    """

    def __init__(self, limits: Limits | None = None, timeouts: Timeouts | None = None) -> None:
        self.limits, self.timeouts = limits or Limits(), timeouts or Timeouts()
        self._session: aiohttp.ClientSession | None = None
        self._plain: PlainClient | None = None

    async def read(self, call: Call) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a whole answer.

        Raises:
            BackendError: ConnectError, TimeoutError_, RateLimitError, UpstreamStatusError (its status is
                300 or more) or BadResponseError.
        """
        timeouts = call.timeouts or self.timeouts
        try:
            response = await self._send(call, timeouts)
            try:
                body = await self._body(response, call)
            finally:
                response.close()  # does nothing to a connection that went back to the pool at the end
        except TimeoutError as error:
            raise _timed_out(error, timeouts, call.candidate) from None
        except (aiohttp.ClientError, OSError) as error:
            raise from_aiohttp(error, call.candidate) from None
        if response.status >= 300:
            raise from_status(response.status, response.headers, body, call.candidate, call.secrets)
        return response.headers, body

    async def read_json(self, call: Call) -> dict[str, Any]:
        """A whole answer that must be one JSON object.

        Raises:
            BackendError: as ``read``; BadResponseError when it is anything else.
        """
        headers, body = await self.read(call)
        kind = media_type(headers)
        if not is_json(kind):
            raise BadResponseError(
                f"candidate {call.candidate!r} answered with {kind} instead of JSON.",
                candidate=call.candidate,
            )
        return json_object(body, call.candidate)

    async def events(
        self, call: Call, *, last: str | None = None, lines: bool = False
    ) -> AsyncGenerator[Event, None]:
        """The events of an answer one by one; see ``events_together``."""
        async with aclosing(self.events_together(call, last=last, lines=lines)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def events_together(
        self, call: Call, *, last: str | None = None, lines: bool = False
    ) -> AsyncGenerator[list[Event], None]:
        """The events of an answer as they come, those together that arrived together; never an empty list.

        Closing the generator closes the connection, unless the answer had ended.

        Args:
            call: the request.
            last: data of the event that ends the stream, such as "[DONE]"; what follows it is not read.
            lines: whether an event is a line of JSON, and not a server-sent event.

        Raises:
            BackendError: as ``read``, before the first event or between two.
        """
        timeouts = call.timeouts or self.timeouts
        loop = asyncio.get_running_loop()
        deadline = None if timeouts.first_byte_s is None else loop.time() + timeouts.first_byte_s
        parser: SSEParser | LineParser = (LineParser if lines else SSEParser)(
            candidate=call.candidate, max_event_bytes=self.limits.max_event_bytes
        )
        kinds = _LINES if lines else _STREAMS
        response: Answer | None = None
        began, over, n_bytes = False, False, 0
        try:
            response = await self._send(call, timeouts, deadline)
            if response.status >= 300 or media_type(response.headers) not in kinds:
                raise await self._not_a_stream(response, call, deadline)
            while not over:
                if began:
                    deadline = None if timeouts.idle_s is None else loop.time() + timeouts.idle_s
                data = await response.readany(deadline)
                over = not data
                n_bytes += len(data)
                if n_bytes > self.limits.max_body_bytes:
                    raise _endless(call.candidate, self.limits.max_body_bytes)
                events = parser.close() if over else parser.feed(data)
                if not events:
                    continue
                began = True
                end = None
                for place, event in enumerate(events):
                    if event.data == last:
                        end = place
                        break
                if end is None:
                    yield events
                    continue
                if end:
                    yield events[:end]
                await _skip_tail(response)
                yield events[end : end + 1]
                return
        except TimeoutError as error:
            silence = _silence(timeouts, began) if isinstance(error, SilentError) else ""
            raise _timed_out(error, timeouts, call.candidate, silence) from None
        except (aiohttp.ClientError, OSError) as error:
            raise from_aiohttp(error, call.candidate) from None
        finally:
            if response is not None:
                response.close()

    async def close(self) -> None:
        """Close all connections; the client may be used again afterwards."""
        session, self._session = self._session, None
        plain, self._plain = self._plain, None
        if plain is not None:
            plain.close()
        if session is not None:
            await session.close()

    async def _send(self, call: Call, timeouts: Timeouts, by: float | None = None) -> Answer:
        """The answer, its head; ``by`` is the time of the event loop by which that has to be there."""
        headers, trace = call.headers, TRACE_HEADERS.get()
        if trace is not None:
            headers = {**(headers or {}), **trace}
        if call.url.scheme == "http" and not self.limits.max_connections_per_host:
            if self._plain is None:
                self._plain = PlainClient(self.limits.keepalive_s, _HEADERS)
            limits = {"connect_s": timeouts.connect_s, "total_s": timeouts.total_s}
            return await self._plain.send(call, headers, **limits, by=by)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # aiohttp sets TCP_NODELAY on every connection.
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self.limits.max_connections_per_host,
                    keepalive_timeout=self.limits.keepalive_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers=_HEADERS,
                auto_decompress=True,
            )
        return _Aiohttp(await _within(by, self._request(self._session, call, headers, timeouts)))

    @staticmethod
    async def _request(
        session: aiohttp.ClientSession, call: Call, headers: Mapping[str, str] | None, timeouts: Timeouts
    ) -> aiohttp.ClientResponse:
        try:
            return await session.request(
                call.method,
                call.url,
                data=call.data,
                headers=headers,
                allow_redirects=False,
                timeout=_for_aiohttp(timeouts),
            )
        except aiohttp.ConnectionTimeoutError:
            raise NoConnectionError from None

    async def _body(self, response: Answer, call: Call, by: float | None = None) -> bytes:
        """The body, bounded. An error's body is cut at its bound, any other is refused."""
        failed = response.status >= 300
        limit = _ERROR_BODY_BYTES if failed else self.limits.max_body_bytes
        stated = response.content_length
        if failed or stated is None or stated <= limit:
            body = await response.readany(by)
            more = await response.readany(by) if body else b""
            if more:
                # One buffer that grows: a hundred thousand small pieces would leave the heap in shreds.
                buffer = bytearray(body)
                while more and len(buffer) <= limit:
                    buffer += more
                    more = await response.readany(by)
                body = bytes(buffer)
            if failed or len(body) <= limit:
                return body[:limit] if failed else body
        response.close()
        raise BadResponseError(
            f"candidate {call.candidate!r} sent a body of more than {limit} bytes.", candidate=call.candidate
        )

    async def _not_a_stream(self, response: Answer, call: Call, by: float | None) -> BackendError:
        body = await self._body(response, call, by)
        if response.status >= 300:
            return from_status(response.status, response.headers, body, call.candidate, call.secrets)
        kind = media_type(response.headers)
        if is_json(kind):
            content = json_object(body, call.candidate)
            if "error" in content:
                return from_error_object(content, call.candidate, call.secrets)
        return BadResponseError(
            f"candidate {call.candidate!r} answered with {kind} instead of a stream.",
            candidate=call.candidate,
        )


class _Aiohttp:
    """aiohttp's response as an ``Answer``."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status, self.headers = response.status, response.headers
        self.content_length, self.close = response.content_length, response.close

    async def readany(self, by: float | None = None) -> bytes:
        """See ``Answer.readany``."""
        return await _within(by, self._response.content.readany())


async def _within(by: float | None, work: Coroutine[Any, Any, _T]) -> _T:
    if by is None:
        return await work
    waiting = asyncio.timeout_at(by)
    try:
        async with waiting:
            return await work
    except TimeoutError:
        if waiting.expired():
            raise SilentError from None
        raise


async def _skip_tail(response: Answer) -> None:
    """Read what little follows the last event, so that the connection goes back to the pool."""
    by = asyncio.get_running_loop().time() + _TAIL_S
    # The answer is complete already.
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError, BackendError):
        while await response.readany(by):
            pass


@functools.lru_cache(maxsize=256)
def _for_aiohttp(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    # ``connect`` holds for the look-up of the name too; there is no waiting for a place in the pool.
    connect_s = timeouts.connect_s
    return aiohttp.ClientTimeout(total=timeouts.total_s, connect=connect_s, sock_connect=connect_s)


def _silence(timeouts: Timeouts, began: bool) -> str:
    if began:
        return f"silent for {timeouts.idle_s} s in the middle of its answer"
    return f"no first event within {timeouts.first_byte_s} s"


def _timed_out(error: TimeoutError, timeouts: Timeouts, candidate: str, silence: str = "") -> TimeoutError_:
    what = silence or f"no whole answer within {timeouts.total_s} s"
    if isinstance(error, NoConnectionError):
        what = f"no connection within {timeouts.connect_s} s"
    return TimeoutError_(f"candidate {candidate!r}: {what}.", candidate=candidate)


def _endless(candidate: str, most_bytes: int) -> BadResponseError:
    return BadResponseError(
        f"candidate {candidate!r} sent a stream of more than {most_bytes} bytes.", candidate=candidate
    )
