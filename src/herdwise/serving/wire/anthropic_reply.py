"""Anthropic's Messages: the shapes of an answer, made of OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from herdwise.serving.wire.api import count, details
from herdwise.serving.wire.errors import WireError
from herdwise.serving.wire.openai_chat import ChatRequest, content_text

_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def frame(decision_id: str, model: Any) -> dict[str, Any]:
    """A message before anything was said."""
    return {
        "id": f"msg_{decision_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def usage(stated: Mapping[str, Any] | None) -> dict[str, Any]:
    """Token counts in Anthropic's shape: cached input is told apart. None = the upstream did not say."""
    told = stated or {}
    total, read = count(told, "prompt_tokens"), count(details(told, "prompt_tokens_details"), "cached_tokens")
    written = count(told, "cache_creation_input_tokens")
    fresh = None if total is None else max(0, total - (read or 0) - (written or 0))
    return {
        "input_tokens": fresh,
        "output_tokens": count(told, "completion_tokens"),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }


def stop_reason(choice: Mapping[str, Any], request: ChatRequest, *, calls: bool) -> tuple[str, str | None]:
    """Why it stopped, and at which of the request's sequences, where the upstream tells (as vLLM does)."""
    matched = choice.get("stop_reason")
    if isinstance(matched, str) and matched in (request.asked.get("stop_sequences") or ()):
        return "stop_sequence", matched
    reason = _STOPS.get(choice.get("finish_reason") or "stop", "end_turn")
    # Some servers say "stop" although they call tools; a client that saw end_turn would not run them.
    return ("tool_use" if calls and reason == "end_turn" else reason), None


def thoughts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a message or delta thought, as blocks: Anthropic's own, or another candidate's reasoning."""
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list):
        return [block for block in blocks if isinstance(block, dict)]
    text = message.get("reasoning_content") or message.get("reasoning")
    return [{"type": "thinking", "thinking": text, "signature": ""}] if isinstance(text, str) and text else []


def content(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The blocks of a whole message: thinking, text, then tool calls."""
    blocks = thoughts(message)
    text = content_text(message.get("content")) or content_text(message.get("refusal"))
    if text:
        blocks.append({"type": "text", "text": text})
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        name, given = function.get("name"), _arguments(function.get("arguments"))
        blocks.append({"type": "tool_use", "id": call.get("id"), "name": name, "input": given})
    return blocks


def _arguments(text: Any) -> Any:
    """A call's arguments; what is no JSON object is told as text, as this API has nothing else for it."""
    try:
        value = msgspec.json.decode(text or "{}")
    except (msgspec.MsgspecError, UnicodeError):
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def error_body(error: WireError) -> dict[str, Any]:
    """``{"type": "error", "error": {...}}``."""
    kind = _ERRORS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {**error.error, "type": kind}}
