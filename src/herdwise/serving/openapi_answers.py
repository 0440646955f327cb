"""What the endpoint answers, for its OpenAPI document: objects, our own headers, statuses of failures."""

from __future__ import annotations

from typing import Any

_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_NUMBER: _Schema = {"type": "number"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_OBJECT: _Schema = {"type": "object"}
_OBJECTS: _Schema = {"type": "array", "items": _OBJECT}
_NAMES: _Schema = {"type": "array", "items": _TEXT}
_TIME: _Schema = {"type": "number", "description": "Unix time."}


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _told(kind: str | None = None, **fields: _Schema) -> _Schema:
    """An object that has these fields, others perhaps; ``kind`` is what its ``object`` says."""
    own = fields if kind is None else {"object": {"const": kind}, **fields}
    return {"type": "object", "required": list(own), "properties": own}


def _list(of: str) -> _Schema:
    items = {"$ref": f"#/components/schemas/{of}"}
    return _told("list", data={"type": "array", "items": items})


#: Name -> schema. What a candidate says goes through as it is, so that little is promised of chat answers.
ANSWERS: dict[str, _Schema] = {
    "Error": _told(
        error=_told(message=_TEXT, type=_TEXT, param=_or_null(_TEXT), code=_or_null(_TEXT)),
    ),
    "ChatCompletion": _told(choices={**_OBJECTS, "minItems": 1}, model=_TEXT),
    "Response": _told("response", id=_TEXT, status=_TEXT, model=_TEXT, output=_OBJECTS),
    "Message": _told(
        id=_TEXT, type={"const": "message"}, role={"const": "assistant"}, content=_OBJECTS, usage=_OBJECT
    ),
    "Completion": _told("text_completion", id=_TEXT, choices=_OBJECTS),
    "TokenCount": _told(input_tokens=_COUNT),
    "Embeddings": _told(data=_OBJECTS, model=_TEXT),
    "Model": _told("model", id=_TEXT, created={"type": "integer"}, owned_by=_TEXT),
    "Models": _list("Model"),
    "GradedDecision": _told("feedback", decision_id=_TEXT, score=_or_null(_NUMBER)),
    "Decision": _told(
        "decision",
        decision_id=_TEXT,
        created_at=_TIME,
        model=_TEXT,
        policy=_TEXT,
        status=_TEXT,
        candidate=_or_null(_TEXT),
        cost_usd=_or_null(_NUMBER),
        asks=_OBJECTS,
        feedback=_OBJECTS,
    ),
    "Key": _told(
        "key",
        key_id=_TEXT,
        name=_TEXT,
        shown={**_TEXT, "description": "Its first characters; the rest is known to nobody."},
        created_at=_TIME,
        expires_at=_or_null(_TIME),
        revoked_at=_or_null(_TIME),
        terms=_OBJECT,
    ),
    "Keys": _list("Key"),
    "MadeKey": {"allOf": [{"$ref": "#/components/schemas/Key"}, _told(key=_TEXT)]},
    "Reload": _told("reload", candidates=_NAMES, policies=_NAMES, backends_kept=_COUNT, needs_restart=_NAMES),
    "ClearedCache": _told("cache", cleared=_FLAG),
    "Examples": _told(examples=_NAMES),
    "Alive": _told(status={"const": "ok"}),
    "Ready": _told(status=_TEXT),
    "Document": _told(openapi=_TEXT, paths=_OBJECT),
}

#: Header of a chat API's answer -> what it says.
DECISION_HEADERS = {
    "x-herdwise-decision-id": "The decision's id, for GET /v1/decisions/{decision_id} and POST /v1/feedback.",
    "x-herdwise-policy": "Who decided; direct where the request named a candidate.",
    "x-herdwise-candidate": "Who answered.",
    "x-herdwise-attempts": "How many asks it took.",
    "x-herdwise-overhead-ms": "Time that was spent here and not with candidates.",
    "x-herdwise-cost-usd": "What it cost so far; empty where a price is unknown.",
}

_FAILURES = {
    400: "The request cannot be read; `param` names the field.",
    401: "The key is missing or not valid.",
    403: "The key may not do this; or a web page from elsewhere asks (server.allowed_origins).",
    404: "There is no such thing, or no such model.",
    409: "The decision has no answer yet.",
    413: "The body is too large.",
    415: "The body is packed (content-encoding).",
    422: "No candidate meets the request's limits; or a config that cannot be served.",
    429: "A limit or a budget of the key is used up, or all candidates are rate limited.",
    500: "Our own fault; the log says more.",
    501: "This endpoint has no such part.",
    502: "Every candidate that was asked failed.",
    503: "Too much to do, the ledger cannot be reached, or the process ends.",
    504: "No candidate answered in time.",
}
#: What any request may come to.
ANYWHERE = (400, 403, 415, 500)
#: Of the chat APIs, besides.
OF_CHAT = (401, 404, 413, 422, 429, 502, 503, 504)


def failures(*statuses: int) -> dict[str, _Schema]:
    """The responses of an operation that can end so."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        str(status): {"description": _FAILURES[status], "content": content}
        for status in sorted({*ANYWHERE, *statuses})
    }
