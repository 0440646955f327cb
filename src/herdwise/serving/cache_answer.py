"""An answer that the cache keeps: put together from a stream, taken apart into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from herdwise.core.completion import Chunk
from herdwise.serving.course import Course

#: Parts of a message that come in pieces in a stream.
_TEXTS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
#: What is told before the answer itself, in pieces of its own.
_BEFORE = ("reasoning_content", "reasoning")
#: What makes an answer a step of a course, or cannot be told anew.
_NOT_KEPT = ("tool_calls", "function_call", "audio")


class CachedAnswer(msgspec.Struct, frozen=True):
    """One answer, kept.

    Args:
        decision_id: whose answer it was.
        candidate: who gave it.
        created_at: Unix time, in seconds.
        body: the ``chat.completion`` object.
    """

    decision_id: str
    candidate: str
    created_at: float
    body: dict[str, Any]


def kept_answer(course: Course, chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The ``chat.completion`` that a course ended with, where it may be given again; None otherwise.

    Only whole answers are kept that came to their own end: no errors, nothing cut off by a length's limit
    or a filter, nothing put together from several candidates, no tool calls.

    Args:
        course: one that has ended.
        chunks: what the client was sent, where it wanted a stream.
    """
    ask = course.returned
    if course.status != "answered" or ask is None or ask.continues is not None:
        return None
    if course.stream:
        if sum(one.delivered for one in course.asks) > 1:
            return None
        body = assembled(chunks)
    else:
        body = None if ask.completion is None else dict(ask.completion.body)
    choices = body.get("choices") if body is not None else None
    if not isinstance(choices, list) or not choices or not all(_whole(choice) for choice in choices):
        return None
    return body


def _whole(choice: Any) -> bool:
    if not isinstance(choice, Mapping) or choice.get("finish_reason") != "stop":
        return False
    message = choice.get("message")
    return isinstance(message, Mapping) and not any(message.get(name) for name in _NOT_KEPT)


def assembled(chunks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The whole answer that a stream came to; None where it holds what cannot be put together."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name not in {"choices", "object"} and (whole.get(name) is None):
                whole[name] = value
        for choice in chunk.get("choices") or ():
            index = choice.get("index", 0)
            so_far = choices.setdefault(
                index, {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None}
            )
            if not _join(so_far, choice):
                return None
    if not choices:
        return None
    ordered = [choices[index] for index in sorted(choices)]
    return {**whole, "object": "chat.completion", "choices": ordered}


def _join(so_far: dict[str, Any], choice: Mapping[str, Any]) -> bool:
    """Add one chunk's choice; False where it cannot be added."""
    message = so_far["message"]
    for name, value in (choice.get("delta") or {}).items():
        if name == "role" or not value:
            continue
        if name in _TEXTS and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif name == "annotations" and isinstance(value, list):
            message[name] = [*message.get(name, ()), *value]
        elif value:
            return False
    told = choice.get("logprobs")
    if isinstance(told, Mapping):
        before = so_far["logprobs"] or {}
        so_far["logprobs"] = {
            name: [*(before.get(name) or ()), *part] if isinstance(part, list) else before.get(name)
            for name, part in told.items()
        }
    rest = {name: value for name, value in choice.items() if name not in {"index", "delta", "logprobs"}}
    so_far.update((name, value) for name, value in rest.items() if value is not None)
    return True


def as_chunks(body: Mapping[str, Any]) -> Iterator[Chunk]:
    """The same answer as a stream: thoughts, text, end of each choice, then the token counts."""
    head = {name: value for name, value in body.items() if name not in {"choices", "usage"}}
    head["object"] = "chat.completion.chunk"

    def chunk(index: int, delta: Mapping[str, Any], **more: Any) -> Chunk:
        content = delta.get("content") if index == 0 else None
        told = {"index": index, "delta": delta, "finish_reason": None, **more}
        reason = more.get("finish_reason") if index == 0 else None
        return Chunk({**head, "choices": [told]}, content if isinstance(content, str) else "", reason)

    for choice in body["choices"]:
        index = choice.get("index", 0)
        message = {name: value for name, value in choice["message"].items() if value is not None}
        role = {"role": message.pop("role", "assistant")}
        thoughts = {name: message.pop(name) for name in _BEFORE if name in message}
        if thoughts:
            yield chunk(index, {**role, **thoughts})
            role = {}
        logprobs = choice.get("logprobs")
        yield chunk(index, {**role, **message}, **({} if logprobs is None else {"logprobs": logprobs}))
        end = {name: value for name, value in choice.items() if name not in {"index", "message", "logprobs"}}
        yield chunk(index, {}, **end)
    if body.get("usage") is not None:
        yield Chunk({**head, "choices": [], "usage": body["usage"]})


def cache_headers(note: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """What the cache said to a request, as headers of its answer."""
    headers = [(b"x-herdwise-cache", note["status"].encode())]
    if "decision_id" in note:
        headers.append((b"x-herdwise-cached-from", note["decision_id"].encode()))
        headers.append((b"age", str(note["age_s"]).encode()))
    if "similarity" in note:
        headers.append((b"x-herdwise-cache-similarity", f"{note['similarity']:.4f}".encode()))
    return headers
