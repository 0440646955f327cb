"""Anthropic's Messages: a request, translated to OpenAI's chat request.

What no other model has is left out of the translation (cache marks, thinking and its signatures, service
tiers); the request itself goes along as it came, and is what a candidate behind the same API gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from herdwise.core.errors import RequestError

#: Kept from other candidates: they mean something to Anthropic's servers alone, or are translated below.
_OWN = frozenset(
    {
        *("system", "messages", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata"),
        *("thinking", "output_config", "cache_control", "service_tier", "inference_geo"),
        *("context_management", "container", "mcp_servers"),
    }
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
#: ``output_config.effort`` to ``reasoning_effort``, whose highest value everywhere is "high".
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
#: Blocks of an assistant's message that only its own model can read.
_PRIVATE = frozenset({"thinking", "redacted_thinking"})


def to_chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks for the same; fields that nobody here knows are passed on untouched.

    Raises:
        RequestError: naming the field at fault, or a feature that only Anthropic's servers have.
    """
    chat: dict[str, Any] = {key: value for key, value in asked.items() if key not in _OWN}
    for name in ("container", "mcp_servers"):
        if asked.get(name):
            raise _unsupported(name, f"{name} runs on Anthropic's servers, not on a herd")
    messages = _system(asked.get("system"))
    given = asked.get("messages")
    if not isinstance(given, list) or not given:
        raise _invalid("messages", "must be a list of at least one")
    for number, message in enumerate(given):
        messages += _message(message, f"messages[{number}]")
    chat["messages"] = messages
    if asked.get("max_tokens") is not None:
        chat["max_tokens"] = asked["max_tokens"]
    if asked.get("stop_sequences"):
        chat["stop"] = asked["stop_sequences"]
    if asked.get("tools"):
        chat["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(_list(asked["tools"], "tools"))]
    if asked.get("tool_choice") is not None:
        _choose(asked["tool_choice"], chat)
    user = _object(asked.get("metadata")).get("user_id")
    if isinstance(user, str):
        chat["user"] = user
    _output(_object(asked.get("output_config")), chat)
    return chat


def _system(system: Any) -> list[dict[str, Any]]:
    if not system:
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    blocks = _list(system, "system")
    texts = [_text(block, f"system[{number}]") for number, block in enumerate(blocks)]
    return [{"role": "system", "content": "\n\n".join(texts)}]


def _message(message: Any, where: str) -> list[dict[str, Any]]:
    role, content = _word(_object(message), "role"), _object(message).get("content")
    if role not in {"user", "assistant", "system"}:
        raise _invalid(f"{where}.role", "must be user or assistant")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = [_object(block) for block in _list(content, f"{where}.content")]
    named = [(block, f"{where}.content[{number}]") for number, block in enumerate(blocks)]
    return [_assistant(named)] if role == "assistant" else _user(role, named)


def _user(role: str, blocks: Iterable[tuple[Mapping[str, Any], str]]) -> list[dict[str, Any]]:
    """Tool results become messages of their own, before what else the user says."""
    messages: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block, where in blocks:
        if block.get("type") == "tool_result":
            told, shown = _tool_result(block, where)
            messages.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": told})
            parts += shown
        else:
            parts += _parts(block, where)
    if len(parts) == 1 and parts[0]["type"] == "text":
        messages.append({"role": role, "content": parts[0]["text"]})
    elif parts:
        messages.append({"role": role, "content": parts})
    return messages


def _assistant(blocks: Iterable[tuple[Mapping[str, Any], str]]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block, where in blocks:
        kind = _word(block, "type")
        if kind == "text":
            texts.append(_text(block, where))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind not in _PRIVATE:
            raise _unsupported(where, f"a block of type {kind!r} can be read by Anthropic's models alone")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_result(block: Mapping[str, Any], where: str) -> tuple[str, list[dict[str, Any]]]:
    """Its text, and what cannot be told in text: a tool's message holds text alone."""
    content = block.get("content")
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    shown: list[dict[str, Any]] = []
    for number, inner in enumerate(_list(content, f"{where}.content")):
        for part in _parts(_object(inner), f"{where}.content[{number}]"):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                shown.append(part)
    return "\n".join(texts) or ("(see below)" if shown else ""), shown


def _parts(block: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    kind, source = _word(block, "type"), _object(block.get("source"))
    form = _word(source, "type")
    if kind == "text":
        return [{"type": "text", "text": _text(block, where)}]
    if kind == "image" and form in {"base64", "url"}:
        url = source.get("url") if form == "url" else _data_url(source)
        return [{"type": "image_url", "image_url": {"url": url}}]
    if kind == "document" and form == "base64":
        name = block.get("title") or "document.pdf"
        return [{"type": "file", "file": {"filename": name, "file_data": _data_url(source)}}]
    if kind == "document" and form == "text":
        return [{"type": "text", "text": str(source.get("data") or "")}]
    if kind in {"image", "document"}:
        raise _unsupported(f"{where}.source", f"a source of type {form!r} lies on Anthropic's servers")
    if kind == "search_result":
        texts = [_text(inner, where) for inner in _list(block.get("content"), f"{where}.content")]
        return [{"type": "text", "text": "\n".join([str(block.get("title") or ""), *texts])}]
    raise _unsupported(where, f"a block of type {kind!r} can be read by Anthropic's models alone")


def _data_url(source: Mapping[str, Any]) -> str:
    return f"data:{source.get('media_type')};base64,{source.get('data')}"


def _tool(tool: Any, where: str) -> dict[str, Any]:
    given = _object(tool)
    if given.get("type") not in (None, "custom"):
        raise _unsupported(f"{where}.type", f"{given['type']!r} runs on Anthropic's servers, not on a herd")
    if not isinstance(given.get("name"), str):
        raise _invalid(f"{where}.name", "must be a text")
    function = {
        "name": given["name"],
        "description": given.get("description"),
        "parameters": given.get("input_schema"),
        "strict": given.get("strict"),
    }
    return {"type": "function", "function": {k: v for k, v in function.items() if v is not None}}


def _choose(choice: Any, chat: dict[str, Any]) -> None:
    kind = _word(_object(choice), "type")
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in _CHOICES:
        chat["tool_choice"] = _CHOICES[kind]
    else:
        raise _invalid("tool_choice.type", "must be auto, any, tool or none")
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False


def _output(config: Mapping[str, Any], chat: dict[str, Any]) -> None:
    effort, form = _word(config, "effort"), _object(config.get("format"))
    if effort in _EFFORTS:
        chat["reasoning_effort"] = _EFFORTS[effort]
    if form.get("type") == "json_schema":
        schema = {"name": "answer", "schema": form.get("schema"), "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _text(block: Any, where: str) -> str:
    text = _object(block).get("text")
    if not isinstance(text, str):
        raise _invalid(f"{where}.text", "must be a text")
    return text


def _word(given: Mapping[str, Any], name: str) -> str:
    """A text, "" where it is anything else: what a client sends may not even have a hash."""
    value = given.get(name)
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _invalid(where, "must be a text or a list of blocks")
    return value


def _invalid(param: str, what: str) -> RequestError:
    return RequestError(f"{param} {what}.", param=param, code="invalid_value")


def _unsupported(param: str, what: str) -> RequestError:
    return RequestError(f"{param}: {what}.", param=param, code="unsupported_value")
