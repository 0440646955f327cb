"""The Ollama backend against a real server that speaks Ollama's own API."""

from __future__ import annotations

from typing import Any

import pytest

from herdwise.backends.ollama import Ollama
from herdwise.core.completion import Chunk, Usage
from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConnectError,
    RateLimitError,
    TimeoutError_,
    UnsupportedError,
    UpstreamStatusError,
)
from herdwise.transport.client import Timeouts

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello there, my friend"}]}
ECHO = "echo: Hello there, my friend"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
PATIENT = Timeouts(connect_s=20.0, first_byte_s=20.0, idle_s=20.0, total_s=40.0)
QUICK = Timeouts(connect_s=1.0, first_byte_s=0.3, idle_s=0.3, total_s=0.6)


@pytest.fixture
async def made(provider_upstream: Any) -> Any:
    """``await made(**options)`` gives a server and a backend for it."""
    opened: list[Ollama] = []

    async def start(**options: Any) -> tuple[Any, Ollama]:
        up = await provider_upstream("ollama")
        opened.append(Ollama("llama", up.base_url, "test-model", **{"timeouts": PATIENT, **options}))
        return up, opened[-1]

    yield start
    for backend in opened:
        await backend.close()


async def collect(backend: Ollama, body: Any = BODY) -> list[Chunk]:
    return [chunk async for chunk in backend.stream(body)]


async def test_a_chat_request_becomes_ollamas(made: Any) -> None:
    up, backend = await made(model_options={"num_ctx": 8192, "seed": 0}, keep_alive="10m")
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look_up", "arguments": '{"text": "it"}'},
    }
    await backend.complete(
        {
            "model": "auto",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look."},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    ],
                },
                {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
                {"role": "tool", "tool_call_id": "call_1", "content": "found"},
            ],
            "tools": [TOOL],
            "tool_choice": "auto",
            "max_tokens": 50,
            "stop": "END",
            "temperature": 0.5,
            "seed": 7,
            "options": {"mirostat": 1},
            "response_format": SCHEMA,
            "reasoning_effort": "high",
            "logit_bias": {},
            "logprobs": True,
            "some_future_field": 1,
        }
    )  # fmt: skip
    assert up.bodies[-1] == {
        "model": "test-model",
        "stream": False,
        "keep_alive": "10m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look.", "images": [PIXEL]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [
                    {"id": "call_1", "function": {"name": "look_up", "arguments": {"text": "it"}}}
                ],
            },
            {"role": "tool", "content": "found", "tool_name": "look_up", "tool_call_id": "call_1"},
        ],
        "tools": [TOOL],
        "options": {
            "num_ctx": 8192,
            "seed": 7,
            "num_predict": 50,
            "stop": ["END"],
            "temperature": 0.5,
            "mirostat": 1,
        },
        "format": {"type": "object"},
        "think": "high",
        "logprobs": True,
        "some_future_field": 1,
    }


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"think": True, "reasoning_effort": "low"}, {"think": True}),
    ],
)
async def test_each_wish_is_said_in_ollamas_words(made: Any, more: Any, sent: Any) -> None:
    up, backend = await made()
    await backend.complete({**BODY, **more})
    messages = BODY["messages"]
    assert up.bodies[-1] == {"model": "test-model", "messages": messages, "stream": False, **sent}


async def test_whole_and_streamed_answers_say_the_same(made: Any) -> None:
    up, backend = await made()
    one = {"function": {"name": "look_up", "arguments": {"text": "one"}}}
    two = {"id": "own", "function": {"name": "look_up", "arguments": {}}}
    up.pieces = [
        {"thinking": "Let me "},
        {"thinking": "think."},
        {"content": "I look "},
        {"content": "twice."},
        {"tool_calls": [one]},
        {"tool_calls": [two]},
    ]
    whole = await backend.complete(BODY)
    message = whole.body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Let me think.", "I look twice.")
    first, second = message["tool_calls"]
    assert first["id"].startswith("call_")
    assert first["function"] == {"name": "look_up", "arguments": '{"text":"one"}'}
    assert (second["id"], second["function"]["arguments"]) == ("own", "{}")
    chunks = await collect(backend)
    deltas = [c.body["choices"][0]["delta"] for c in chunks if c.body["choices"]]
    assert deltas[0]["role"] == "assistant"
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Let me think."
    assert "".join(c.text for c in chunks) == "I look twice."
    calls = [call for d in deltas for call in d.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 1]
    assert [call["function"] for call in calls] == [first["function"], second["function"]]
    assert whole.finish_reason == chunks[-2].finish_reason == "tool_calls"
    assert whole.usage == chunks[-1].usage == Usage(4, 6)


async def test_a_cut_answer_says_so_and_logprobs_are_passed_on(made: Any) -> None:
    up, backend = await made()
    body = {**BODY, "max_completion_tokens": 2}
    assert (await backend.complete(body)).finish_reason == "length"
    assert (await collect(backend, body))[-2].finish_reason == "length"
    told = [{"token": "Hi", "logprob": -0.5}]
    message = {"role": "assistant", "content": "Hi"}
    up.extra["/api/chat"] = {"message": message, "done": True, "logprobs": told}
    choice = (await backend.complete(BODY)).body["choices"][0]
    assert choice["logprobs"] == {"content": told}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"response_format": {"type": "json_schema", "json_schema": 7}},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [7]}]},
        {"tools": [TOOL], "tool_choice": "required"},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
    ],
)  # fmt: skip
async def test_what_the_api_has_no_place_for_is_refused_before_anything_is_sent(made: Any, more: Any) -> None:
    up, backend = await made()
    for call in (backend.complete({**BODY, **more}), collect(backend, {**BODY, **more})):
        with pytest.raises(UnsupportedError, match="'llama'"):
            await call
    assert up.requests == []


#: behaviour -> (error of a whole answer, error of a stream).
FAULTS: dict[str, tuple[type[BackendError], type[BackendError]]] = {
    "hang_before_headers": (TimeoutError_, TimeoutError_),
    "hang_mid_stream": (TimeoutError_, TimeoutError_),
    "reset_before_headers": (ConnectError, ConnectError),
    "reset_mid_stream": (ConnectError, ConnectError),
    "end_mid_stream": (BadResponseError, BadResponseError),
    "rate_limited": (RateLimitError, RateLimitError),
    "server_error": (UpstreamStatusError, UpstreamStatusError),
    "html_error": (UpstreamStatusError, UpstreamStatusError),
    "truncated_json": (BadResponseError, BadResponseError),
    "wrong_content_type": (BadResponseError, BadResponseError),
    "empty_body": (BadResponseError, BadResponseError),
}


@pytest.mark.parametrize("behaviour", FAULTS)
async def test_every_fault_is_the_right_error_that_names_the_candidate(made: Any, behaviour: str) -> None:
    hangs = TimeoutError_ in FAULTS[behaviour]
    up, backend = await made(timeouts=QUICK if hangs else PATIENT)
    up.behave(behaviour)
    for expected, call in zip(FAULTS[behaviour], (backend.complete(BODY), collect(backend)), strict=True):
        with pytest.raises(BackendError) as caught:
            await call
        assert type(caught.value) is expected
        assert "'llama'" in caught.value.message
    await up.until(lambda: up.in_flight == 0)


async def test_an_error_in_the_midst_of_a_stream_is_told_in_the_servers_words(made: Any) -> None:
    up, backend = await made()
    up.behave("error_event")
    with pytest.raises(UpstreamStatusError, match="The engine died"):
        await collect(backend)


async def test_texts_are_embedded_in_openais_shape(made: Any) -> None:
    _, backend = await made()
    told = await backend.embed({"model": "x", "input": ["one", "two three"]})
    assert [entry["index"] for entry in told["data"]] == [0, 1]
    assert len(told["data"][0]["embedding"]) == 16
    assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
