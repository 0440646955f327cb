"""GET /openapi.json: what the endpoint answers to, as OpenAPI 3.1. A test walks it against the routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from herdwise.core.version import __version__
from herdwise.serving.wire.goals import RequestGoals

_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string"}
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
    *,
    body: _Schema | None = None,
    streams: bool = False,
    keyed: bool = True,
    admin: bool = False,
    param: str | None = None,
    text: bool = False,
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _OBJECT}}
    if text:
        content = {"text/plain": {"schema": _TEXT}}
    if streams:
        content["text/event-stream"] = {"schema": _TEXT}
    failed = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    told: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {"description": "An error, in the API's own shape.", **failed},
        },
    }
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if not keyed:
        told["security"] = []
    if admin:
        told["security"] = [{"admin": []}]
    if param is not None:
        told["parameters"] = [{"name": param, "in": "path", "required": True, "schema": _TEXT}]
    return told


_PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"post": _operation("OpenAI's chat completions.", body=_CHAT, streams=True)},
    "/v1/responses": {"post": _operation("OpenAI's Responses API, stateless.", body=_RESPONSE, streams=True)},
    "/v1/messages": {"post": _operation("Anthropic's Messages.", body=_MESSAGE, streams=True)},
    "/v1/messages/count_tokens": {
        "post": _operation("An estimate of a message's input tokens.", body=_MESSAGE)
    },
    "/v1/completions": {"post": _operation("OpenAI's legacy completions.", body=_COMPLETION, streams=True)},
    "/v1/embeddings": {
        "post": _operation("Vectors, by a named candidate or herdwise-encoder.", body=_EMBEDDING)
    },
    "/v1/models": {"get": _operation("All names that `model` may have.")},
    "/v1/models/{name}": {"get": _operation("One of them.", param="name")},
    "/v1/feedback": {
        "post": _operation(
            "Grades a decision; when it answers, it is on the disk.",
            body=_ref("Feedback"),
        )
    },
    "/v1/decisions/{decision_id}": {"get": _operation("The course of a decision.", param="decision_id")},
    "/admin/v1/keys": {
        "get": _operation("All virtual keys.", admin=True),
        "post": _operation("Makes one; its secret is told here only.", body=_ref("NewKey"), admin=True),
    },
    "/admin/v1/keys/{key_id}": {
        "get": _operation("One of them, with what it has spent.", param="key_id", admin=True),
        "patch": _operation("Changes it.", param="key_id", body=_ref("KeyChanges"), admin=True),
        "delete": _operation("Revokes it.", param="key_id", admin=True),
    },
    "/admin/v1/reload": {
        "post": _operation("Reads config and router anew; a bad config is refused (422).", admin=True)
    },
    "/admin/v1/cache": {"delete": _operation("Forgets all answers that the cache keeps.", admin=True)},
    "/console/examples.json": {"get": _operation("Queries that the console page at / offers.")},
    "/metrics": {"get": _operation("What was counted, for Prometheus.", text=True)},
    "/healthz": {"get": _operation("The process is alive.", keyed=False)},
    "/readyz": {
        "get": _operation("Somebody can answer; 503 otherwise, and while the process ends.", keyed=False)
    },
    "/openapi.json": {"get": _operation("This document.", keyed=False)},
}


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole document. What our own structs read is described by themselves."""
    from herdwise.serving.admin import KeyChanges, NewKey
    from herdwise.serving.endpoints import Feedback

    _, schemas = msgspec.json.schema_components(
        [RequestGoals, Feedback, NewKey, KeyChanges], ref_template="#/components/schemas/{name}"
    )
    error = {"type": "object", "required": ["error"], "properties": {"error": _OBJECT}}
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
            "schemas": {**schemas, "Error": error},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "admin": {"type": "http", "scheme": "bearer", "description": "server.admin_key"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }
