"""OpenAI's chat completions: what goes back. The upstream's own objects, with ``model`` made true.

``completion_body`` and ``chunk_body`` make the inner form that every API's reply is translated from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from herdwise.core.completion import Chunk
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.service import Service
from herdwise.serving.wire.api import Api, Writer, data_event
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, read_chat


class ChatCompletions(Api):
    """POST /v1/chat/completions."""

    path: ClassVar[str] = "/v1/chat/completions"
    counts: ClassVar[bool] = False

    def read(
        self, raw: bytes, own: Mapping[str, str], headers: Mapping[bytes, bytes], service: Service
    ) -> ChatRequest:
        """See ``Api.read``."""
        del headers
        return read_chat(raw, own, service)

    def whole(self, answer: dict[str, Any], request: ChatRequest, course: Course) -> Mapping[str, Any]:
        """See ``Api.whole``: it is the inner form already."""
        del request, course
        return answer

    def writer(self, request: ChatRequest, course: Course) -> Writer:
        """See ``Api.writer``."""
        del request
        return _ChatWriter(course)


class _ChatWriter(Writer):
    def __init__(self, course: Course) -> None:
        self._course = course
        self._first: Mapping[str, Any] = {}

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        self._first = self._first or body
        return data_event(body)

    def end(self, explained: Mapping[str, Any] | None) -> bytes:
        last = b"" if explained is None else data_event(closing_chunk(self._course, self._first, explained))
        ask = self._course.returned
        if ask is not None and ask.finish_reason is None:  # the upstream ended well, but did not say why
            reason = "tool_calls" if ask.beyond_text else "stop"
            n = n if isinstance(n := self._course.body.get("n"), int) else 1
            choices = [{"index": index, "delta": {}, "finish_reason": reason} for index in range(n)]
            last = data_event({**frame(self._course, self._first), "choices": choices}) + last
        return last + b"data: [DONE]\n\n"

    def error(self, error: WireError) -> bytes:
        # The status has been sent; an error event, and no [DONE], is how clients learn of it.
        return data_event(error.body)


def completion_body(course: Course, explained: Mapping[str, Any] | None) -> dict[str, Any]:
    """A whole answer.

    Args:
        course: one that was answered, not streamed.
        explained: the ``herdwise`` object, where it was asked for.
    """
    ask = course.returned
    if ask is None or ask.completion is None:
        raise ValueError("a course without an answer has no completion")
    body: dict[str, Any] = {**ask.completion.body, "model": ask.candidate}
    if ask.finish_reason is None:
        body["choices"] = [_ended(choice) for choice in body.get("choices") or ()]
    total = _total_usage(course)
    if total is not None:
        body["usage"] = total
    if explained is not None:
        body["herdwise"] = explained
    return body


def chunk_body(
    course: Course, ask: LiveAsk, chunk: Chunk, *, first: Mapping[str, Any], include_usage: bool
) -> dict[str, Any] | None:
    """One chunk as the client gets it; None for one that only states usage nobody asked for.

    Args:
        course: its course.
        ask: whose chunk it is.
        chunk: as it came.
        first: when another ask began the stream, its first chunk: a stream keeps one id to its end.
        include_usage: whether the client asked for usage.
    """
    body: dict[str, Any] = {**chunk.body, "model": ask.candidate}
    if not body.get("choices") and body.get("usage") is not None:
        if not include_usage:
            return None
        total = _total_usage(course)
        if total is not None:
            body["usage"] = total
    if first:
        body |= {key: first[key] for key in ("id", "created") if key in first}
        body["choices"] = [_without_role(choice) for choice in body.get("choices") or ()]
    return body


def closing_chunk(course: Course, first: Mapping[str, Any], explained: Mapping[str, Any]) -> dict[str, Any]:
    """A chunk without choices that carries the ``herdwise`` object, the last before ``[DONE]``."""
    return {**frame(course, first), "choices": [], "herdwise": explained}


def frame(course: Course, first: Mapping[str, Any]) -> dict[str, Any]:
    """What chunks of our own begin with; ``first`` is the stream's first chunk."""
    return {
        "id": first.get("id", course.id),
        "object": "chat.completion.chunk",
        "created": first.get("created", int(course.created_at)),
        "model": course.returned.candidate if course.returned else None,
    }


def _ended(choice: Any) -> Any:
    """A whole choice with the finish reason that clients need and its upstream left out."""
    if not isinstance(choice, Mapping) or choice.get("finish_reason") is not None:
        return choice
    calls = (choice.get("message") or {}).get("tool_calls")
    return {**choice, "finish_reason": "tool_calls" if calls else "stop"}


def _total_usage(course: Course) -> dict[str, int] | None:
    """Tokens over all asks, where several spent some and all are known; otherwise the answer's own stand."""
    if len(course.asks) < 2:
        return None
    spending = [ask for ask in course.asks if not ask.spent_nothing]
    usage = course.usage()
    if len(spending) < 2 or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _without_role(choice: Any) -> Any:
    delta = choice.get("delta") if isinstance(choice, Mapping) else None
    if not isinstance(delta, Mapping) or "role" not in delta:
        return choice
    return {**choice, "delta": {key: value for key, value in delta.items() if key != "role"}}
