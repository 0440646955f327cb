"""Real HTTP servers that speak Anthropic's and Ollama's own APIs, and misbehave as the faulty upstream does.

In tests, through the fixture ``provider_upstream`` (see conftest.py). They check what they are sent as
strictly as the real ones do, and answer what ``blocks`` or ``pieces`` say; otherwise they echo, or call the
first tool.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

faulty: Any = sys.modules["herdwise_tests_faulty_upstream"]

_ANTHROPIC_FIELDS = {
    *(
        "model",
        "messages",
        "max_tokens",
        "system",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
    ),
    *("tools", "tool_choice", "thinking", "metadata", "service_tier", "output_config", "cache_control"),
}
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def blocks_of(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def in_words(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request with the user's own words alone; a message that only returns tool results has none."""

    def said(message: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [b for b in blocks_of(message["content"]) if b["type"] == "text"]

    return {**body, "messages": [{**m, "content": said(m)} for m in body["messages"] if said(m)]}


def fault_of(body: Mapping[str, Any]) -> str | None:
    """What Anthropic's API would refuse in a request; None = nothing."""
    unknown = {name for name in body if not name.startswith("x_")} - _ANTHROPIC_FIELDS
    if unknown:
        return f"{min(unknown)}: Extra inputs are not permitted"
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    called: list[str] = []
    for number, message in enumerate(body["messages"]):
        if message["role"] not in {"user", "assistant"}:
            return f"messages.{number}.role: Input should be 'user' or 'assistant'"
        blocks = blocks_of(message["content"])
        if any(b["type"] == "text" and not b["text"] for b in blocks):
            return "messages: text content blocks must be non-empty"
        if any(b["type"] == "thinking" and not b.get("signature") for b in blocks):
            return f"messages.{number}: Invalid `signature` in `thinking` block"
        answered = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        if sorted(answered) != sorted(called):
            return f"messages.{number}: `tool_use` ids without `tool_result` blocks, or the other way round"
        called = [b["id"] for b in blocks if b["type"] == "tool_use"]
        if not all(_TOOL_ID.fullmatch(i) for i in called):
            return f"messages.{number}: String should match pattern '^[a-zA-Z0-9_-]+$'"
    return None


class AnthropicExchange(faulty.Exchange):  # type: ignore[misc]
    """Answers POST /v1/messages."""

    def parts(self) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
        body = self.request.body
        last = blocks_of(body["messages"][-1]["content"])
        asked = sum(len(faulty.words(json.dumps(m["content"]))) for m in body["messages"])
        if self.server.blocks is not None:
            blocks, reason = self.server.blocks, self.server.stop_reason
        elif body.get("tools") and not any(b["type"] == "tool_result" for b in last):
            given = {"text": faulty.last_user_text(in_words(body))}
            blocks = [{"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": given}]
            reason = "tool_use"
        else:
            pieces = faulty.words(self.server.answer(in_words(body)))
            limit = body["max_tokens"]
            reason = "max_tokens" if limit < len(pieces) else "end_turn"
            blocks = [{"type": "text", "text": "".join(pieces[:limit])}]
        count = sum(len(faulty.words(b.get("text") or b.get("thinking") or "x")) for b in blocks)
        return blocks, reason, {"input_tokens": asked, "output_tokens": count, **self.server.cached}

    def completion(self, **changes: Any) -> dict[str, Any]:
        blocks, reason, used = self.parts()
        stop = {"stop_reason": reason, "stop_sequence": self.server.stop_sequence}
        return {**self.frame("message"), "content": blocks, **stop, "usage": used, **changes}

    def frame(self, kind: str) -> dict[str, Any]:
        model = self.request.body.get("model")
        return {"id": f"msg_{len(self.server.requests)}", "type": kind, "role": "assistant", "model": model}

    def chunks(self) -> Iterator[dict[str, Any]]:
        blocks, reason, used = self.parts()
        started = {**self.frame("message"), "content": [], "usage": {**used, "output_tokens": 1}}
        yield {"type": "message_start", "message": started}
        yield {"type": "ping"}
        for index, block in enumerate(blocks):
            begun, deltas = self.pieces(block)
            yield {"type": "content_block_start", "index": index, "content_block": begun}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        stop = {"stop_reason": reason, "stop_sequence": self.server.stop_sequence}
        yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": used["output_tokens"]}}
        yield {"type": "message_stop"}

    def pieces(self, block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A block as it begins, and its deltas."""
        kind = block["type"]
        if kind == "text":
            deltas = [{"type": "text_delta", "text": word} for word in faulty.words(block["text"])]
            return {"type": "text", "text": ""}, deltas
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": w} for w in faulty.words(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        if kind == "tool_use":
            text = json.dumps(block["input"])
            halves = ["", text[: len(text) // 2], text[len(text) // 2 :]]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": h} for h in halves]
        return block, []

    def event(self, content: Mapping[str, Any] | str) -> None:
        if content == "[DONE]":  # not of this API
            return
        told = json.loads(content) if isinstance(content, str) and content.endswith("}") else content
        kind = told.get("type", "error") if isinstance(told, dict) else "message"
        text = content if isinstance(content, str) else json.dumps(content)
        self.piece(f"event: {kind}\ndata: {text}\n\n".encode())

    def error(self, status: int, message: str, **more: Any) -> None:
        headers = more.pop("headers", None)
        error = {"type": more.get("type") or "api_error", "message": message}
        self.whole({"type": "error", "error": error}, status=status, headers=headers)


class AnthropicUpstream(faulty.FaultyUpstream):  # type: ignore[misc]
    """Anthropic's API. ``blocks`` and ``stop_reason`` say what it answers, ``cached`` its cache counts."""

    exchange = AnthropicExchange
    chat_path = "/v1/messages"

    def __init__(self, models: Any = ("test-model",), **options: Any) -> None:
        super().__init__(models, **options)
        self.blocks: list[dict[str, Any]] | None = None
        self.stop_reason, self.stop_sequence = "end_turn", None
        self.cached: dict[str, int] = {}

    async def respond(self, x: Any) -> None:
        key, request = self.api_key, x.request
        if key and request.headers.get("x-api-key") != key:
            self.requests.append(request)
            x.error(
                401, f"invalid x-api-key: {request.headers.get('x-api-key')}", type="authentication_error"
            )
        elif request.path == self.chat_path and "anthropic-version" not in request.headers:
            self.requests.append(request)
            x.error(400, "anthropic-version: header is required", type="invalid_request_error")
        elif request.path == self.chat_path and (fault := fault_of(request.body)):
            self.requests.append(request)
            x.error(400, fault, type="invalid_request_error")
        else:
            key, self.api_key = self.api_key, None
            try:
                await super().respond(x)
            finally:
                self.api_key = key


class OllamaExchange(faulty.Exchange):  # type: ignore[misc]
    """Answers POST /api/chat."""

    @property
    def streaming(self) -> bool:
        return self.request.body.get("stream") is not False

    def parts(self) -> tuple[list[dict[str, Any]], str, dict[str, int]]:
        body = self.request.body
        messages = body["messages"]
        asked = sum(len(faulty.words(m["content"])) for m in messages)
        if self.server.pieces is not None:
            pieces, reason = self.server.pieces, "stop"
        elif body.get("tools") and messages[-1]["role"] != "tool":
            given = {"text": faulty.last_user_text(body)}
            call = {"function": {"name": body["tools"][0]["function"]["name"], "arguments": given}}
            pieces, reason = [{"content": "", "tool_calls": [call]}], "stop"
        else:
            words = faulty.words(self.server.answer(body))
            limit = (body.get("options") or {}).get("num_predict")
            reason = "length" if limit is not None and limit < len(words) else "stop"
            pieces = [{"content": word} for word in words[:limit]]
        return pieces, reason, {"prompt_eval_count": asked, "eval_count": len(pieces)}

    def frame(self, kind: str) -> dict[str, Any]:
        return {"model": self.request.body.get("model"), "created_at": "2026-01-01T00:00:00Z"}

    def completion(self, **changes: Any) -> dict[str, Any]:
        pieces, reason, used = self.parts()
        message = {"role": "assistant", "content": "".join(p.get("content", "") for p in pieces)}
        if thoughts := "".join(p.get("thinking", "") for p in pieces):
            message["thinking"] = thoughts
        if calls := [call for p in pieces for call in p.get("tool_calls", ())]:
            message["tool_calls"] = calls
        return {**self.frame(""), "message": message, "done": True, "done_reason": reason, **used, **changes}

    def chunks(self) -> Iterator[dict[str, Any]]:
        pieces, reason, used = self.parts()
        for piece in pieces:
            yield {**self.frame(""), "message": {"role": "assistant", **piece}, "done": False}
        empty = {"role": "assistant", "content": ""}
        yield {**self.frame(""), "message": empty, "done": True, "done_reason": reason, **used}

    def open_stream(self, kind: str = "application/x-ndjson") -> None:
        super().open_stream(kind)

    def event(self, content: Mapping[str, Any] | str) -> None:
        if content == "[DONE]":  # not of this API
            return
        if isinstance(content, dict) and "error" in content:
            content = {"error": content["error"]["message"]}
        text = content if isinstance(content, str) else json.dumps(content)
        self.piece(text.encode() + b"\n")

    def error(self, status: int, message: str, **more: Any) -> None:
        self.whole({"error": message}, status=status, headers=more.get("headers"))


class OllamaUpstream(faulty.FaultyUpstream):  # type: ignore[misc]
    """Ollama's API. ``pieces`` say what it answers."""

    exchange = OllamaExchange
    chat_path = "/api/chat"

    def __init__(self, models: Any = ("test-model",), **options: Any) -> None:
        super().__init__(models, **options)
        self.pieces: list[dict[str, Any]] | None = None
        self.extra["/api/tags"] = {"models": [{"name": name} for name in self.models]}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def respond(self, x: Any) -> None:
        if x.request.path == "/api/embed":
            self.requests.append(x.request)
            told = self.embeddings(x.request.body)
            vectors = [entry["embedding"] for entry in told["data"]]
            x.whole({"embeddings": vectors, "prompt_eval_count": told["usage"]["prompt_tokens"]})
        else:
            await super().respond(x)


UPSTREAMS = {"anthropic": AnthropicUpstream, "ollama": OllamaUpstream}
