"""OpenAI's chat-completion objects: what is read from an upstream's, and how our own are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdwise.core.completion import Chunk, Completion, Usage
from herdwise.core.errors import BadResponseError

#: What JSON's objects become; a dict is known at once, any other mapping is looked at.
_OBJECT = (dict, Mapping)


def read_completion(
    answer: Mapping[str, Any],
    candidate: str,
    *,
    latency_s: float | None = None,
) -> Completion:
    """A Completion from a ``chat.completion`` object; what it does not state stays None.

    Raises:
        BadResponseError: when it has no first choice with a message, or tool calls are none.
    """
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, _OBJECT) else None
    if not isinstance(first, _OBJECT) or not isinstance(message, _OBJECT):
        raise BadResponseError(
            f"candidate {candidate!r} sent an answer without choices[0].message.", candidate=candidate
        )
    for choice in choices or ():
        _check_calls(choice.get("message") if isinstance(choice, _OBJECT) else choice, candidate)
    return Completion(
        candidate=candidate,
        text=content_text(message.get("content")),
        finish_reason=_text(first.get("finish_reason")),
        usage=read_usage(answer.get("usage")) or Usage(),
        latency_s=latency_s,
        body=answer,
    )


def read_chunk(content: Mapping[str, Any], candidate: str) -> Chunk:
    """A Chunk from a ``chat.completion.chunk`` object; only the first choice (index 0) is read.

    Raises:
        BadResponseError: when its choices are not a list of objects, or tool calls are none.
    """
    text, finish_reason = "", None
    choices = content.get("choices") or ()
    if not isinstance(choices, (list, tuple)):
        raise _choiceless(candidate)
    for choice in choices:
        if not isinstance(choice, dict):
            raise _choiceless(candidate)
        delta = choice.get("delta")
        if delta and (not isinstance(delta, dict) or "tool_calls" in delta):
            _check_calls(delta, candidate)
        if choice.get("index", 0) != 0:
            continue
        if delta:
            said = delta.get("content")
            text += said if isinstance(said, str) else content_text(said)
        finish_reason = _text(choice.get("finish_reason")) or finish_reason
    usage = content.get("usage")
    return Chunk(content, text, finish_reason, None if usage is None else read_usage(usage))


def _choiceless(candidate: str) -> BadResponseError:
    return BadResponseError(f"candidate {candidate!r} sent a chunk without choices.", candidate=candidate)


def read_usage(usage: Any) -> Usage | None:
    """Token counts as stated; None when there are none."""
    if not isinstance(usage, _OBJECT):
        return None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def content_text(content: Any) -> str:
    """The text of a message's ``content``: a string, or the text parts of a list; "" for anything else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, _OBJECT))
    return "".join(part for part in parts if isinstance(part, str))


def _check_calls(message: Any, candidate: str) -> None:
    """Refuse a message or delta that the APIs in front could not tell."""
    calls = message.get("tool_calls", ()) if isinstance(message, _OBJECT) else 0
    if calls is None:
        return
    if not isinstance(calls, (list, tuple)) or not all(
        isinstance(call, Mapping) and isinstance(call.get("function") or {}, Mapping) for call in calls
    ):
        raise BadResponseError(
            f"candidate {candidate!r} sent a message, or tool calls in it, of another shape than OpenAI's.",
            candidate=candidate,
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    """A count of tokens that a database can hold; anything else is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
