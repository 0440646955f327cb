"""The Anthropic backend against a real server that checks requests as strictly as Anthropic's does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herdwise.backends.anthropic import Anthropic
from herdwise.core.completion import Chunk, Usage
from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConfigError,
    ConnectError,
    RateLimitError,
    TimeoutError_,
    UnsupportedError,
    UpstreamStatusError,
)
from herdwise.transport.client import Timeouts

SECRET = "sk-ant-very-secret"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello there, my friend"}]}
ECHO = "echo: Hello there, my friend"
FUNCTION = {"name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}, "strict": True}
PIXEL = "iVBORw0KGgo="
PDF = f"data:application/pdf;base64,{PIXEL}"
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
PATIENT = Timeouts(connect_s=20.0, first_byte_s=20.0, idle_s=20.0, total_s=40.0)
QUICK = Timeouts(connect_s=1.0, first_byte_s=0.3, idle_s=0.3, total_s=0.6)


@pytest.fixture
async def made(provider_upstream: Any) -> Any:
    """``await made(**options)`` gives a server and a backend for it."""
    opened: list[Anthropic] = []

    async def start(**options: Any) -> tuple[Any, Anthropic]:
        up = await provider_upstream("anthropic", api_key=SECRET)
        options = {"timeouts": PATIENT, "api_key": SECRET, **options}
        opened.append(Anthropic("claude", up.base_url, "test-model", **options))
        return up, opened[-1]

    yield start
    for backend in opened:
        await backend.close()


async def collect(backend: Anthropic, body: Any = BODY) -> list[Chunk]:
    return [chunk async for chunk in backend.stream(body)]


def message_of(chunks: list[Chunk]) -> dict[str, Any]:
    """The message that chunks make, as a chat client would put it together."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.body["choices"]:
            for key, value in choice["delta"].items():
                if key == "tool_calls":
                    for piece in value:
                        call = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
                        call |= {k: piece[k] for k in ("id", "type") if k in piece}
                        for name, text in piece["function"].items():
                            call["function"][name] += text
                elif key != "role":
                    message[key] = (message.get(key) or type(value)()) + value
    message["content"] = message["content"] or None
    return {**message, "tool_calls": list(calls.values())} if calls else message


async def test_a_chat_request_becomes_a_messages_request(made: Any) -> None:
    up, backend = await made()
    call = {
        "id": "call:1",
        "type": "function",
        "function": {"name": "look_up", "arguments": '{"text": "it"}'},
    }
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    mark = {"type": "ephemeral"}
    await backend.complete(
        {
            "model": "auto",
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": mark}]},
                {"role": "developer", "content": "In English."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look."},
                        {"type": "text", "text": ""},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": PDF},
                        },
                    ],
                },
                {
                    "role": "assistant", "content": "I will.", "tool_calls": [call],
                    "thinking_blocks": [thought],
                },
                {"role": "tool", "tool_call_id": "call:1", "content": "found"},
                {"role": "user", "content": "And now?"},
            ],
            "tools": [{"type": "function", "function": FUNCTION, "cache_control": mark}],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_completion_tokens": 50,
            "stop": "END",
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "user": "someone",
            "response_format": SCHEMA,
            "reasoning_effort": "low",
            "seed": 1,
            "presence_penalty": 0.5,
            "n": 1,
            "stream_options": {"include_usage": True},
        }
    )  # fmt: skip
    png = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PIXEL}
    assert up.bodies[-1] == {
        "model": "test-model",
        "system": [
            {"type": "text", "text": "Be brief.", "cache_control": mark},
            {"type": "text", "text": "In English."},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look."},
                    {"type": "image", "source": png},
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                    {"type": "document", "source": pdf, "title": "a.pdf"},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    thought,
                    {"type": "text", "text": "I will."},
                    {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"text": "it"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "call_1",
                        "content": [{"type": "text", "text": "found"}],
                    },
                    {"type": "text", "text": "And now?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "look_up",
                "description": "Looks up.",
                "input_schema": {"type": "object"},
                "strict": True,
                "cache_control": mark,
            }
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "max_tokens": 50,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "metadata": {"user_id": "someone"},
        "thinking": {"type": "adaptive"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"},
    }


@pytest.mark.parametrize(
    ("reasoning", "limit", "thinking"),
    [
        ("budget", 9000, {"type": "enabled", "budget_tokens": 4096}),
        ("budget", 2000, {"type": "enabled", "budget_tokens": 1999}),
        ("budget", 1000, None),
        ("none", 9000, None),
    ],
)
async def test_how_much_to_think_is_said_as_the_model_wants_it(
    made: Any, reasoning: str, limit: int, thinking: Any
) -> None:
    up, backend = await made(reasoning=reasoning)
    await backend.complete({**BODY, "reasoning_effort": "medium", "max_tokens": limit})
    assert up.bodies[-1].get("thinking") == thinking
    assert "output_config" not in up.bodies[-1]


async def test_a_limit_is_always_sent_as_the_api_demands_one(made: Any) -> None:
    up, backend = await made(max_tokens=123)
    await backend.complete(BODY)
    assert up.bodies[-1]["max_tokens"] == 123


async def test_whole_and_streamed_answers_say_the_same_in_every_kind_of_block(made: Any) -> None:
    up, backend = await made()
    thought = {"type": "thinking", "thinking": "Let me think.", "signature": "sig"}
    hidden = {"type": "redacted_thinking", "data": "xyz"}
    up.blocks = [
        thought,
        hidden,
        {"type": "text", "text": "I look twice."},
        {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"text": "one"}},
        {"type": "tool_use", "id": "toolu_2", "name": "look_up", "input": {}},
    ]
    up.stop_reason = "tool_use"
    up.cached = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
    whole = await backend.complete(BODY)
    chunks = await collect(backend)
    message = whole.body["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me think."
    assert message["thinking_blocks"] == [thought, hidden]
    assert message["content"] == whole.text == "I look twice."
    assert [call["id"] for call in message["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"text":"one"}'
    streamed = message_of(chunks)
    assert streamed["tool_calls"][0]["function"].pop("arguments") == '{"text": "one"}'
    assert message["tool_calls"][0]["function"].pop("arguments") == '{"text":"one"}'
    assert streamed == message
    assert whole.finish_reason == chunks[-2].finish_reason == "tool_calls"
    assert whole.usage == chunks[-1].usage == Usage(117, 9)
    assert whole.body["usage"] == chunks[-1].body["usage"]
    assert whole.body["usage"]["prompt_tokens_details"] == {"cached_tokens": 100}
    assert whole.body["usage"]["cache_creation_input_tokens"] == 10


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
    ],
)
async def test_every_stop_reason_has_its_finish_reason(
    made: Any, stop_reason: str, finish_reason: str
) -> None:
    up, backend = await made()
    up.blocks, up.stop_reason = [{"type": "text", "text": "Hi"}], stop_reason
    up.stop_sequence = "END" if stop_reason == "stop_sequence" else None
    whole, chunks = await backend.complete(BODY), await collect(backend)
    assert whole.finish_reason == chunks[-2].finish_reason == finish_reason
    for choice in (whole.body["choices"][0], chunks[-2].body["choices"][0]):
        assert choice.get("stop_reason") == up.stop_sequence


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"response_format": {"type": "json_schema", "json_schema": 7}},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [7]}]},
        {"logprobs": True},
        {"functions": [{"name": "f"}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"tools": [{"type": "custom", "custom": {"name": "c"}, "function": None}]},
    ],
)
async def test_what_the_api_has_no_place_for_is_refused_before_anything_is_sent(made: Any, more: Any) -> None:
    up, backend = await made()
    for call in (backend.complete({**BODY, **more}), collect(backend, {**BODY, **more})):
        with pytest.raises(UnsupportedError, match="'claude'"):
            await call
    assert up.requests == []


#: behaviour -> (error of a whole answer, error of a stream); None = it ends well.
FAULTS: dict[str, tuple[type | None, type | None]] = {
    "hang_before_headers": (TimeoutError_, TimeoutError_),
    "hang_mid_stream": (TimeoutError_, TimeoutError_),
    "reset_before_headers": (ConnectError, ConnectError),
    "reset_mid_stream": (ConnectError, ConnectError),
    "close_mid_stream": (ConnectError, ConnectError),
    "end_mid_stream": (BadResponseError, BadResponseError),
    "rate_limited": (RateLimitError, RateLimitError),
    "overloaded": (RateLimitError, RateLimitError),
    "server_error": (UpstreamStatusError, UpstreamStatusError),
    "html_error": (UpstreamStatusError, UpstreamStatusError),
    "key_refused": (UpstreamStatusError, UpstreamStatusError),
    "truncated_json": (BadResponseError, BadResponseError),
    "malformed_sse": (BadResponseError, BadResponseError),
    "wrong_content_type": (BadResponseError, BadResponseError),
    "slow_bytes": (None, None),
    "empty_body": (BadResponseError, BadResponseError),
}


@pytest.mark.parametrize("behaviour", FAULTS)
async def test_every_fault_is_the_right_error_that_names_the_candidate_and_keeps_the_key(
    made: Any, behaviour: str
) -> None:
    hangs = TimeoutError_ in FAULTS[behaviour]
    up, backend = await made(timeouts=QUICK if hangs else PATIENT)
    up.behave(behaviour)
    for expected, call in zip(FAULTS[behaviour], (backend.complete(BODY), collect(backend)), strict=True):
        if expected is None:
            await call
            continue
        with pytest.raises(BackendError) as caught:
            await call
        assert type(caught.value) is expected
        assert "'claude'" in caught.value.message
        assert SECRET not in f"{caught.value} {caught.value.body}"
    await up.until(lambda: up.in_flight == 0)


async def test_an_overload_in_the_midst_of_a_stream_counts_as_one(made: Any) -> None:
    up, backend = await made()
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    up.behave("error_event")
    with pytest.raises(UpstreamStatusError, match="The engine died"):
        await collect(backend)
    up.behave("ok")
    up.extra["/v1/messages"] = error
    with pytest.raises(RateLimitError) as caught:
        await backend.complete(BODY)
    assert caught.value.status == 529


async def test_the_server_sees_the_key_and_the_version_and_refuses_a_wrong_key(made: Any) -> None:
    up, backend = await made()
    await backend.complete(BODY)
    headers = up.requests[-1].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == (SECRET, "2023-06-01")
    assert "authorization" not in headers
    up, stranger = await made(api_key="sk-ant-wrong-key-0")
    with pytest.raises(UpstreamStatusError) as caught:
        await stranger.complete(BODY)
    assert caught.value.status == 401
    assert "wrong-key" not in f"{caught.value} {caught.value.body}"


async def test_a_stream_that_is_left_closes_the_call(made: Any) -> None:
    up, backend = await made()
    up.behave("hang_mid_stream")
    stream = backend.stream(BODY)
    await anext(stream)
    await stream.aclose()
    async with asyncio.timeout(60):
        await up.until(lambda: up.disconnects == 1)


def test_an_unknown_way_to_reason_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="effort, budget or none"):
        Anthropic("claude", reasoning="hard")  # type: ignore[arg-type]
