"""What a request's spans say, by OpenTelemetry's semantic conventions for generative AI.

Prompts and answers stand in them only where the config says so; keys and error texts never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from herdwise.backends.base import Backend
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.wire.openai_chat import content_text

Attributes = dict[str, str | bool | int | float | Sequence[str]]

#: Backends by the conventions' names of providers. Whoever speaks OpenAI's API counts as that.
_PROVIDERS = {"openai_compatible": "openai"}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
}
_FORMATS = {"json_object": "json", "json_schema": "json", "text": "text"}


def request_attributes(api: str, status: int, decision_id: str | None) -> Attributes:
    """Of the server's span.

    Args:
        api: the path that it came by.
        status: as the client was told.
        decision_id: where there was a decision.
    """
    told: Attributes = {
        "http.request.method": "POST",
        "http.route": api,
        "url.path": api,
        "http.response.status_code": status,
    }
    if decision_id is not None:
        told["herdwise.decision_id"] = decision_id
    if status >= 400:
        told["error.type"] = "client_gone" if status == 499 else str(status)
    return told


def decision_attributes(course: Course) -> Attributes:
    """Of the decision's span: ours alone, so that tokens and costs are counted once, by the asks."""
    told: Attributes = {
        "herdwise.decision_id": course.id,
        "herdwise.policy": course.policy,
        "herdwise.origin": course.origin,
        "herdwise.model": course.model,
        "herdwise.status": course.status,
        "herdwise.reason": course.reason,
        "herdwise.attempts": course.calls,
        "herdwise.overhead_s": course.overhead_s(),
    }
    cost_usd = course.cost_usd()
    if cost_usd is not None:
        told["herdwise.cost_usd"] = cost_usd
    if course.returned is not None:
        told["herdwise.candidate"] = course.returned.candidate
    if course.cached is not None:
        told["herdwise.cache"] = str(course.cached["status"])
    if course.cached_from is not None:
        told["herdwise.cached_from"] = course.cached_from
    if course.status != "answered":
        told["error.type"] = course.status
    return told


def ask_attributes(course: Course, ask: LiveAsk, backend: Backend, *, texts: bool) -> Attributes:
    """Of one ask's span.

    Args:
        course: whose.
        ask: it has ended.
        backend: reached the candidate.
        texts: whether prompts and answers may stand in it.
    """
    body = ask.body
    told: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(backend.name, backend.name),
        "gen_ai.request.model": asked_model(ask, backend),
        "herdwise.candidate": ask.candidate,
        "herdwise.ask": ask.number,
        **_place(backend),
        **_sampling(body),
    }
    usage, cost_usd = ask.usage, course.cost_of(ask)
    if usage.input_tokens is not None:
        told["gen_ai.usage.input_tokens"] = usage.input_tokens
    if usage.output_tokens is not None:
        told["gen_ai.usage.output_tokens"] = usage.output_tokens
    if cost_usd is not None:
        told["herdwise.cost_usd"] = cost_usd
    if ask.finish_reason is not None:
        told["gen_ai.response.finish_reasons"] = [ask.finish_reason]
    if ask.first_token_s is not None:
        told["gen_ai.response.time_to_first_chunk"] = ask.first_token_s
    answer: Mapping[str, Any] = ask.completion.body if ask.completion is not None else {}
    for name in ("id", "model"):
        if isinstance(value := answer.get(name), str):
            told[f"gen_ai.response.{name}"] = value
    if ask.error is not None:
        told["error.type"] = ask.error.kind
        if ask.error.status is not None:
            told["http.response.status_code"] = ask.error.status
    elif ask.status == "cancelled":
        told["error.type"] = "cancelled"
    if texts:
        told["gen_ai.input.messages"] = _encoded([_message(one) for one in body.get("messages") or ()])
        parts = [{"type": "text", "content": ask.text}]
        said = {"role": "assistant", "parts": parts, "finish_reason": ask.finish_reason or ""}
        told["gen_ai.output.messages"] = _encoded([said])
    return told


def asked_model(ask: LiveAsk, backend: Backend) -> str:
    """The upstream's own name for the candidate."""
    return str(getattr(backend, "model", None) or ask.candidate)


def _place(backend: Backend) -> Attributes:
    url = getattr(backend, "base_url", None)
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.hostname is None:
        return {}
    told: Attributes = {"server.address": parts.hostname}
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return told if port is None else {**told, "server.port": port}


def _sampling(body: Mapping[str, Any]) -> Attributes:
    told: Attributes = {}
    for field, name in _SAMPLING.items():
        if isinstance(value := body.get(field), int | float):
            told[f"gen_ai.request.{name}"] = value
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int):
        told["gen_ai.request.max_tokens"] = limit
    stop, n, form = body.get("stop"), body.get("n"), body.get("response_format")
    if stop:
        told["gen_ai.request.stop_sequences"] = [str(s) for s in (stop if isinstance(stop, list) else [stop])]
    if isinstance(n, int) and n != 1:
        told["gen_ai.request.choice.count"] = n
    kind = _FORMATS.get(str(form.get("type"))) if isinstance(form, Mapping) else None
    if kind is not None:
        told["gen_ai.output.type"] = kind
    return told


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if text := content_text(message.get("content")):
        role = message.get("role")
        kind = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": text}
        parts.append(kind if role == "tool" else {"type": "text", "content": text})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        parts.append(
            {
                "type": "tool_call",
                "id": call.get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments"),
            }
        )
    return {"role": message.get("role"), "parts": parts}


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
