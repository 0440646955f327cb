"""GET /openapi.json: what the endpoint answers to, as OpenAPI 3.1. A test walks it against the routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from herdwise.core.version import __version__
from herdwise.serving.openapi_answers import ANSWERS, DECISION_HEADERS, OF_CHAT, failures
from herdwise.serving.wire.goals import RequestGoals

_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string"}
#: One event of a stream. ``data`` is JSON, or [DONE].
_EVENT: _Schema = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": _TEXT, "event": _TEXT},
    "description": "Of each event.",
}
_FLAG: _Schema = {"type": "boolean"}
_COUNT: _Schema = {"type": "integer", "minimum": 1}
_OBJECT: _Schema = {"type": "object"}
_OBJECTS: _Schema = {"type": "array", "items": _OBJECT, "minItems": 1}
_MODEL: _Schema = {
    "type": "string",
    "minLength": 1,
    "description": "auto, auto/<policy> or a candidate's name, as GET /v1/models lists them.",
}
_NAMES: _Schema = {"type": "array", "items": _TEXT}

_COMMON: dict[str, _Schema] = {
    "model": _MODEL,
    "stream": _FLAG,
    "herdwise": {"$ref": "#/components/schemas/RequestGoals"},
}
_TUNING: dict[str, _Schema] = {
    "temperature": {"type": "number"},
    "top_p": {"type": "number"},
    "user": _TEXT,
}


def _body(required: tuple[str, ...], properties: dict[str, _Schema]) -> _Schema:
    """Fields that are not named here are passed on as they come."""
    return {"type": "object", "required": list(required), "properties": properties}


_CHAT = _body(
    ("model", "messages"),
    {
        **_COMMON,
        **_TUNING,
        "messages": _OBJECTS,
        "tools": {"type": "array", "items": _OBJECT},
        "tool_choice": {},
        "response_format": _OBJECT,
        "max_tokens": _COUNT,
        "max_completion_tokens": _COUNT,
        "stream_options": {"type": "object", "properties": {"include_usage": _FLAG}},
    },
)
_COMPLETION = _body(
    ("model", "prompt"),
    {
        **_COMMON,
        **_TUNING,
        "prompt": {"oneOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": _TEXT}]},
        "max_tokens": _COUNT,
        "logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    },
)
_RESPONSE = _body(
    ("model", "input"),
    {
        **_COMMON,
        **_TUNING,
        "input": {"oneOf": [_TEXT, _OBJECTS]},
        "instructions": _TEXT,
        "tools": {"type": "array", "items": _OBJECT},
        "text": _OBJECT,
        "reasoning": _OBJECT,
        "max_output_tokens": _COUNT,
        "store": {"const": False},
    },
)
_MESSAGE = _body(
    ("model", "messages"),
    {
        **_COMMON,
        "system": {"oneOf": [_TEXT, _OBJECTS]},
        "messages": _OBJECTS,
        "max_tokens": _COUNT,
        "tools": {"type": "array", "items": _OBJECT},
        "tool_choice": _OBJECT,
        "stop_sequences": _NAMES,
        "temperature": {"type": "number"},
    },
)
_EMBEDDING = _body(
    ("model", "input"),
    {
        "model": _TEXT,
        "input": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 2048}]},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": _COUNT,
    },
)


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    summary: str,
    answer: str | None,
    *ends: int,
    body: _Schema | None = None,
    chat: bool = False,
    decided: bool = False,
    keyed: bool = True,
    admin: bool = False,
    param: str | None = None,
) -> dict[str, Any]:
    """One operation.

    Args:
        summary: in a sentence.
        answer: name of what it answers; None = text.
        ends: statuses of failures, besides those of all requests and of keys.
        body: what it takes.
        chat: whether it is one of the chat APIs: they stream, name their decision and read our headers.
        decided: whether it names its decision, though it is none.
        keyed, admin: whether it takes a key, or the admin key.
        param: of its path.
    """
    content: dict[str, Any] = {"text/plain": {"schema": _TEXT}}
    if answer is not None:
        content = {"application/json": {"schema": _ref(answer)}}
    found: dict[str, Any] = {"description": "The answer.", "content": content}
    told: dict[str, Any] = {"summary": summary}
    if chat:
        content["text/event-stream"] = {"schema": _EVENT}
    if chat or decided:
        found["headers"] = {
            name: {"description": said, "schema": _TEXT} for name, said in DECISION_HEADERS.items()
        }
        ends = (*ends, *OF_CHAT)
    if chat:
        told["parameters"] = _OUR_HEADERS
    if keyed or admin:
        ends = (*ends, 401)
    if not keyed:
        told["security"] = []
    if admin:
        told["security"] = [{"admin": []}]
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        ends = (*ends, 413)
    if param is not None:
        schema = {"type": "string", "minLength": 1}
        told["parameters"] = [{"name": param, "in": "path", "required": True, "schema": schema}]
    return {**told, "responses": {"200": found, **failures(*ends)}}


_OUR_HEADERS = [
    {
        "name": "x-herdwise-session",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]+$"},
        "description": "Names the conversation, which keeps its candidate.",
    },
    {
        "name": "x-herdwise-explain",
        "in": "header",
        "schema": {"enum": ["true", "false"]},
        "description": "Whether the answer carries the herdwise object. Each field of RequestGoals may be"
        " stated as a header too, such as x-herdwise-max-cost-usd.",
    },
]
_ADMIN = (404, 501, 503)
_READY = _operation("Somebody can answer.", "Ready", keyed=False)
_READY["responses"]["503"] = {
    **_READY["responses"]["200"],
    "description": "Nobody can answer, or the process ends.",
}

_PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "post": _operation("OpenAI's chat completions.", "ChatCompletion", body=_CHAT, chat=True)
    },
    "/v1/responses": {
        "post": _operation("OpenAI's Responses API, stateless.", "Response", body=_RESPONSE, chat=True)
    },
    "/v1/messages": {"post": _operation("Anthropic's Messages.", "Message", body=_MESSAGE, chat=True)},
    "/v1/messages/count_tokens": {
        "post": _operation("An estimate of a message's input tokens.", "TokenCount", 404, body=_MESSAGE)
    },
    "/v1/completions": {
        "post": _operation("OpenAI's legacy completions.", "Completion", body=_COMPLETION, chat=True)
    },
    "/v1/embeddings": {
        "post": _operation(
            "Vectors, by a named candidate or herdwise-encoder.",
            "Embeddings",
            body=_EMBEDDING,
            decided=True,
        )
    },
    "/v1/models": {"get": _operation("All names that `model` may have.", "Models")},
    "/v1/models/{name}": {"get": _operation("One of them.", "Model", 404, param="name")},
    "/v1/feedback": {
        "post": _operation(
            "Grades a decision; when it answers, it is on the disk.",
            "GradedDecision",
            *(404, 409, 501, 503),
            body=_ref("Feedback"),
        )
    },
    "/v1/decisions/{decision_id}": {
        "get": _operation("The course of a decision.", "Decision", 404, 501, 503, param="decision_id")
    },
    "/admin/v1/keys": {
        "get": _operation("All virtual keys.", "Keys", *_ADMIN, admin=True),
        "post": _operation(
            "Makes one; its secret is told here only.", "MadeKey", *_ADMIN, body=_ref("NewKey"), admin=True
        ),
    },
    "/admin/v1/keys/{key_id}": {
        "get": _operation("One of them, with what it has spent.", "Key", *_ADMIN, param="key_id", admin=True),
        "patch": _operation(
            "Changes it.", "Key", *_ADMIN, param="key_id", body=_ref("KeyChanges"), admin=True
        ),
        "delete": _operation("Revokes it.", "Key", *_ADMIN, param="key_id", admin=True),
    },
    "/admin/v1/reload": {
        "post": _operation(
            "Reads config and router anew; a bad config is refused.", "Reload", *_ADMIN, 422, admin=True
        )
    },
    "/admin/v1/cache": {
        "delete": _operation("Forgets all answers that the cache keeps.", "ClearedCache", *_ADMIN, admin=True)
    },
    "/console/examples.json": {"get": _operation("Queries that the console page at / offers.", "Examples")},
    "/metrics": {"get": _operation("What was counted, for Prometheus.", None)},
    "/healthz": {"get": _operation("The process is alive.", "Alive", keyed=False)},
    "/readyz": {"get": _READY},
    "/openapi.json": {"get": _operation("This document.", "Document", keyed=False)},
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document. What our own structs read is described by themselves."""
    from herdwise.serving.admin import KeyChanges, NewKey
    from herdwise.serving.endpoints import Feedback

    _, schemas = msgspec.json.schema_components(
        [RequestGoals, Feedback, NewKey, KeyChanges], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "herdwise",
            "version": __version__,
            "description": "One endpoint over a herd of language models; every answer names its decision in"
            " x-herdwise-* headers.",
        },
        "security": [{"bearer": []}, {"x-api-key": []}],
        "paths": _PATHS,
        "components": {
            "schemas": {**schemas, **ANSWERS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "admin": {"type": "http", "scheme": "bearer", "description": "server.admin_key"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }
