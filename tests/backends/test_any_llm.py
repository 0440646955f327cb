"""Further providers through the library any-llm, against real servers of our own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("any_llm", reason="the extra `providers` is not installed")

from herdwise.backends.any_llm import AnyLLMProvider
from herdwise.core.completion import Usage
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

SECRET = "sk-very-secret-key"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello there, my friend"}]}
ECHO = "echo: Hello there, my friend"
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


@pytest.fixture
async def made(faulty_upstream: Any, provider_upstream: Any) -> Any:
    """``await made(provider, **options)`` gives a server and a backend for it; closed at the end."""
    opened: list[AnyLLMProvider] = []

    async def start(provider: str = "openai", **options: Any) -> tuple[Any, AnyLLMProvider]:
        up = await (faulty_upstream() if provider == "openai" else provider_upstream(provider))
        # Anthropic's own SDK adds the version by itself.
        base_url = up.base_url.removesuffix("/v1") if provider == "anthropic" else up.base_url
        options = {"api_key": SECRET, "base_url": base_url, **options}
        opened.append(AnyLLMProvider("far", provider, "test-model", **options))
        return up, opened[-1]

    yield start
    for backend in opened:
        await backend.close()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_whole_and_streamed_answers_say_the_same(made: Any, provider: str) -> None:
    _, backend = await made(provider)
    whole = await backend.complete({**BODY, "max_tokens": 50})
    chunks = [chunk async for chunk in backend.stream({**BODY, "max_tokens": 50})]
    assert whole.text == ECHO
    assert "".join(chunk.text for chunk in chunks) == ECHO
    assert whole.finish_reason == "stop"
    assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]
    assert isinstance(whole.usage.output_tokens, int)
    assert [c.usage for c in chunks if c.usage and c.usage.output_tokens is not None][-1] == whole.usage


async def test_tools_and_unknown_fields_pass_and_the_model_is_the_providers(made: Any) -> None:
    up, backend = await made()
    whole = await backend.complete({**BODY, "tools": TOOLS, "temperature": 0.5, "some_future_field": 1})
    assert whole.finish_reason == "tool_calls"
    assert whole.body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    sent = up.bodies[-1]
    assert (sent["model"], sent["temperature"], sent["messages"]) == ("test-model", 0.5, BODY["messages"])
    assert sent["some_future_field"] == 1
    assert whole.usage == Usage(4, 5)


async def test_thoughts_are_told_where_others_tell_them(made: Any) -> None:
    up, backend = await made()
    up.behave("says", deltas=[{"reasoning_content": "Hm."}, {"content": "Hi"}])
    whole = await backend.complete(BODY)
    assert whole.body["choices"][0]["message"]["reasoning_content"] == "Hm."
    chunks = [chunk async for chunk in backend.stream(BODY)]
    deltas = [c.body["choices"][0]["delta"] for c in chunks if c.body["choices"]]
    assert "".join(d.get("reasoning_content", "") for d in deltas) == "Hm."


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("rate_limited", RateLimitError),
        ("overloaded", RateLimitError),
        ("server_error", UpstreamStatusError),
        ("key_refused", UpstreamStatusError),
        ("context_length_exceeded", UpstreamStatusError),
        ("reset_before_headers", ConnectError),
    ],
)
async def test_every_fault_is_the_right_error_that_keeps_the_key(
    made: Any, behaviour: str, expected: type
) -> None:
    up, backend = await made()
    up.behave(behaviour)
    for call in (backend.complete(BODY), anext(backend.stream(BODY))):
        with pytest.raises(BackendError) as caught:
            await call
        assert type(caught.value) is expected
        assert "'far'" in caught.value.message
        assert SECRET not in f"{caught.value}"
    assert len(up.bodies) == 2  # nothing is retried here


async def test_a_server_that_hangs_is_given_up_in_time(made: Any) -> None:
    up, backend = await made(timeouts=Timeouts(1.0, 0.3, 0.3, 0.5))
    up.behave("hang_before_headers")
    for call in (backend.complete(BODY), anext(backend.stream(BODY))):
        with pytest.raises(TimeoutError_, match="nothing came within"):
            await call


async def test_a_stream_that_ends_before_the_answer_is_a_bad_response(made: Any) -> None:
    up, backend = await made()
    up.behave("end_mid_stream")
    with pytest.raises(BadResponseError, match="ended before"):
        _ = [chunk async for chunk in backend.stream(BODY)]


async def test_what_the_library_cannot_pass_on_is_unsupported(made: Any) -> None:
    _, backend = await made("anthropic")
    with pytest.raises(UnsupportedError, match="'n'"):
        await backend.complete({**BODY, "n": 2})


async def test_a_probe_lists_the_models(made: Any) -> None:
    _, backend = await made()
    health = await backend.probe()
    assert (health.reachable, health.models) == (True, ("test-model",))


def test_an_unknown_provider_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="'far'"):
        AnyLLMProvider("far", "nobody", api_key=SECRET)
