"""One request that is being carried out, and its reply in the API that it came by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from starlette.types import Message, Receive, Send

from herdwise.core.completion import Chunk
from herdwise.core.errors import BackendError, HerdwiseError, TimeoutError_
from herdwise.routing.base import Policy
from herdwise.serving.asking import ClientGoneError
from herdwise.serving.cache_answer import cache_headers
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.direct import Direct
from herdwise.serving.dispatch import Deliver
from herdwise.serving.explanation import explanation
from herdwise.serving.metrics import CLIENT_GONE, Metrics
from herdwise.serving.service import Service
from herdwise.serving.wire.api import Api, encode
from herdwise.serving.wire.errors import WireError, from_exception, from_failures, nobody_asked, wire_error
from herdwise.serving.wire.openai_chat import ChatRequest
from herdwise.serving.wire.openai_reply import chunk_body, completion_body

logger = logging.getLogger(__name__)

_DIRECT = Direct()
#: A line that clients of server-sent events skip; it keeps proxies from closing a silent stream.
_COMMENT = b": consulting\n\n"
#: What clients are told whose answers take longer than a process that ends may wait for them.
ENDING = wire_error("the endpoint is about to end; ask again.", status=503, code="draining")
#: Seconds from which on somebody looks whether the client is still there.
_UNWATCHED_S = 0.05
Headers = list[tuple[bytes, bytes]]
Watch = Callable[[Callable[[], None] | None], None]


class Carrier(Protocol):
    """Carries out a course: the Dispatcher, or who stands in its place."""

    async def carry_out(self, course: Course, policy: Policy, deliver: Deliver) -> None:
        """See ``Dispatcher.carry_out``."""


class Exchange:
    """One request that is being carried out, and its reply."""

    def __init__(
        self,
        service: Service,
        dispatcher: Carrier,
        api: Api,
        metrics: Metrics,
        request: ChatRequest,
        course: Course,
        send: Send,
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._service, self._dispatcher, self._api = service, dispatcher, api
        self._request, self._course, self._send_raw = request, course, send
        self._metrics, self._settle = metrics, settle
        self._writer = api.writer(request, course) if course.stream else None
        self._include_usage = request.include_usage or api.counts
        self._begun = self._gone = self._silent = False
        self._first: Mapping[str, Any] = {}
        self._beginner: LiveAsk | None = None

    async def run(self, receive: Receive, watch: Watch | None = None) -> None:
        """Carry out, reply and record; a client that goes away ends all of it, as does the process's end.

        Args:
            receive: see ASGI.
            watch: the server's own word of the client's leaving (see ``asking.GONE``); None = it has none.
        """
        task = asyncio.current_task()
        watching: list[asyncio.Task[None]] = []
        later: asyncio.TimerHandle | None = None
        if watch is not None:
            watch(lambda: self._leave(task))
        else:
            # What is answered at once needs no watching, which takes a task of its own.
            later = asyncio.get_running_loop().call_later(
                _UNWATCHED_S,
                lambda: watching.append(asyncio.create_task(self._until_gone(receive, task))),
            )
        try:
            await self._run()
        except asyncio.CancelledError:
            if not self._gone and self._course.status == "answered":
                raise  # a part of the answer may have been sent
            if task is not None:
                task.uncancel()
            if not self._gone:
                await self._reply_error(ENDING)
        except ClientGoneError:
            pass  # the course says so, and is recorded
        finally:
            if watch is not None:
                watch(None)
            if later is not None:
                later.cancel()
            for one in watching:
                one.cancel()

    async def _until_gone(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave(task)

    def _leave(self, task: asyncio.Task[Any] | None) -> None:
        self._gone = True
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        course, request = self._course, self._request
        policy = _DIRECT if request.candidate is not None else self._service.policies[request.policy]
        problem: Exception | None = None
        hold = self._service.settings.hold_tool_calls and bool(course.body.get("tools"))
        alive = None
        if course.stream and (policy.consults or hold):
            alive = asyncio.create_task(self._keep_alive(hold=hold))
        try:
            await self._dispatcher.carry_out(course, policy, self._deliver)
        except ClientGoneError:
            raise
        except HerdwiseError as error:
            problem = error
        except Exception as error:
            logger.exception("a request failed", extra={"decision_id": course.id})
            problem = error
        finally:
            if alive is not None:
                alive.cancel()
            try:
                self._record(problem)
            finally:
                await self._settle()
            if alive is not None:
                await asyncio.wait([alive])
        if course.status == "answered":
            await self._reply()
        else:
            await self._reply_error(self._error(problem))

    def _record(self, problem: Exception | None) -> None:
        """Before the last byte is sent, so that the decision can be asked for at once."""
        course, ledger = self._course, self._service.ledger
        status = 200
        if course.status == "cancelled":
            status = CLIENT_GONE if self._gone else ENDING.status
            if not self._gone:
                course.reason = "the endpoint ended before the answer did"
        elif course.status != "answered":
            status = self._error(problem).status
        course.http_status = status
        self._metrics.ended(self._api.path, course, status)
        if ledger is not None:
            ledger.record(course.record(store_texts=self._service.settings.store_texts))
        if logger.isEnabledFor(logging.INFO):
            fields = {
                "decision_id": course.id,
                "policy": course.policy,
                "candidate": course.returned.candidate if course.returned else None,
                "status": course.status,
                "attempts": course.calls,
                "overhead_ms": round(course.overhead_s() * 1000, 2),
            }
            logger.info("chat", extra=fields)

    def _error(self, problem: Exception | None) -> WireError:
        if problem is not None:
            return from_exception(problem)
        course = self._course
        problems: list[BackendError] = []
        for ask in course.asks:
            if ask.error is not None:
                problems.append(ask.error)
            elif course.timed_out and ask.status == "cancelled":
                who = f"candidate {ask.candidate!r}"
                problems.append(TimeoutError_(f"{who} had not answered yet.", candidate=ask.candidate))
        if not course.asks and not course.timed_out:
            return nobody_asked(course.reason)
        return from_failures(
            problems,
            reason=course.reason,
            timed_out=course.timed_out,
            retry_after_s=course.retry_after_s,
        )

    async def _deliver(self, course: Course, ask: LiveAsk, chunks: Sequence[Chunk]) -> None:
        """Chunks that came together, in one write."""
        parts: list[bytes] = []
        for chunk in chunks:
            another = self._beginner is not None and ask is not self._beginner
            first = self._first if another else {}
            body = chunk_body(course, ask, chunk, first=first, include_usage=self._include_usage)
            if body is None:
                continue
            if self._beginner is None:
                self._first, self._beginner = body, ask
            if self._writer is not None:
                parts.append(self._writer.chunk(body))
        if self._beginner is not None and not self._begun:
            await self._begin_stream(ask.candidate)
        if data := b"".join(parts):
            await self._send_part(data)

    async def _keep_alive(self, *, hold: bool) -> None:
        """Comments while several are consulted, or a tool call is held back, and nothing can be delivered.

        The first waits, so that what is soon decided has headers that name its candidate.
        """
        with contextlib.suppress(ClientGoneError):  # whoever watches for the client's leaving ends it
            while self._beginner is None or hold:
                self._silent = True
                await asyncio.sleep(self._service.settings.keep_alive_s)
                if self._silent and (self._beginner is None or hold):
                    if not self._begun:
                        await self._begin_stream(None)
                    await self._send_part(_COMMENT)

    async def _begin_stream(self, candidate: str | None) -> None:
        self._begun = True
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._headers(candidate),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _reply(self) -> None:
        course = self._course
        told = None
        if self._request.explain:  # a search over all recorded queries, so not on the loop
            told = await asyncio.to_thread(explanation, course, self._service.ranker)
        candidate = course.returned.candidate if course.returned else None
        if self._writer is not None:
            if not self._begun:
                await self._begin_stream(candidate)
            await self._send_part(self._writer.end(told), more=False)
            return
        body = encode(self._api.whole(completion_body(course, told), self._request, course))
        headers = [*_json_headers(body), *self._headers(candidate, course.cost_usd())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send_part(body, more=False)

    async def _reply_error(self, error: WireError) -> None:
        if self._begun and self._writer is not None:
            await self._send_part(self._writer.error(error), more=False)
        else:
            await send_error(self._send, self._api, error, self._headers(None, self._course.cost_usd()))

    def _headers(self, candidate: str | None, cost_usd: float | None = None) -> Headers:
        course = self._course
        cost = "unknown" if cost_usd is None else f"{cost_usd:.10g}"
        headers = [
            (b"x-herdwise-decision-id", course.id.encode()),
            (b"x-herdwise-policy", _header(course.policy)),
            (b"x-herdwise-attempts", str(course.calls).encode()),
            (b"x-herdwise-overhead-ms", f"{course.overhead_s() * 1000:.3f}".encode()),
            (b"x-herdwise-cost-usd", cost.encode()),
        ]
        if course.cached is not None:
            headers += cache_headers(course.cached)
        if candidate is not None:
            headers.append((b"x-herdwise-candidate", _header(candidate)))
        return headers

    async def _send_part(self, body: bytes, *, more: bool = True) -> None:
        self._silent = False
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _send(self, message: Message) -> None:
        try:
            await self._send_raw(message)
        except OSError as error:
            self._gone = True
            raise ClientGoneError from error


async def send_error(send: Send, api: Api, error: WireError, headers: Headers | None = None) -> None:
    """Send an error in the API's shape."""
    body = encode(api.error(error))
    own = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    all_headers = [*_json_headers(body), *own, *(headers or [])]
    await send({"type": "http.response.start", "status": error.status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})


def _header(text: str) -> bytes:
    return (text if text.isascii() else quote(text)).encode()


def _json_headers(body: bytes) -> Headers:
    return [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
