"""OpenAI's chat request -> Anthropic's Messages request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from herdwise.core.errors import UnsupportedError
from herdwise.core.native import NATIVE

#: How ``reasoning_effort`` is said: by effort (today's models), by a budget of tokens (older ones), or not.
Reasoning = Literal["effort", "budget", "none"]

#: Chat fields that are translated below, or that only tune and have no counterpart. Any other field is
#: passed on as it came, so that Anthropic's own (``thinking``, ``top_k``, ``mcp_servers``) reach it.
_TRANSLATED = frozenset(
    {
        *("model", "messages", "max_tokens", "max_completion_tokens", "stop", "stream", "stream_options"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "n", "user"),
        *("metadata", "service_tier", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "store"),
        *("modalities", "prediction", "verbosity", "prompt_cache_key", "safety_identifier", NATIVE),
    }
)
#: What changes the answer in a way that this API cannot.
_IMPOSSIBLE = ("logprobs", "top_logprobs", "audio", "functions", "function_call")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 32768}
_SMALLEST_BUDGET = 1024
_BAD_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:(?P<kind>[^;,]+)(?:;[^,]*)?;base64,(?P<data>.*)", re.DOTALL)


def to_messages(
    body: Mapping[str, Any], candidate: str, *, max_tokens: int, reasoning: Reasoning
) -> dict[str, Any]:
    """The request without ``model`` and ``stream``.

    Args:
        body: a chat request.
        candidate: whom errors name.
        max_tokens: sent where the request states none, as this API demands it.
        reasoning: see ``Reasoning``.

    Raises:
        UnsupportedError: for what this API has no place for.
    """
    for name in _IMPOSSIBLE:
        if body.get(name):
            raise UnsupportedError(name, candidate=candidate)
    if (body.get("n") or 1) != 1:
        raise UnsupportedError(f"n = {body['n']}", candidate=candidate)
    sent = {key: value for key, value in body.items() if key not in _TRANSLATED and key not in _IMPOSSIBLE}
    system, sent["messages"] = _Translator(candidate).conversation(body.get("messages") or ())
    if system:
        sent["system"] = system
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or max_tokens
    sent["max_tokens"] = limit
    stop = body.get("stop")
    if stop:
        sent["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    user = body.get("user") or (body.get("metadata") or {}).get("user_id")
    if isinstance(user, str):
        sent["metadata"] = {"user_id": user}
    if body.get("service_tier") in {"auto", "standard_only"}:
        sent["service_tier"] = body["service_tier"]
    if body.get("tools"):
        sent["tools"] = [_tool(tool, candidate) for tool in body["tools"]]
        if choice := _choice(body):
            sent["tool_choice"] = choice
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema":
        schema = {"type": "json_schema", "schema": (form.get("json_schema") or {}).get("schema") or {}}
        sent["output_config"] = {**(sent.get("output_config") or {}), "format": schema}
    _think(sent, body.get("reasoning_effort"), limit, reasoning)
    return sent


def _think(sent: dict[str, Any], effort: Any, limit: int, reasoning: Reasoning) -> None:
    if effort not in _EFFORTS or "thinking" in sent or reasoning == "none":
        return
    if reasoning == "effort":
        sent["thinking"] = {"type": "adaptive"}
        sent["output_config"] = {**(sent.get("output_config") or {}), "effort": _EFFORTS[effort]}
    elif (budget := min(_BUDGETS[effort], limit - 1)) >= _SMALLEST_BUDGET:
        sent["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _tool(tool: Mapping[str, Any], candidate: str) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        if "input_schema" in tool or "function" not in tool:
            return dict(tool)  # Anthropic's own, such as a server tool
        raise UnsupportedError(f"tools of type {tool.get('type')!r}", candidate=candidate)
    told: dict[str, Any] = {"name": function.get("name")}
    if function.get("description"):
        told["description"] = function["description"]
    told["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
    if function.get("strict") is not None:
        told["strict"] = function["strict"]
    mark = tool.get("cache_control") or function.get("cache_control")
    return {**told, "cache_control": mark} if mark else told


def _choice(body: Mapping[str, Any]) -> dict[str, Any]:
    choice, told = body.get("tool_choice"), dict[str, Any]()
    if isinstance(choice, str) and choice in _CHOICES:
        told = {"type": _CHOICES[choice]}
    elif isinstance(choice, Mapping):
        told = {"type": "tool", "name": (choice.get("function") or {}).get("name")}
    if body.get("parallel_tool_calls") is False and told.get("type") != "none":
        told = {**(told or {"type": "auto"}), "disable_parallel_tool_use": True}
    return told


class _Translator:
    """One conversation. Consecutive messages of a role become one, as tool results must stand together."""

    def __init__(self, candidate: str) -> None:
        self._candidate = candidate

    def conversation(
        self, messages: Iterable[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        system: list[dict[str, Any]] = []
        turns: list[dict[str, Any]] = []
        for message in messages:
            role = message.get("role")
            if role in {"system", "developer"}:
                system += self._parts(message.get("content"))
                continue
            if role == "assistant":
                blocks = self._assistant(message)
            elif role == "tool":
                blocks = [self._result(message)]
            else:
                blocks = self._parts(message.get("content"))
            role = "assistant" if role == "assistant" else "user"
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": role, "content": blocks})
        return system, turns

    def _assistant(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        blocks = [{**block} for block in message.get("thinking_blocks") or ()]
        blocks += self._parts(message.get("content"))
        if message.get("refusal"):
            blocks.append({"type": "text", "text": message["refusal"]})
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            given = self._arguments(function.get("arguments"))
            told = {"id": _id(call.get("id")), "name": function.get("name"), "input": given}
            blocks.append({"type": "tool_use", **told})
        return blocks

    def _arguments(self, text: Any) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(text or "{}")
        except (msgspec.MsgspecError, UnicodeError):
            value = None
        if not isinstance(value, dict):
            raise UnsupportedError("tool calls whose arguments are no JSON object", candidate=self._candidate)
        return value

    def _result(self, message: Mapping[str, Any]) -> dict[str, Any]:
        content = self._parts(message.get("content"))
        return {"type": "tool_result", "tool_use_id": _id(message.get("tool_call_id")), "content": content}

    def _parts(self, content: Any) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}] if content else []
        return [told for part in content or () if (told := self._part(part))]

    def _part(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = part.get("type")
        mark = {"cache_control": part["cache_control"]} if part.get("cache_control") else {}
        if kind in {"text", "refusal"}:
            text = part.get("text") or part.get("refusal")
            return {"type": "text", "text": text, **mark} if text else None
        if kind == "image_url":
            given = part.get("image_url")
            url = given.get("url") if isinstance(given, Mapping) else given
            return {"type": "image", "source": self._source(str(url)), **mark}
        if kind == "file":
            file = part.get("file") or {}
            if not file.get("file_data"):
                raise UnsupportedError("files by their id", candidate=self._candidate)
            title = {"title": file["filename"]} if file.get("filename") else {}
            return {"type": "document", "source": self._source(file["file_data"]), **title, **mark}
        raise UnsupportedError(f"content parts of type {kind!r}", candidate=self._candidate)

    def _source(self, url: str) -> dict[str, Any]:
        found = _DATA_URL.fullmatch(url)
        if found:
            return {"type": "base64", "media_type": found["kind"], "data": found["data"]}
        if url.startswith(("http://", "https://")):
            return {"type": "url", "url": url}
        raise UnsupportedError("images and files that are neither data nor a URL", candidate=self._candidate)


def _id(call_id: Any) -> str:
    """A tool call's id in the letters that this API allows; other candidates' ids may hold more."""
    return _BAD_IN_ID.sub("_", str(call_id))
