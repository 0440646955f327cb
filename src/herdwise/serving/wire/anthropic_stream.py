"""Anthropic's Messages: a streamed answer. Blocks come one after another, each opened and closed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from herdwise.serving.wire.anthropic_reply import error_body, frame, stop_reason, thoughts, usage
from herdwise.serving.wire.api import Writer, chat_usage, is_json, named_event
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, content_text


class _Call:
    """A tool call whose block waits, or is open."""

    __slots__ = ("arguments", "id", "name", "open")

    def __init__(self) -> None:
        self.id, self.name, self.arguments, self.open = "", "", "", False


class MessageWriter(Writer):
    """Writes one message. Only the first choice is told, as this API knows only one.

    OpenAI's chunks may switch between tool calls and text at any time, and Anthropic's blocks may not: what
    begins while a call is unfinished is held back until that one is whole.
    """

    def __init__(self, request: ChatRequest, decision_id: str) -> None:
        self._request, self._id = request, decision_id
        self._begun = False
        self._index = -1
        #: The kind of the open block: "", "text", "thinking" or "tool_use".
        self._kind = ""
        self._thought, self._signed = "", False
        self._calls: dict[int, _Call] = {}
        self._current: int | None = None
        #: What was said in the midst of an unfinished call.
        self._held: list[Mapping[str, Any]] = []
        self._last: Mapping[str, Any] = {}
        self._usage: Mapping[str, Any] | None = None

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """See ``Writer.chunk``."""
        out: list[bytes] = []
        self._begin(out, body.get("model"))
        self._usage = chat_usage(body) or self._usage
        for choice in body.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            self._delta(out, choice.get("delta") or {})
            if choice.get("finish_reason"):
                self._last = choice
        return b"".join(out)

    def end(self, explained: Mapping[str, Any] | None) -> bytes:
        """See ``Writer.end``."""
        out: list[bytes] = []
        self._begin(out, None)
        self._flush(out)
        for delta in self._held:
            self._delta(out, delta)
        self._close(out)
        reason, sequence = stop_reason(self._last, self._request, calls=bool(self._calls))
        counts = {name: count for name, count in usage(self._usage).items() if count is not None}
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        counts = {"output_tokens": None, **counts}
        out.append(named_event({"type": "message_delta", "delta": delta, "usage": counts}))
        more = {} if explained is None else {"herdwise": explained}
        out.append(named_event({"type": "message_stop", **more}))
        return b"".join(out)

    def error(self, error: WireError) -> bytes:
        """See ``Writer.error``."""
        return named_event(error_body(error))

    def _begin(self, out: list[bytes], model: Any) -> None:
        if self._begun:
            return
        self._begun = True
        # The true count comes with the end; until then, the estimate that routing went by.
        estimate = math.ceil(self._request.query.input_tokens)
        message = {**frame(self._id, model), "usage": {"input_tokens": estimate, "output_tokens": 0}}
        out.append(named_event({"type": "message_start", "message": message}))

    def _delta(self, out: list[bytes], delta: Mapping[str, Any]) -> None:
        blocks = thoughts(delta)
        text = content_text(delta.get("content")) or content_text(delta.get("refusal"))
        current = None if self._current is None else self._calls[self._current]
        if (blocks or text) and current is not None and not is_json(current.arguments):
            self._held.append({key: value for key, value in delta.items() if key != "tool_calls"})
            blocks, text = [], ""
        for block in blocks:
            self._think(out, block)
        if text:
            self._flush(out)
            self._open(out, "text", {"type": "text", "text": ""})
            self._say(out, {"type": "text_delta", "text": text})
        for place, piece in enumerate(delta.get("tool_calls") or ()):
            self._call(out, piece, piece.get("index", place))

    def _think(self, out: list[bytes], block: Mapping[str, Any]) -> None:
        self._flush(out)
        if block.get("type") != "thinking":  # redacted: told whole
            self._close(out)
            self._open(out, "redacted_thinking", block)
            self._close(out)
            return
        if self._kind == "thinking" and self._signed:  # a signature ends its block
            self._close(out)
        self._open(out, "thinking", {"type": "thinking", "thinking": "", "signature": ""})
        text, signature = block.get("thinking") or "", block.get("signature")
        # A signed thought comes whole, after its text has come in pieces.
        if text and not (signature and text == self._thought):
            self._thought += text
            self._say(out, {"type": "thinking_delta", "thinking": text})
        if signature:
            self._signed = True
            self._say(out, {"type": "signature_delta", "signature": signature})

    def _call(self, out: list[bytes], piece: Mapping[str, Any], number: int) -> None:
        call = self._calls.setdefault(number, _Call())
        function = piece.get("function") or {}
        call.id = call.id or piece.get("id") or ""
        call.name = call.name or function.get("name") or ""
        more = function.get("arguments") or ""
        call.arguments += more
        if self._current == number and call.open:
            self._tell(out, more)
            return
        current = None if self._current is None else self._calls[self._current]
        if (current is None or is_json(current.arguments)) and call.name and not call.open:
            self._start(out, number, call)

    def _start(self, out: list[bytes], number: int, call: _Call) -> None:
        self._close(out)
        start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        self._open(out, "tool_use", start)
        self._current, call.open = number, True
        self._tell(out, call.arguments)

    def _tell(self, out: list[bytes], arguments: str) -> None:
        if arguments:
            self._say(out, {"type": "input_json_delta", "partial_json": arguments})

    def _flush(self, out: list[bytes]) -> None:
        """Tell the calls that were held back."""
        for number, call in self._calls.items():
            if not call.open:
                self._start(out, number, call)
        self._current = None

    def _open(self, out: list[bytes], kind: str, start: Mapping[str, Any]) -> None:
        if self._kind == kind and kind != "tool_use":
            return
        self._close(out)
        self._kind, self._index = kind, self._index + 1
        out.append(named_event({"type": "content_block_start", "index": self._index, "content_block": start}))

    def _say(self, out: list[bytes], delta: Mapping[str, Any]) -> None:
        out.append(named_event({"type": "content_block_delta", "index": self._index, "delta": delta}))

    def _close(self, out: list[bytes]) -> None:
        if self._kind:
            out.append(named_event({"type": "content_block_stop", "index": self._index}))
        self._kind, self._thought, self._signed = "", "", False
