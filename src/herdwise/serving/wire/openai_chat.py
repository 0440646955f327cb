"""OpenAI's chat completions: a request body to a Query and Goals, and nothing else in it touched.

This is the inner form too: the other APIs are translated to such a body, and then read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from herdwise.core.decision import Goals
from herdwise.core.errors import RequestError
from herdwise.core.frozen import made_fast
from herdwise.core.native import NATIVE, Native
from herdwise.core.query import Query
from herdwise.serving.service import Service
from herdwise.serving.wire.flags import take_message_flags
from herdwise.serving.wire.goals import Prefer, RequestGoals, merged, read_goals, read_headers
from herdwise.serving.wire.model_names import read_model
from herdwise.transport.content import MOST_DEPTH, too_deep

#: A last user message shorter than this ("commit it", "why?") says too little to be routed on alone:
#: earlier user messages are put before it, the nearest first, until ``CONTEXT_CHARS`` are reached.
SHORT_CHARS = 60
CONTEXT_CHARS = 600

_MODALITIES = {
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "file": "file",
}
#: What an assistant's message may hold instead of content.
_INSTEAD = ("tool_calls", "function_call", "refusal", "audio", "reasoning_content", "reasoning")
#: Headers of ours that state no goal.
_OTHER_HEADERS = frozenset({"explain", "session"})
_PREFIX = "x-herdwise-"


@made_fast
@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request, read.

    Args:
        body: as it is passed on: without the ``herdwise`` object, otherwise as it came.
        query: what is routed.
        goals: the config's, with the request's own.
        own_goals: what the request itself stated, as JSON values.
        model: as the client named it.
        candidate: who is to answer, when the client named a candidate.
        policy: who decides otherwise.
        stream: whether a stream is wanted.
        include_usage: whether the client asked for token counts in the stream.
        explain: whether the answer is to carry its explanation.
        asked: the request in its own API, where that is another one.
    """

    body: Mapping[str, Any]
    query: Query
    goals: Goals
    own_goals: Mapping[str, Any]
    model: str
    candidate: str | None
    policy: str
    stream: bool
    include_usage: bool
    explain: bool
    asked: Mapping[str, Any] = field(default_factory=dict)


def read_chat(raw: bytes, headers: Mapping[str, str], service: Service) -> ChatRequest:
    """Read a request.

    Args:
        raw: the HTTP body.
        headers: all ``x-herdwise-*`` headers, lower case, prefix included.
        service: whose herd, policies and defaults hold.

    Raises:
        RequestError: naming the field at fault.
    """
    return chat_request(json_object(raw), headers, service)


def chat_request(
    body: dict[str, Any],
    headers: Mapping[str, str],
    service: Service,
    *,
    asked: Mapping[str, Any] | None = None,
    native: Native | None = None,
) -> ChatRequest:
    """A chat request's body, read; its ``herdwise`` object is taken out.

    Args:
        body: in OpenAI's shape.
        headers, service: see ``read_chat``.
        asked: what the client sent, where it was translated to ``body``.
        native: the same for backends of that API (see ``core.native``).

    Raises:
        RequestError: naming the field at fault.
    """
    extra = body.pop("herdwise", None)
    messages = _messages(body)
    stream, options = body.get("stream"), body.get("stream_options")
    _refuse(stream is not None and not isinstance(stream, bool), "stream", "must be true or false")
    _refuse(options is not None and not isinstance(options, dict), "stream_options", "must be an object")
    own: list[RequestGoals] = []
    if stated := _goal_headers(headers):
        own.append(read_headers(stated))
    if service.settings.flags_in_prompt:
        messages, wishes = take_message_flags(messages)
        if wishes:
            body["messages"] = messages
            own.append(RequestGoals(prefer=Prefer(**wishes)))
    if extra is not None:
        own.append(read_goals(extra))
    goals, told, named = (
        merged(service.goals, service.ranker.herd, *own) if own else (service.goals, {}, None)
    )
    model, candidate, policy = read_model(body.get("model"), named, service)
    if native is not None:
        body[NATIVE] = native
    return ChatRequest(
        body=body,
        query=_query(body, messages),
        goals=goals,
        own_goals=told,
        model=model,
        candidate=candidate,
        policy=policy,
        stream=bool(stream),
        include_usage=bool(isinstance(options, dict) and options.get("include_usage")),
        explain=_explain(headers, service),
        asked=asked or {},
    )


def decode(raw: bytes) -> Any:
    """A JSON body.

    Raises:
        RequestError: 400, when it is not JSON.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON: {error}.", code="invalid_json") from None
    except RecursionError:
        raise _nested() from None
    if too_deep(value, len(raw)):
        raise _nested()
    return value


def _nested() -> RequestError:
    return RequestError(f"the body is nested more than {MOST_DEPTH} deep.", code="invalid_json")


def json_object(raw: bytes) -> dict[str, Any]:
    """A JSON body that is an object.

    Raises:
        RequestError: 400, when it is anything else.
    """
    body = decode(raw)
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object.", code="invalid_json")
    return body


def _refuse(bad: bool, param: str, what: str) -> None:
    if bad:
        raise RequestError(f"{param} {what}.", param=param, code="invalid_value")


def _messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    _refuse(not isinstance(messages, list) or not messages, "messages", "must be a list of at least one")
    assert isinstance(messages, list)  # noqa: S101 - said to the type checker; refused above
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        _refuse(not isinstance(message, dict), where, "must be an object")
        role, content = message.get("role"), message.get("content")
        _refuse(not isinstance(role, str) or not role, f"{where}.role", "must be a text")
        if content is None or content == []:
            excused = role == "assistant" and any(message.get(key) for key in _INSTEAD)
            _refuse(not excused, f"{where}.content", "is missing")
        elif isinstance(content, list):
            for number, part in enumerate(content):
                kind = part.get("type") if isinstance(part, dict) else None
                _refuse(not isinstance(kind, str), f"{where}.content[{number}]", "must be a part with a type")
        else:
            _refuse(not isinstance(content, str), f"{where}.content", "must be a text or a list of parts")
    return messages


def _query(body: Mapping[str, Any], messages: list[Mapping[str, Any]]) -> Query:
    chars, modalities = 0, set()
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
        else:
            for part in content or ():
                text = part.get("text")
                chars += len(text) if isinstance(text, str) else 0
                if part["type"] in _MODALITIES:
                    modalities.add(_MODALITIES[part["type"]])
        if message.get("tool_calls"):
            chars += len(msgspec.json.encode(message["tool_calls"]))
    tools = body.get("tools")
    _refuse(tools is not None and not isinstance(tools, list), "tools", "must be a list")
    if tools:
        chars += len(msgspec.json.encode(tools))
    spoken = body.get("modalities")
    if isinstance(spoken, list) and "audio" in spoken:
        modalities.add("audio")
    form = body.get("response_format")
    return Query(
        text=routed_text(messages),
        messages=tuple(messages),
        tools=tuple(tools or ()),
        modalities=frozenset(modalities),
        json_schema=isinstance(form, dict) and form.get("type") == "json_schema",
        max_output_tokens=_max_tokens(body),
        chars=chars,
    )


def routed_text(messages: list[Mapping[str, Any]]) -> str:
    """What is routed on: the last user message; a short one together with earlier ones.

    System messages, answers and tool results are left out: they tell little about how hard a question
    is, and routers learn from bare questions.

    >>> routed_text([{"role": "user", "content": "What is a quark?"}, {"role": "user", "content": "Why?"}])
    'What is a quark?\\nWhy?'
    """
    said = [text for m in messages if m.get("role") == "user" and (text := content_text(m.get("content")))]
    if not said:
        return content_text(messages[-1].get("content"))
    text = said[-1]
    if len(text) < SHORT_CHARS:
        for earlier in reversed(said[:-1]):
            if len(text) + len(earlier) > CONTEXT_CHARS:
                break
            text = f"{earlier}\n{text}"
    return text


def content_text(content: Any) -> str:
    """The text of a message's content, its text parts one per line."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content or () if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is not None:
            good = isinstance(value, int) and not isinstance(value, bool) and value > 0
            _refuse(not good, name, "must be a whole number above 0")
            return int(value)
    return None


def _goal_headers(headers: Mapping[str, str]) -> dict[str, str]:
    names = ((name.removeprefix(_PREFIX), value) for name, value in headers.items())
    return {name: value for name, value in names if name not in _OTHER_HEADERS}


def _explain(headers: Mapping[str, str], service: Service) -> bool:
    value = headers.get("x-herdwise-explain")
    if value is None:
        return service.settings.explain_by_default
    return value.strip().lower() in {"1", "true", "yes"}
