"""One ask of one candidate, whole or streamed, until it has an answer or a failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from herdwise.backends.base import Backend
from herdwise.core.completion import Chunk
from herdwise.core.errors import BackendError
from herdwise.serving.course import LiveAsk

logger = logging.getLogger(__name__)

#: Ends that are answers although nothing was said: the limit was spent on thinking, or a filter stepped in.
_SILENT_ENDS = frozenset({"length", "content_filter"})
#: Parts of a message that say who speaks, not what.
_NOT_SUBSTANCE = frozenset({"role", "annotations"})
#: What another candidate can't go on from.
_BEYOND_TEXT = frozenset({"tool_calls", "function_call", "audio"})

_NOTHING: frozenset[str] = frozenset()
_ALONE = {name: frozenset((name,)) for name in ("content", "tool_calls", "reasoning_content")}
#: Extension of ASGI: a function that has another one called when the client goes before its answer has ended.
GONE = "herdwise.gone"

#: Gives chunks on.
DeliverSome = Callable[[Sequence[Chunk]], Awaitable[None]]


class EmptyAnswerError(BackendError):
    """The candidate answered without saying anything."""

    kind = "empty"


class ClientGoneError(Exception):
    """What was to be sent to the client could not be: no candidate's fault."""


async def run_ask(
    ask: LiveAsk,
    backend: Backend,
    *,
    stream: bool,
    deliver: DeliverSome | None,
    hold_calls: bool = False,
) -> None:
    """Carry out one ask; its end stands in ``ask.status``, ``ask.error`` and ``ask.completion``.

    Args:
        ask: an open ask.
        backend: reaches its candidate.
        stream: whether the client wants a stream; the ask is streamed then even if nobody is delivered
            to yet, so that the client gets the upstream's own chunks.
        deliver: takes chunks as they come, those together that came together. Nothing is delivered before
            the first chunk that says something, so that an upstream that fails early, or says nothing, is
            replaced unseen.
        hold_calls: whether what text cannot go on from, such as a tool call, is delivered only when it is
            whole.

    Raises:
        asyncio.CancelledError: when it is cancelled; the upstream call is closed.
        ClientGoneError: from ``deliver``.
    """
    ask.begin()
    try:
        if stream:
            await _stream(ask, backend, deliver, hold_calls)
        else:
            await _complete(ask, backend)
    except BackendError as error:
        if ask.finish_reason is not None and not isinstance(error, EmptyAnswerError):
            ask.end("answered")  # the answer was whole; only the connection's end was not
        else:
            ask.end("failed", error)
    except (asyncio.CancelledError, ClientGoneError):
        ask.end("cancelled")
        raise
    except Exception as error:
        logger.exception("the backend of candidate %r failed unexpectedly", ask.candidate)
        problem = BackendError(
            f"the backend of candidate {ask.candidate!r} failed: {type(error).__name__}.",
            candidate=ask.candidate,
        )
        ask.end("failed", problem)
    else:
        ask.end("answered")


async def _complete(ask: LiveAsk, backend: Backend) -> None:
    completion = await backend.complete(ask.body)
    ask.completion, ask.usage = completion, completion.usage
    ask.finish_reason, ask.first_token_s = completion.finish_reason, completion.first_token_s
    if ask.finish_reason not in _SILENT_ENDS and not completion.text and not _says(completion.body):
        raise _empty(ask)


async def _stream(
    ask: LiveAsk,
    backend: Backend,
    deliver: DeliverSome | None,
    hold_calls: bool = False,
) -> None:
    began_at, beyond = time.perf_counter(), False
    async with aclosing(backend.stream_together(ask.body)) as batches:
        async for batch in batches:
            ready: list[Chunk] = []
            for chunk in batch:
                if chunk.text:
                    if ask.first_token_s is None:
                        ask.first_token_s = time.perf_counter() - began_at
                    ask.texts.append(chunk.text)
                if chunk.usage is not None:
                    ask.usage = chunk.usage
                ask.finish_reason = chunk.finish_reason or ask.finish_reason
                if said := _said(chunk.body):
                    ask.substance = True
                    beyond = beyond or not _BEYOND_TEXT.isdisjoint(said)
                elif chunk.text:
                    ask.substance = True
                waits = hold_calls and beyond and ask.finish_reason is None
                ask.chunks.append(chunk)
                if deliver is None or waits or not (ask.substance or ask.finish_reason in _SILENT_ENDS):
                    continue
                ask.beyond_text = beyond
                ready += ask.chunks
                ask.chunks = []
            if ready and deliver is not None:
                ask.delivered = True
                await deliver(ready)
    ask.beyond_text = beyond
    if deliver is not None and ask.delivered:
        held, ask.chunks = ask.chunks, []  # of a call whose end nobody said
        if held:
            await deliver(held)
    if not ask.substance and ask.finish_reason not in _SILENT_ENDS:
        raise _empty(ask)


def _said(body: Mapping[str, Any]) -> frozenset[str]:
    """The parts of a chunk's deltas that say something."""
    parts = _NOTHING
    for choice in body.get("choices") or ():
        delta = choice.get("delta")
        if delta:
            for key, value in delta.items():
                if value and key not in _NOT_SUBSTANCE:
                    # Nearly all chunks say one thing.
                    parts = _ALONE.get(key) or frozenset((key,)) if not parts else parts | {key}
    return parts


def _says(body: Mapping[str, Any]) -> bool:
    """Whether a whole answer's message says anything, in text or otherwise."""
    for choice in body.get("choices") or ():
        message = choice.get("message") or {}
        if any(value and key not in _NOT_SUBSTANCE for key, value in message.items()):
            return True
    return False


def _empty(ask: LiveAsk) -> EmptyAnswerError:
    return EmptyAnswerError(f"candidate {ask.candidate!r} gave an empty answer.", candidate=ask.candidate)
