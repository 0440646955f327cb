"""OpenAI's Responses API, stateless: a request, translated to OpenAI's chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdwise.core.errors import RequestError

#: Translated below, or without a meaning in a chat request; anything else is passed on untouched.
_OWN = frozenset(
    {
        *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"),
        *("store", "previous_response_id", "conversation", "background", "prompt", "include", "truncation"),
        *("max_tool_calls", "context_management"),
    }
)
#: What only a server that keeps responses can do: field -> why not here.
_STATEFUL = {
    "previous_response_id": "nothing is kept here that could be gone on from",
    "conversation": "no conversations are kept here",
    "background": "nothing is kept here that could be fetched later",
    "prompt": "no prompts are kept here",
    "store": "responses are not kept here",
}
#: Roles of message items -> roles of chat messages.
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}


def to_chat(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks for the same; fields that nobody here knows are passed on untouched.

    Raises:
        RequestError: naming the field at fault, or a feature that needs a server with a memory.
    """
    _refuse_state(asked)
    chat = {key: value for key, value in asked.items() if key not in _OWN}
    messages: list[dict[str, Any]] = []
    if asked.get("instructions"):
        if not isinstance(asked["instructions"], str):
            raise _invalid("instructions", "must be a text")
        messages.append({"role": "system", "content": asked["instructions"]})
    given, before = asked.get("input"), len(messages)
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    elif isinstance(given, list):
        _items(given, messages)
    if len(messages) == before:
        raise _invalid("input", "must be a text or a list of items that say something")
    chat["messages"] = messages
    if asked.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = asked["max_output_tokens"]
    if asked.get("tools"):
        if not isinstance(asked["tools"], list):
            raise _invalid("tools", "must be a list")
        chat["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(asked["tools"])]
    if asked.get("tool_choice") is not None:
        chat["tool_choice"] = _choice(asked["tool_choice"])
    _form(_object(asked.get("text")), chat)
    effort = _object(asked.get("reasoning")).get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    include = asked.get("include")
    wanted = isinstance(include, list) and "message.output_text.logprobs" in include
    if wanted or asked.get("top_logprobs"):
        chat["logprobs"] = True
    return chat


def _refuse_state(asked: Mapping[str, Any]) -> None:
    for name, why in _STATEFUL.items():
        if asked.get(name):
            remedy = "Set store to false, or leave it out." if name == "store" else "Send the whole input."
            raise RequestError(f"{name}: {why}.", param=name, code="unsupported_value", remedy=remedy)
    if asked.get("truncation") not in (None, "disabled"):
        raise _unsupported("truncation", "the input is never cut here")


def _items(items: list[Any], messages: list[dict[str, Any]]) -> None:
    for number, given in enumerate(items):
        where, item = f"input[{number}]", _object(given)
        kind = _word(item, "type") or ("message" if "role" in item else "")
        if kind == "message":
            messages.append(_message(item, where))
        elif kind == "function_call":
            _call(item, messages)
        elif kind == "function_call_output":
            told, shown = _output(item.get("output"), f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": told})
            if shown:
                messages.append({"role": "user", "content": shown})
        elif kind != "reasoning":  # thoughts are its own model's, and another one could not read them
            raise _unsupported(f"{where}.type", f"items of type {kind!r} cannot be passed to a herd")


def _message(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    role, content = _ROLES.get(str(item.get("role"))), item.get("content")
    if role is None:
        raise _invalid(f"{where}.role", "must be user, assistant, system or developer")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise _invalid(f"{where}.content", "must be a text or a list of parts")
    parts = [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _part(given: Any, where: str) -> dict[str, Any]:
    part = _object(given)
    kind = _word(part, "type")
    if kind in {"input_text", "output_text", "text"}:
        return {"type": "text", "text": _word(part, "text")}
    if kind == "refusal":
        return {"type": "text", "text": _word(part, "refusal")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {} if part.get("detail") is None else {"detail": part["detail"]}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part.get("input_audio")}
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        file = {key: part[key] for key in ("filename", "file_data") if key in part}
        return {"type": "file", "file": file}
    if kind in {"input_image", "input_file"}:
        raise _unsupported(where, "no files are kept here: send the data itself")
    raise _invalid(f"{where}.type", f"{kind!r} is not known")


def _call(item: Mapping[str, Any], messages: list[dict[str, Any]]) -> None:
    """A call joins the assistant's message before it: a chat has all calls of a turn in one message."""
    function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _output(output: Any, where: str) -> tuple[str, list[dict[str, Any]]]:
    """A call's output as text, and what cannot be told in text: a tool's message holds text alone."""
    if isinstance(output, str):
        return output, []
    if not isinstance(output, list):
        raise _invalid(where, "must be a text or a list of parts")
    parts = [_part(part, f"{where}[{number}]") for number, part in enumerate(output)]
    shown = [part for part in parts if part["type"] != "text"]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts) or ("(see below)" if shown else ""), shown


def _tool(given: Any, where: str) -> dict[str, Any]:
    tool = _object(given)
    if tool.get("type") != "function":
        raise _unsupported(f"{where}.type", f"{tool.get('type')!r} runs on OpenAI's servers, not on a herd")
    keys = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {key: tool[key] for key in keys if tool.get(key) is not None}}


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    given = _object(choice)
    if given.get("type") == "function":
        return {"type": "function", "function": {"name": given.get("name")}}
    if given.get("type") == "allowed_tools":
        allowed = given.get("tools")
        tools = [_choice(tool) for tool in allowed] if isinstance(allowed, list) else []
        return {"type": "allowed_tools", "allowed_tools": {"mode": given.get("mode"), "tools": tools}}
    raise _unsupported("tool_choice", "must be auto, none, required, a function or allowed_tools")


def _form(text: Mapping[str, Any], chat: dict[str, Any]) -> None:
    form = _object(text.get("format"))
    if form.get("type") == "json_schema":
        keys = ("name", "description", "schema", "strict")
        schema = {key: form[key] for key in keys if form.get(key) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]


def _word(given: Mapping[str, Any], name: str) -> str:
    """A text, "" where it is anything else: what a client sends may not even have a hash."""
    value = given.get(name)
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _invalid(param: str, what: str) -> RequestError:
    return RequestError(f"{param} {what}.", param=param, code="invalid_value")


def _unsupported(param: str, what: str) -> RequestError:
    return RequestError(f"{param}: {what}.", param=param, code="unsupported_value")
