"""Answers read as strictly as their API is documented: whoever bends a rule is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class MalformedError(Exception):
    """An answer breaks its API's rules."""


def must(condition: object, what: str) -> None:
    """A rule."""
    if not condition:
        raise MalformedError(what)


@dataclass
class Said:
    """What an answer says: its text, its calls, its usage (input and output tokens), its model."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    usage: tuple[int, int] | None = None
    model: str = ""
    error: Mapping[str, Any] | None = None


def events(raw: bytes) -> list[tuple[str | None, str]]:
    """Name and data of each server-sent event; comments are left out."""
    text = raw.decode("utf-8", "strict")
    must(text.endswith("\n\n"), f"the stream ends amid an event: {text[-60:]!r}")
    found: list[tuple[str | None, str]] = []
    for block in text[:-2].split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, data = None, []
        for line in lines:
            key, colon, value = line.partition(": ")
            must(colon and key in {"event", "data"}, f"not a line of an event: {line!r}")
            if key == "event":
                name = value
            else:
                data.append(value)
        must(len(data) == 1, f"an event of {len(data)} lines of data")
        found.append((name, data[0]))
    return found


def chat_stream(raw: bytes, *, counted: bool) -> Said:
    """A stream of chat completions; ``counted`` = the request includes usage."""
    told = events(raw)
    must(told, "no event at all")
    said, reason, ids, calls, role = Said(), None, set(), dict[int, list[str]](), False
    last = json.loads(told[-1][1]) if told[-1][1] != "[DONE]" else None
    if isinstance(last, dict) and "error" in last:
        return Said(error=last["error"])
    must(told[-1][1] == "[DONE]", f"does not end with [DONE] but {told[-1][1][:80]!r}")
    for place, (name, data) in enumerate(told[:-1]):
        must(name is None, f"an event is called {name!r}")
        chunk = json.loads(data)
        ids.add(chunk["id"])
        must(chunk["object"] == "chat.completion.chunk", chunk["object"])
        must(isinstance(chunk["created"], int), "created")
        said.model = chunk["model"]
        if not chunk["choices"]:
            must(counted, "an unasked chunk without choices")
            must(place == len(told) - 2, "usage is not in the last chunk")
            must(reason, "usage before the finish reason")
            said.usage = _usage(chunk["usage"], "prompt_tokens", "completion_tokens")
            continue
        must(len(chunk["choices"]) == 1, "more than one choice")
        choice = chunk["choices"][0]
        must(choice["index"] == 0, "index")
        must(reason is None, "something after the finish reason")
        delta = choice["delta"]
        role = role or delta.get("role") == "assistant"
        said.text += delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            if call["index"] not in calls:
                must(call.get("id"), "a call without an id")
                must(call["function"].get("name"), "a call without a name")
                must(call["index"] == len(calls), "calls out of order")
                calls[call["index"]] = [call["function"]["name"], ""]
            calls[call["index"]][1] += call["function"].get("arguments") or ""
        reason = choice["finish_reason"] or reason
    must(role, "nobody's role is said")
    must(len(ids) == 1, f"{len(ids)} ids")
    must(reason in {"stop", "length", "tool_calls"}, f"finish reason {reason!r}")
    must((reason == "tool_calls") == bool(calls), f"{len(calls)} calls, finish reason {reason!r}")
    said.calls = [(name, arguments) for name, arguments in calls.values()]
    return said


def chat_whole(answer: Mapping[str, Any]) -> Said:
    """A whole chat completion."""
    must(answer["object"] == "chat.completion", answer["object"])
    must(answer["id"], "no id")
    must(len(answer["choices"]) == 1, "choices")
    choice = answer["choices"][0]
    message = choice["message"]
    must(message["role"] == "assistant", "role")
    calls = message.get("tool_calls") or []
    must(choice["finish_reason"] in {"stop", "length", "tool_calls"}, f"reason {choice['finish_reason']!r}")
    must((choice["finish_reason"] == "tool_calls") == bool(calls), "calls and finish reason")
    return Said(
        message["content"] or "",
        [(call["function"]["name"], call["function"]["arguments"]) for call in calls],
        _usage(answer["usage"], "prompt_tokens", "completion_tokens"),
        answer["model"],
    )


def completions_stream(raw: bytes, *, counted: bool) -> Said:
    """A stream of text completions."""
    told, said, reason, ids = events(raw), Said(), None, set()
    must(told, "no event at all")
    if told[-1][1] != "[DONE]":
        last = json.loads(told[-1][1])
        must("error" in last, "does not end with [DONE]")
        return Said(error=last["error"])
    for place, (_, data) in enumerate(told[:-1]):
        chunk = json.loads(data)
        ids.add(chunk["id"])
        must(chunk["object"] == "text_completion", chunk["object"])
        said.model = chunk["model"]
        if not chunk["choices"]:
            must(counted and place == len(told) - 2, "a chunk without choices")
            said.usage = _usage(chunk["usage"], "prompt_tokens", "completion_tokens")
            continue
        must(reason is None, "something after the finish reason")
        said.text += chunk["choices"][0]["text"]
        reason = chunk["choices"][0]["finish_reason"] or reason
    must(len(ids) == 1, f"{len(ids)} ids")
    must(reason in {"stop", "length"}, f"finish reason {reason!r}")
    return said


def completions_whole(answer: Mapping[str, Any]) -> Said:
    """A whole text completion."""
    must(answer["object"] == "text_completion", answer["object"])
    choice = answer["choices"][0]
    must(choice["finish_reason"] in {"stop", "length"}, f"reason {choice['finish_reason']!r}")
    used = _usage(answer["usage"], "prompt_tokens", "completion_tokens")
    return Said(choice["text"], [], used, answer["model"])


def messages_stream(raw: bytes, *, counted: bool) -> Said:
    """A stream of Anthropic's Messages."""
    del counted
    said, n_blocks, begun = Said(), 0, None
    started = stopped = ended = False
    calls: list[list[str]] = []
    n_in = 0
    n_out: int | None = 0
    for name, data in events(raw):
        event = json.loads(data)
        kind = event["type"]
        must(name == kind, f"event {name!r} holds {kind!r}")
        must(not ended, f"{kind} after message_stop")
        if kind == "error":
            return Said(error=event["error"])
        if kind == "ping":
            continue
        if kind == "message_start":
            must(not started, "two message_start")
            started, message = True, event["message"]
            said.model = message["model"]
            must(message["content"] == [], "message_start has content")
            n_in = message["usage"]["input_tokens"]
            continue
        must(started, f"{kind} before message_start")
        if kind == "content_block_start":
            must(begun is None and not stopped, "a block within a block")
            must(event["index"] == n_blocks, f"block {event['index']} instead of {n_blocks}")
            begun = event["content_block"]
            if begun["type"] == "tool_use":
                must(begun["id"] and begun["name"], "a call without id or name")
                calls.append([begun["name"], ""])
        elif kind == "content_block_delta":
            must(begun is not None and event["index"] == n_blocks, "a delta outside its block")
            delta = event["delta"]
            if delta["type"] == "text_delta":
                must(begun and begun["type"] == "text", "text in a block of another kind")
                said.text += delta["text"]
            elif delta["type"] == "input_json_delta":
                must(begun and begun["type"] == "tool_use", "arguments in a block of another kind")
                calls[-1][1] += delta["partial_json"]
        elif kind == "content_block_stop":
            must(begun is not None and event["index"] == n_blocks, "a stop outside its block")
            begun, n_blocks = None, n_blocks + 1
        elif kind == "message_delta":
            must(begun is None and not stopped, "message_delta within a block")
            stopped = True
            reason = event["delta"]["stop_reason"]
            must(reason in {"end_turn", "max_tokens", "tool_use", "stop_sequence"}, f"reason {reason!r}")
            must((reason == "tool_use") == bool(calls), "calls and stop reason")
            n_out = event["usage"]["output_tokens"]
            n_in = event["usage"].get("input_tokens", n_in)
        elif kind == "message_stop":
            must(stopped, "message_stop before message_delta")
            ended = True
        else:
            raise MalformedError(f"unknown event {kind!r}")
    must(ended, "no message_stop")
    said.calls = [(name, arguments) for name, arguments in calls]
    said.usage = None if n_out is None else (n_in, n_out)  # nobody may have stated any
    return said


def messages_whole(answer: Mapping[str, Any]) -> Said:
    """A whole message of Anthropic's."""
    must(answer["type"] == "message" and answer["role"] == "assistant", "not a message")
    calls = [b for b in answer["content"] if b["type"] == "tool_use"]
    must((answer["stop_reason"] == "tool_use") == bool(calls), "calls and stop reason")
    return Said(
        "".join(b["text"] for b in answer["content"] if b["type"] == "text"),
        [(b["name"], json.dumps(b["input"])) for b in calls],
        _usage(answer["usage"], "input_tokens", "output_tokens"),
        answer["model"],
    )


def responses_stream(raw: bytes, *, counted: bool) -> Said:
    """A stream of the Responses API."""
    del counted
    told, text, open_items, done_items = events(raw), "", set[int](), set[int]()
    for place, (name, data) in enumerate(told):
        event = json.loads(data)
        kind = event["type"]
        must(name == kind, f"event {name!r} holds {kind!r}")
        must(event.get("sequence_number") == place, f"sequence number {event.get('sequence_number')}")
        must(place or kind == "response.created", f"begins with {kind}")
        if kind == "error":
            return Said(error=event)
        if kind == "response.failed":
            return Said(error=event["response"]["error"])
        if kind == "response.output_item.added":
            open_items.add(event["output_index"])
        elif kind == "response.output_item.done":
            must(event["output_index"] in open_items, "an item that never began is done")
            done_items.add(event["output_index"])
        elif kind == "response.output_text.delta":
            text += event["delta"]
        elif kind in {"response.completed", "response.incomplete"}:
            must(place == len(told) - 1, f"events after {kind}")
            must(open_items == done_items, "items that never end")
            said = responses_whole(event["response"])
            must(said.text == text, "the deltas are not the text")
            return said
    raise MalformedError("no response.completed")


def responses_whole(answer: Mapping[str, Any]) -> Said:
    """A whole response."""
    must(answer["object"] == "response", "object")
    must(answer["status"] in {"completed", "incomplete"}, f"status {answer['status']!r}")
    text, calls = "", []
    for item in answer["output"]:
        if item["type"] == "message":
            text += "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
        elif item["type"] == "function_call":
            must(item["call_id"], "a call without an id")
            calls.append((item["name"], item["arguments"]))
    used = None if answer["usage"] is None else _usage(answer["usage"], "input_tokens", "output_tokens")
    return Said(text, calls, used, answer["model"])


def error_of(api: str, answer: Any) -> Mapping[str, Any]:
    """The error object of a reply that is one."""
    must(isinstance(answer, dict) and isinstance(answer.get("error"), dict), "an error without error object")
    error: Mapping[str, Any] = answer["error"]
    must(error.get("message"), "an error without a message")
    if api == "messages":
        must(answer.get("type") == "error" and error.get("type"), "not Anthropic's error")
    else:
        must({"message", "type", "param", "code"} <= error.keys(), "not OpenAI's error")
    return error


def _usage(usage: Mapping[str, Any] | None, name_in: str, name_out: str) -> tuple[int, int] | None:
    if usage is None or usage.get(name_in) is None:
        return None
    n_in, n_out = usage[name_in], usage[name_out]
    must("total_tokens" not in usage or usage["total_tokens"] == n_in + n_out, "the total is not the sum")
    return n_in, n_out


Read = Callable[..., Said]
STREAMS: dict[str, Read] = {
    "chat": chat_stream,
    "completions": completions_stream,
    "messages": messages_stream,
    "responses": responses_stream,
}
WHOLE: dict[str, Read] = {
    "chat": chat_whole,
    "completions": completions_whole,
    "messages": messages_whole,
    "responses": responses_whole,
}
