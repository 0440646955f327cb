"""A connection to an http upstream, and the answer that comes by it, read as the bytes come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import aiohttp
import httptools
from multidict import CIMultiDict

from herdwise.core.errors import BackendError, BadResponseError
from herdwise.transport.call import SilentError
from herdwise.transport.inflate import Inflate, inflate

#: Bytes that may lie unread before the server has to wait.
_MOST_UNREAD = 128 * 1024
#: Bytes in which nothing of a body comes: longest head, and longest trailers.
_MOST_HEAD = 128 * 1024


class PlainAnswer:
    """See ``call.Answer``.

    Args:
        connection: by which it comes.
        candidate: whom errors name.
        total_at: time of the event loop by which all of it has to be there, None = no matter.
    """

    def __init__(self, connection: PlainConnection, candidate: str, total_at: float | None) -> None:
        self._connection, self.candidate = connection, candidate
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self._total_at = total_at
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._inflate: Inflate | None = None
        self.begun = self.over = False
        self._problem: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.due_at: float | None = None

    @property
    def content_length(self) -> int | None:
        """See ``call.Answer``."""
        stated = self.headers.get("Content-Length", "")
        return int(stated) if stated.isdecimal() else None

    async def begin(self, by: float | None) -> None:
        """Wait for the head.

        Raises:
            SilentError, TimeoutError, BackendError, aiohttp.ClientError, OSError: see ``readany``.
        """
        while not self.begun:
            if self._problem is not None:
                raise self._problem
            await self._wait(by)

    async def readany(self, by: float | None = None) -> bytes:
        """See ``call.Answer``."""
        while True:
            if self._pieces:
                if data := self._read():
                    return data
                continue
            if self._problem is not None:
                raise self._problem
            if self.over:
                if self._inflate is not None:
                    self._inflate.end()
                return b""
            await self._wait(by)

    def _read(self) -> bytes:
        pieces = self._pieces
        if self._inflate is None:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._unread = 0
        else:
            packed = pieces.popleft()
            data, left = self._inflate.feed(packed)
            if left:
                pieces.appendleft(left)
            self._unread -= len(packed) - len(left)
        if self._unread < _MOST_UNREAD:
            self._connection.resume()
        return data

    async def _wait(self, by: float | None) -> None:
        total_at = self._total_at
        self.due_at = total_at if by is None else by if total_at is None else min(by, total_at)
        if self.due_at is not None:
            self._connection.look_at(self.due_at)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self.due_at = None

    def too_late(self) -> None:
        """What was awaited did not come."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(TimeoutError() if self.due_at == self._total_at else SilentError())

    def head(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head has come."""
        self.status, self.headers, self.begun = status, CIMultiDict(headers), True
        encoding = self.headers.get("Content-Encoding")
        if encoding is not None:
            try:
                self._inflate = inflate(encoding, self.candidate)
            except BackendError as error:
                self.fail(error)

    def feed(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(piece)
        self._unread += len(piece)
        if self._unread > _MOST_UNREAD:
            self._connection.pause()

    def fail(self, problem: Exception) -> None:
        """Nothing more will come; what came before can be read."""
        if self._problem is None and not self.over:
            self._problem = problem
            self.wake()

    def wake(self) -> None:
        """Something has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """See ``call.Answer``."""
        self._connection.leave(self)
        if self._problem is not None:
            # Whoever read this has been told. The frames that it was raised through hold the request and this
            # answer: held by it in turn, all of them would lie about until they are searched for.
            self._problem, self.over = None, True


class PlainConnection(asyncio.Protocol):
    """Keeps at most one request and its answer at a time.

    Args:
        on_free: takes it when it may be used for another request.
        on_lost: told when it may not, ever.
    """

    def __init__(
        self, on_free: Callable[[PlainConnection], None], on_lost: Callable[[PlainConnection], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_free, self._on_lost = on_free, on_lost
        self._answer: PlainAnswer | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: list[tuple[str, str]] = []
        self._paused = self._keep = self._to_the_end = self._interim = False
        self._dry = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        # As servers err, and other clients forgive.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return self._parser is not None and self._answer is None and not self._transport.is_closing()

    def ask(self, request: bytes, candidate: str, total_at: float | None) -> PlainAnswer:
        """Send a request."""
        self._answer = answer = PlainAnswer(self, candidate, total_at)
        self._keep = self._to_the_end = self._interim = False
        self._dry = 0
        self._transport.write(request)
        return answer

    def leave(self, answer: PlainAnswer) -> None:
        """Nobody reads this answer any more."""
        if self._answer is not answer:
            return
        self._answer = None
        sent = self._transport.get_write_buffer_size() == 0
        if answer.over and self._keep and sent and self._parser is not None:
            self.resume()
            self._on_free(self)
        else:
            self.close()

    def close(self) -> None:
        """End it."""
        if self._parser is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        answer, parser = self._answer, self._parser
        if answer is None or answer.over or parser is None:  # nobody asked for it
            self._keep = False
            self._transport.abort()
            return
        self._dry += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keep = False
            said = " ".join(str(error).split())[:200]
            who = f"candidate {answer.candidate!r}"
            problem = BadResponseError(f"{who} does not speak HTTP: {said}.", candidate=answer.candidate)
            answer.fail(problem)
            self.close()
            return
        if self._dry > _MOST_HEAD and not answer.over:
            problem = BadResponseError(
                f"candidate {answer.candidate!r} does not speak HTTP: its headers do not end.",
                candidate=answer.candidate,
            )
            answer.fail(problem)
            self.close()
            return
        answer.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._parser = None  # which refers back to this
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        answer, self._keep = self._answer, False
        if answer is not None:
            if answer.begun and self._to_the_end and exc is None:
                answer.over = True
            elif answer.begun:
                answer.fail(aiohttp.ClientPayloadError("the connection broke"))
            else:
                answer.fail(exc or aiohttp.ServerDisconnectedError())
            answer.wake()
        self._on_lost(self)

    # -- the parser's --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; a second one was not asked for."""
        if self._answer is not None and self._answer.over:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer."""
        if self._answer is not None and not self._answer.begun:
            told = name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
            self._headers.append(told)

    def on_headers_complete(self) -> None:
        """The head is there."""
        answer, parser = self._answer, self._parser
        headers, self._headers = self._headers, []
        if answer is None or parser is None or answer.begun:
            return
        status = parser.get_status_code()
        self._interim = 100 <= status < 200
        if self._interim:
            return
        answer.head(status, headers)
        coding = answer.headers.get("Transfer-Encoding", "").lower()
        self._to_the_end = "chunked" not in coding and "Content-Length" not in answer.headers
        self._keep = parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._answer is not None and not self._answer.over:
            self._dry = 0
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        """The answer has ended, or one that only says that it is to come."""
        if self._interim:
            self._interim = False
        elif self._answer is not None:
            self._answer.over = True

    # -- pace and time -------------------------------------------------------------------------------

    def pause(self) -> None:
        """Take nothing more for now."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def look_at(self, when: float) -> None:
        """See at this time whether what is awaited has come.

        One timer serves many readings, and requests: it only has to ring in time.
        """
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(when, self._ring), when

    def _ring(self) -> None:
        self._timer = None
        due_at = None if self._answer is None else self._answer.due_at
        if self._answer is None or due_at is None:
            return
        if due_at <= self._loop.time():
            self._answer.too_late()
        else:
            self.look_at(due_at)
