"""OpenAI's chat request -> Ollama's, and Ollama's answer -> OpenAI's objects."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from herdwise.core.errors import BadResponseError, UnsupportedError
from herdwise.core.native import NATIVE

#: Chat fields -> keys of Ollama's ``options``; an unknown extra field of these names is meant so too.
_OPTIONS = {
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "num_ctx")},
    **{name: name for name in ("presence_penalty", "frequency_penalty", "repeat_penalty")},
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}
#: Translated below, or without a counterpart and only tuning. Any other field is passed on as it came.
_TRANSLATED = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"),
        *("response_format", "reasoning_effort", "n", "user", "metadata", "store", "service_tier"),
        *("logit_bias", "modalities", "prediction", "verbosity", "prompt_cache_key", "safety_identifier"),
        *("options", NATIVE),
    }
)
#: What changes the answer in a way that this API cannot.
_IMPOSSIBLE = ("audio", "functions", "function_call")
_THINK = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
_DATA_URL = re.compile(r"data:[^;,]+(?:;[^,]*)?;base64,(?P<data>.*)", re.DOTALL)


def to_ollama(body: Mapping[str, Any], candidate: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The request without ``model`` and ``stream``.

    Args:
        body: a chat request.
        candidate: whom errors name.
        defaults: ``options`` that the request does not state.

    Raises:
        UnsupportedError: for what this API has no place for.
    """
    for name in _IMPOSSIBLE:
        if body.get(name):
            raise UnsupportedError(name, candidate=candidate)
    if (body.get("n") or 1) != 1:
        raise UnsupportedError(f"n = {body['n']}", candidate=candidate)
    ours = _TRANSLATED | _OPTIONS.keys()
    sent = {key: value for key, value in body.items() if key not in ours and key not in _IMPOSSIBLE}
    sent["messages"] = _messages(body.get("messages") or (), candidate)
    stated = {_OPTIONS[key]: body[key] for key in _OPTIONS if body.get(key) is not None}
    if isinstance(stated.get("stop"), str):
        stated["stop"] = [stated["stop"]]
    options = {**defaults, **stated, **(body.get("options") or {})}
    if options:
        sent["options"] = options
    choice = body.get("tool_choice")
    if body.get("tools") and choice != "none":
        if choice not in {None, "auto"}:
            raise UnsupportedError("tool_choice, save auto and none", candidate=candidate)
        sent["tools"] = body["tools"]
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        sent["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    elif form.get("type") == "json_object":
        sent["format"] = "json"
    effort = body.get("reasoning_effort")
    if effort in _THINK and "think" not in sent:
        sent["think"] = _THINK[effort]
    return sent


def _messages(messages: Iterable[Mapping[str, Any]], candidate: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    names: dict[Any, Any] = {}
    for message in messages:
        role = "system" if message.get("role") == "developer" else message.get("role")
        text, images = _content(message.get("content"), candidate)
        entry: dict[str, Any] = {"role": role, "content": text}
        if images:
            entry["images"] = images
        if message.get("reasoning_content"):
            entry["thinking"] = message["reasoning_content"]
        if calls := message.get("tool_calls"):
            entry["tool_calls"] = [_sent_call(call, candidate) for call in calls]
            names |= {call.get("id"): (call.get("function") or {}).get("name") for call in calls}
        if role == "tool":
            call_id = message.get("tool_call_id")
            entry |= {"tool_name": names.get(call_id) or message.get("name"), "tool_call_id": call_id}
        told.append(entry)
    return told


def _content(content: Any, candidate: str) -> tuple[str, list[str]]:
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        kind = part.get("type")
        if kind in {"text", "refusal"}:
            texts.append(part.get("text") or part.get("refusal") or "")
        elif kind == "image_url":
            given = part.get("image_url")
            url = given.get("url") if isinstance(given, Mapping) else given
            found = _DATA_URL.fullmatch(str(url))
            if found is None:
                raise UnsupportedError("images by their URL (send the data)", candidate=candidate)
            images.append(found["data"])
        else:
            raise UnsupportedError(f"content parts of type {kind!r}", candidate=candidate)
    return "\n".join(texts), images


def _sent_call(call: Mapping[str, Any], candidate: str) -> dict[str, Any]:
    function = call.get("function") or {}
    try:
        arguments = msgspec.json.decode(function.get("arguments") or "{}")
    except (msgspec.MsgspecError, UnicodeError):
        arguments = None
    if not isinstance(arguments, dict):
        raise UnsupportedError("tool calls whose arguments are no JSON object", candidate=candidate)
    told = {"function": {"name": function.get("name"), "arguments": arguments}}
    return {"id": call["id"], **told} if call.get("id") else told


def new_frame(kind: str) -> dict[str, Any]:
    """What the objects of one answer have in common; Ollama gives answers no id."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}


def to_delta(answer: Mapping[str, Any], candidate: str, first_call: int) -> dict[str, Any]:
    """What a message, or a piece of one, says, as a delta.

    Args:
        answer: one object of Ollama's.
        candidate: whom errors name.
        first_call: how many tool calls came before.

    Raises:
        BadResponseError: when it holds no message.
    """
    message = answer.get("message")
    if not isinstance(message, Mapping):
        raise BadResponseError(
            f"candidate {candidate!r} sent an answer without a message.", candidate=candidate
        )
    delta: dict[str, Any] = {}
    if message.get("thinking"):
        delta["reasoning_content"] = message["thinking"]
    if message.get("content"):
        delta["content"] = message["content"]
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    if calls:
        delta["tool_calls"] = [_call(call, first_call + n) for n, call in enumerate(calls)]
    return delta


def ending(answer: Mapping[str, Any], *, calls: bool) -> str | None:
    """The finish reason; None while it goes on."""
    if not answer.get("done"):
        return None
    reason = answer.get("done_reason")
    return "length" if reason == "length" else "tool_calls" if calls else "stop"


def usage(answer: Mapping[str, Any]) -> dict[str, int] | None:
    """Token counts; None = not stated (a prompt that is cached whole has no count)."""
    given, answered = answer.get("prompt_eval_count"), answer.get("eval_count")
    if not isinstance(given, int) or not isinstance(answered, int):
        return None
    return {"prompt_tokens": given, "completion_tokens": answered, "total_tokens": given + answered}


def logprobs(answer: Mapping[str, Any]) -> dict[str, Any]:
    """``logprobs`` of a choice, where they were asked for."""
    told = answer.get("logprobs")
    return {"logprobs": {"content": told}} if isinstance(told, list) and told else {}


def _call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = msgspec.json.encode(function.get("arguments") or {}).decode()
    told = {"name": function.get("name"), "arguments": arguments}
    call_id = call.get("id") or f"call_{uuid.uuid4().hex[:24]}"
    return {"index": index, "id": call_id, "type": "function", "function": told}
