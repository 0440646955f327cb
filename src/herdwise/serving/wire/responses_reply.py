"""OpenAI's Responses API: the answer. A whole one is what a stream of one piece would have ended with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from herdwise.serving.course import Course
from herdwise.serving.wire.api import Writer, chat_usage, count, details, is_json, named_event
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, content_text

#: Fields of the request that stand in the response again; what the request leaves out is told as null.
_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt_cache_key", "reasoning"),
    *("safety_identifier", "service_tier", "temperature", "top_logprobs", "top_p", "user"),
)
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def usage(stated: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Token counts in this API's shape; None where the upstream did not state both."""
    told = stated or {}
    given, answered = count(told, "prompt_tokens"), count(told, "completion_tokens")
    if given is None or answered is None:
        return None
    read = count(details(told, "prompt_tokens_details"), "cached_tokens")
    thought = count(details(told, "completion_tokens_details"), "reasoning_tokens")
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": read or 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": thought or 0},
        "total_tokens": given + answered,
    }


class ResponseWriter(Writer):
    """Writes one response. Only the first choice is told, as this API knows only one."""

    def __init__(self, request: ChatRequest, course: Course) -> None:
        self._asked, self._id, self._created_at = request.asked, course.id, int(course.created_at)
        self._number = -1
        self._begun = False
        self._model: Any = None
        self._output: list[dict[str, Any]] = []
        #: Place in the output of what is open: the text or thought, if any, and each tool call.
        self._open: int | None = None
        self._calls: dict[int, int] = {}
        self._usage: Mapping[str, Any] | None = None
        self._reason: str | None = None

    def chunk(self, body: Mapping[str, Any]) -> bytes:
        """See ``Writer.chunk``."""
        out: list[bytes] = []
        self._begin(out, body)
        for choice in body.get("choices") or ():
            if choice.get("index", 0) == 0:
                self.take(out, choice.get("delta") or {}, choice)
        return b"".join(out)

    def take(self, out: list[bytes], delta: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        """A piece of the answer, or a whole message."""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            self._think(out, thought)
        if text := content_text(delta.get("content")):
            tokens = (choice.get("logprobs") or {}).get("content") or ()
            self._say(out, text, [{"top_logprobs": [], **token} for token in tokens])
        if refusal := content_text(delta.get("refusal")):
            self._refuse(out, refusal)
        for place, piece in enumerate(delta.get("tool_calls") or ()):
            self._call(out, piece, piece.get("index", place))
        self._reason = choice.get("finish_reason") or self._reason

    def end(self, explained: Mapping[str, Any] | None) -> bytes:
        """See ``Writer.end``."""
        out: list[bytes] = []
        self._begin(out, {})
        response = self.response(out)
        if explained is not None:
            response["herdwise"] = explained
        self._event(out, f"response.{response['status']}", response=response)
        return b"".join(out)

    def error(self, error: WireError) -> bytes:
        """See ``Writer.error``."""
        out: list[bytes] = []
        self._begin(out, {})  # a stream that only kept the line open so far has begun nothing
        told = {name: error.error.get(name) for name in ("code", "message", "param")}
        self._event(out, "error", **told)
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        failure = {"code": code, "message": error.error.get("message")}
        self._event(out, "response.failed", response=self._frame("failed", error=failure))
        return b"".join(out)

    def response(self, out: list[bytes], answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The response as it ends; items that were open are closed.

        Args:
            out: takes the events of closing them.
            answer: what states model and usage, for an answer that came whole.
        """
        if answer is not None:
            self._note(answer)
        cut = _INCOMPLETE.get(self._reason or "")
        self._close_open(out, "incomplete" if cut else "completed")
        for place in list(self._calls.values()):
            self._close(out, place, "incomplete" if cut else "completed")
        self._calls.clear()
        if cut:
            return self._frame("incomplete", incomplete_details={"reason": cut})
        return self._frame("completed")

    def _note(self, body: Mapping[str, Any]) -> None:
        self._model = body.get("model") or self._model
        self._usage = chat_usage(body) or self._usage

    def _begin(self, out: list[bytes], body: Mapping[str, Any]) -> None:
        self._note(body)
        if not self._begun:
            self._begun = True
            self._event(out, "response.created", response=self._frame("in_progress"))
            self._event(out, "response.in_progress", response=self._frame("in_progress"))

    def _frame(self, status: str, **more: Any) -> dict[str, Any]:
        asked = self._asked
        return {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created_at,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": list(self._output),
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "store": False,
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "truncation": "disabled",
            "usage": usage(self._usage),
            **{name: asked.get(name) for name in _ECHOED},
            **more,
        }

    def _think(self, out: list[bytes], text: str) -> None:
        place = self._opened(out, "reasoning", summary=[], content=[])
        part = self._part(out, place, {"type": "reasoning_text", "text": ""})
        part["text"] += text
        self._piece(out, "response.reasoning_text.delta", place, delta=text)

    def _say(self, out: list[bytes], text: str, logprobs: list[Mapping[str, Any]]) -> None:
        place = self._opened(out, "message", role="assistant", content=[])
        part = self._part(out, place, {"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        part["text"] += text
        part["logprobs"] += logprobs
        self._piece(out, "response.output_text.delta", place, delta=text, logprobs=logprobs)

    def _refuse(self, out: list[bytes], text: str) -> None:
        place = self._opened(out, "message", role="assistant", content=[])
        part = self._part(out, place, {"type": "refusal", "refusal": ""})
        part["refusal"] += text
        self._piece(out, "response.refusal.delta", place, delta=text)

    def _call(self, out: list[bytes], piece: Mapping[str, Any], number: int) -> None:
        function = piece.get("function") or {}
        if number not in self._calls:
            self._close_open(out, "completed")
            for other, place in list(self._calls.items()):
                if is_json(self._output[place]["arguments"]):
                    self._close(out, place, "completed")
                    del self._calls[other]
            call = {"call_id": piece.get("id"), "name": function.get("name"), "arguments": ""}
            self._calls[number] = self._add(out, "function_call", **call)
        place = self._calls[number]
        more = function.get("arguments") or ""
        if more:
            self._output[place]["arguments"] += more
            item_id = self._output[place]["id"]
            self._event(
                out, "response.function_call_arguments.delta", item_id=item_id, output_index=place, delta=more
            )

    def _opened(self, out: list[bytes], kind: str, **fields: Any) -> int:
        """The place of the open item of this kind, begun if there is none."""
        if self._open is None or self._output[self._open]["type"] != kind:
            self._close_open(out, "completed")
            self._open = self._add(out, kind, **fields)
        return self._open

    def _add(self, out: list[bytes], kind: str, **fields: Any) -> int:
        place = len(self._output)
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        item = {"id": f"{prefix}_{self._id}_{place}", "type": kind, "status": "in_progress", **fields}
        self._output.append(item)
        self._event(out, "response.output_item.added", output_index=place, item=item)
        return place

    def _part(self, out: list[bytes], place: int, fresh: dict[str, Any]) -> dict[str, Any]:
        """The last part of an item's content, begun if it is of another type."""
        parts: list[dict[str, Any]] = self._output[place]["content"]
        if not parts or parts[-1]["type"] != fresh["type"]:
            if parts:
                self._close_part(out, place)
            parts.append(fresh)
            self._piece(out, "response.content_part.added", place, part=fresh)
        return parts[-1]

    def _close_part(self, out: list[bytes], place: int) -> None:
        part = self._output[place]["content"][-1]
        if part["type"] == "output_text":
            told = {"text": part["text"], "logprobs": part["logprobs"]}
            self._piece(out, "response.output_text.done", place, **told)
        elif part["type"] == "refusal":
            self._piece(out, "response.refusal.done", place, refusal=part["refusal"])
        else:
            self._piece(out, "response.reasoning_text.done", place, text=part["text"])
        self._piece(out, "response.content_part.done", place, part=part)

    def _close_open(self, out: list[bytes], status: str) -> None:
        if self._open is not None:
            self._close(out, self._open, status)
            self._open = None

    def _close(self, out: list[bytes], place: int, status: str) -> None:
        item = self._output[place]
        item["status"] = status
        if item["type"] == "function_call":
            told = {"name": item["name"], "arguments": item["arguments"]}
            done = "response.function_call_arguments.done"
            self._event(out, done, item_id=item["id"], output_index=place, **told)
        else:
            self._close_part(out, place)
        self._event(out, "response.output_item.done", output_index=place, item=item)

    def _piece(self, out: list[bytes], kind: str, place: int, **fields: Any) -> None:
        """An event about the last part of an item's content."""
        item = self._output[place]
        where = {"item_id": item["id"], "output_index": place, "content_index": len(item["content"]) - 1}
        self._event(out, kind, **where, **fields)

    def _event(self, out: list[bytes], kind: str, **fields: Any) -> None:
        self._number += 1
        out.append(named_event({"type": kind, "sequence_number": self._number, **fields}))
