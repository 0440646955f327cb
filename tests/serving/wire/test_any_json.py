"""Whatever JSON a client sends: it is translated, or refused by name, but never breaks the translator."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herdwise.core.errors import RequestError
from herdwise.serving.wire import anthropic_request, openai_completions, responses_request

NAMES = st.sampled_from(
    [
        *("type", "role", "content", "text", "name", "id", "input", "tool_use_id", "call_id", "arguments"),
        *("output", "source", "data", "media_type", "url", "image_url", "file_data", "title", "function"),
        *("input_schema", "parameters", "format", "effort", "schema", "user_id", "cache_control", "tools"),
    ]
)
WORDS = st.sampled_from(
    [
        *("user", "assistant", "system", "tool", "text", "image", "document", "tool_use", "tool_result"),
        *("thinking", "base64", "url", "message", "function_call", "function_call_output", "reasoning"),
        *("input_text", "input_image", "input_file", "output_text", "refusal", "function", "custom", "auto"),
        *("any", "none", "json_schema", "json_object", "content", "search_result", "allowed_tools", ""),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | WORDS | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "anthropic": (
        *("system", "messages", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata"),
        *("output_config", "container", "mcp_servers", "stream"),
    ),
    "responses": (
        *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"),
        *("store", "conversation", "include", "truncation", "top_logprobs"),
    ),
    "completions": ("prompt", "suffix", "echo", "best_of", "n", "logprobs", "stream"),
}
TRANSLATORS: dict[str, Any] = {
    "anthropic": anthropic_request.to_chat,
    "responses": responses_request.to_chat,
    "completions": openai_completions.to_chat,
}


def attempt(api: str, body: dict[str, Any]) -> tuple[dict[str, Any], RequestError | None]:
    try:
        return TRANSLATORS[api](body), None
    except RequestError as error:
        return {}, error


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("anthropic", {"messages": [{"role": {}, "content": "x"}]}),
        ("anthropic", {"messages": [{"role": "user", "content": [{"type": []}]}]}),
        ("anthropic", {"messages": [{"role": "assistant", "content": [{"type": {}}]}]}),
        (
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": []}}]}]},
        ),
        ("responses", {"input": "x", "tools": True}),
        ("responses", {"input": "x", "truncation": []}),
        ("responses", {"input": "x", "instructions": {}, "tools": {"a": 1}}),
        ("responses", {"instructions": "x", "input": {"a": 1}}),
        ("responses", {"input": [{"type": "reasoning"}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": {}}]}]}),
        ("completions", {"prompt": "x", "best_of": {}}),
    ],
)
def test_values_of_the_wrong_kind_are_refused_by_name(api: str, body: dict[str, Any]) -> None:
    _, refused = attempt(api, body)
    assert refused is not None
    assert refused.param


@pytest.mark.parametrize("api", FIELDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_json_is_translated_or_refused_by_name(api: str, data: Any) -> None:
    body = data.draw(st.dictionaries(st.sampled_from(FIELDS[api]), VALUES, max_size=5))
    if api != "completions":
        turns = st.lists(st.dictionaries(st.sampled_from(["role", "type", "content", "output"]), VALUES))
        body |= data.draw(st.sampled_from([{}, {"messages": data.draw(turns), "input": data.draw(turns)}]))
    before = msgspec.json.encode(body)
    chat, refused = attempt(api, body)
    if refused is None:
        assert chat["messages"]
        assert all(isinstance(message, dict) and message["role"] for message in chat["messages"])
        msgspec.json.encode(chat)
    else:
        assert refused.param
    assert msgspec.json.encode(body) == before
