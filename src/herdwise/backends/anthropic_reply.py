"""Anthropic's message and its stream -> OpenAI's chat completion and chunks.

What chat completions have no word for stands where others put it too: thoughts in ``reasoning_content`` and,
with the signatures that Anthropic wants back, in ``thinking_blocks``; the stop sequence in the choice's
``stop_reason``; cached tokens in ``usage``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from herdwise.core.errors import BadResponseError

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


def to_completion(message: Mapping[str, Any], candidate: str) -> dict[str, Any]:
    """A ``chat.completion`` object.

    Raises:
        BadResponseError: when it is not a message.
    """
    content = message.get("content")
    if not isinstance(content, list):
        raise BadResponseError(
            f"candidate {candidate!r} sent an answer without content.", candidate=candidate
        )
    blocks = [block for block in content if isinstance(block, Mapping)]
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    told: dict[str, Any] = {"role": "assistant", "content": text or None}
    thoughts = [block for block in blocks if block.get("type") in _THOUGHTS]
    if thoughts:
        told["reasoning_content"] = "".join(str(block.get("thinking", "")) for block in thoughts)
        told["thinking_blocks"] = thoughts
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        told["tool_calls"] = calls
    choice = {"index": 0, "message": told, **_ending(message)}
    return {
        **_frame(message, "chat.completion"),
        "choices": [choice],
        "usage": usage(message.get("usage")),
    }


def usage(stated: Any) -> dict[str, Any] | None:
    """Token counts in OpenAI's shape, where cached input is a part of the prompt; None = not stated."""
    told = stated if isinstance(stated, Mapping) else {}
    fresh, answered = told.get("input_tokens"), told.get("output_tokens")
    if fresh is None or answered is None:
        return None
    read, written = told.get("cache_read_input_tokens") or 0, told.get("cache_creation_input_tokens") or 0
    counts: dict[str, Any] = {
        "prompt_tokens": fresh + read + written,
        "completion_tokens": answered,
        "total_tokens": fresh + read + written + answered,
    }
    if read or written:
        counts["prompt_tokens_details"] = {"cached_tokens": read}
        counts["cache_read_input_tokens"], counts["cache_creation_input_tokens"] = read, written
    return counts


class MessageStream:
    """One stream's events, in order, as chunks.

    Args:
        candidate: whom errors name.
    """

    def __init__(self, candidate: str) -> None:
        self._candidate = candidate
        self._frame: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._calls = 0
        self._thought, self._signature = "", ""
        #: Type of the open block.
        self._block: Any = None

    def feed(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks that an event makes; most make one, some none.

        Raises:
            BadResponseError: for an event before the message's start, or one that lacks its parts.
        """
        kind = event.get("type")
        if kind == "message_start":
            message = _part(event, "message", self._candidate)
            self._frame = _frame(message, "chat.completion.chunk")
            self._note(message.get("usage"))
            yield self._chunk({"role": "assistant", "content": ""})
        elif kind == "ping":
            return
        elif not self._frame:
            who = f"candidate {self._candidate!r}"
            raise BadResponseError(
                f"{who} sent {kind!r} before the message began.", candidate=self._candidate
            )
        elif kind == "content_block_start":
            yield from self._start(_part(event, "content_block", self._candidate))
        elif kind == "content_block_delta":
            yield from self._delta(_part(event, "delta", self._candidate))
        elif kind == "content_block_stop":
            yield from self._stop()
        elif kind == "message_delta":
            self._note(event.get("usage"))
            yield self._chunk({}, **_ending(_part(event, "delta", self._candidate)))
        elif kind == "message_stop" and (counts := usage(self._usage)) is not None:
            yield {**self._frame, "choices": [], "usage": counts}

    def _note(self, stated: Any) -> None:
        """Counts are cumulative: the later hold."""
        if isinstance(stated, Mapping):
            self._usage |= {key: value for key, value in stated.items() if value is not None}

    def _start(self, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self._block, self._thought, self._signature = block.get("type"), "", ""
        if self._block == "tool_use":
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": self._calls, "id": block.get("id"), "type": "function", "function": function}
            self._calls += 1
            yield self._chunk({"tool_calls": [call]})
        elif self._block == "redacted_thinking":
            yield self._chunk({"thinking_blocks": [dict(block)]})
        elif self._block == "text" and block.get("text"):
            yield self._chunk({"content": block["text"]})

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind = delta.get("type")
        if kind == "text_delta":
            yield self._chunk({"content": delta.get("text", "")})
        elif kind == "thinking_delta":
            self._thought += delta.get("thinking", "")
            yield self._chunk({"reasoning_content": delta.get("thinking", "")})
        elif kind == "signature_delta":
            self._signature += delta.get("signature", "")
        elif kind == "input_json_delta" and self._block == "tool_use" and delta.get("partial_json"):
            call = {"index": self._calls - 1, "function": {"arguments": delta["partial_json"]}}
            yield self._chunk({"tool_calls": [call]})

    def _stop(self) -> Iterator[dict[str, Any]]:
        """A thought is told once more when it is whole: with its signature it can be sent back."""
        if self._block == "thinking" and self._signature:
            block = {"type": "thinking", "thinking": self._thought, "signature": self._signature}
            yield self._chunk({"thinking_blocks": [block]})
        self._block = None

    def _chunk(self, delta: Mapping[str, Any], **ending: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": None, **ending}
        return {**self._frame, "choices": [choice]}


def _frame(message: Mapping[str, Any], kind: str) -> dict[str, Any]:
    told = {"id": message.get("id"), "object": kind, "created": int(time.time())}
    return {**told, "model": message.get("model")}


def _ending(message: Mapping[str, Any]) -> dict[str, Any]:
    reason, sequence = message.get("stop_reason"), message.get("stop_sequence")
    told = {"finish_reason": None if reason is None else _REASONS.get(reason, "stop")}
    return {**told, "stop_reason": sequence} if sequence else told


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def _part(event: Mapping[str, Any], name: str, candidate: str) -> Mapping[str, Any]:
    part = event.get(name)
    if not isinstance(part, Mapping):
        raise BadResponseError(
            f"candidate {candidate!r} sent a {event.get('type')!r} event without {name}.", candidate=candidate
        )
    return part
