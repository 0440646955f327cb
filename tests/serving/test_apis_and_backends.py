"""Every public API in front of every backend, through the official clients: whole, streamed, with tools."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from herdwise.backends.anthropic import Anthropic
from herdwise.backends.ollama import Ollama
from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate
from herdwise.core.money import Price

ABLE = Candidate(
    "able", quality=0.5, price=Price(1.0, 2.0), tools=True, json_schema=True, context_tokens=100_000,
    modalities=frozenset({"text", "image"}),
)  # fmt: skip
ASKED = "What is a quark?"
HELLO: Any = [{"role": "user", "content": ASKED}]
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
FUNCTION: Any = {"name": "look_up", "description": "Looks up.", "parameters": SCHEMA}
IN_CHAT: Any = [{"type": "function", "function": FUNCTION}]
IN_RESPONSES: Any = [{"type": "function", **FUNCTION}]
IN_MESSAGES: Any = [{"name": "look_up", "description": "Looks up.", "input_schema": SCHEMA}]
KINDS: dict[str, type] = {"openai_compatible": OpenAICompatible, "anthropic": Anthropic, "ollama": Ollama}


@pytest.fixture(params=KINDS)
async def served(
    request: pytest.FixtureRequest, endpoint: Any, provider_upstream: Any, faulty_upstream: Any
) -> Any:
    """An endpoint whose one candidate is behind this backend, its upstream, and Anthropic's client."""
    kind = request.param
    up = await (faulty_upstream() if kind == "openai_compatible" else provider_upstream(kind))
    backend = KINDS[kind]("able", up.base_url, "test-model")
    e = await endpoint(candidates=[ABLE], backends={"able": backend})
    async with anthropic.AsyncAnthropic(base_url=e.url, api_key="any", max_retries=0, timeout=120) as client:
        yield e, up, client


async def test_chat(served: Any) -> None:
    e, _, _ = served
    create = e.client.chat.completions.create
    whole = await create(model="auto", messages=HELLO)
    assert (whole.model, whole.choices[0].message.content) == ("able", f"echo: {ASKED}")
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens == 5
    stream = await create(model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == f"echo: {ASKED}"
    assert chunks[-1].usage == whole.usage
    called = (await create(model="auto", messages=HELLO, tools=IN_CHAT)).choices[0]
    assert called.finish_reason == "tool_calls"
    (call,) = called.message.tool_calls
    assert call.function.name == "look_up"
    answered = [*HELLO, called.message, {"role": "tool", "tool_call_id": call.id, "content": "found"}]
    final = await create(model="auto", messages=answered, tools=IN_CHAT)
    assert final.choices[0].message.content == f"echo: {ASKED}"
    async with e.client.chat.completions.stream(model="auto", messages=HELLO, tools=IN_CHAT) as streaming:
        async for _ in streaming:
            pass
        completed = (await streaming.get_final_completion()).choices[0]
    assert completed.message.tool_calls[0].function.name == "look_up"
    assert completed.finish_reason == "tool_calls"


async def test_completions(served: Any) -> None:
    e, _, _ = served
    whole = await e.client.completions.create(model="auto", prompt=ASKED, max_tokens=2)
    assert (whole.choices[0].text.strip(), whole.choices[0].finish_reason) == ("echo: What", "length")
    stream = await e.client.completions.create(model="auto", prompt=ASKED, stream=True, max_tokens=50)
    assert "".join([c.choices[0].text async for c in stream if c.choices]) == f"echo: {ASKED}"


async def test_responses(served: Any) -> None:
    e, _, _ = served
    whole = await e.client.responses.create(model="auto", input=ASKED, instructions="Be brief.")
    assert (whole.model, whole.output_text, whole.status) == ("able", f"echo: {ASKED}", "completed")
    assert whole.usage.output_tokens == 5
    async with e.client.responses.stream(model="auto", input=ASKED, tools=IN_RESPONSES) as stream:
        async for _ in stream:
            pass
        (call,) = (await stream.get_final_response()).output
    assert (call.type, call.name) == ("function_call", "look_up")
    items = [{"role": "user", "content": ASKED}, call.model_dump(exclude_none=True)]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "found"})
    final = await e.client.responses.create(model="auto", input=items, tools=IN_RESPONSES)
    assert final.output_text == f"echo: {ASKED}"


async def test_messages(served: Any) -> None:
    _, _, client = served
    ask = {"model": "auto", "max_tokens": 50}
    whole = await client.messages.create(messages=HELLO, system="Be brief.", **ask)
    assert (whole.model, whole.content[0].text) == ("able", f"echo: {ASKED}")
    assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", 5)
    async with client.messages.stream(messages=HELLO, tools=IN_MESSAGES, **ask) as stream:
        called = await stream.get_final_message()
    (call,) = called.content
    assert (call.type, call.name, call.input) == ("tool_use", "look_up", {"text": ASKED})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "found"}
    turns = [*HELLO, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    final = await client.messages.create(messages=turns, tools=IN_MESSAGES, **ask)
    assert final.content[0].text == f"echo: {ASKED}"


async def test_an_image_reaches_the_model_by_every_api(served: Any) -> None:
    e, up, client = served
    png = "iVBORw0KGgo="
    url = f"data:image/png;base64,{png}"
    parts: Any = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": url}}]
    await e.client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts}])
    parts = [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": url}]
    await e.client.responses.create(model="auto", input=[{"role": "user", "content": parts}])
    source = {"type": "base64", "media_type": "image/png", "data": png}
    parts = [{"type": "text", "text": "Look."}, {"type": "image", "source": source}]
    asked: Any = [{"role": "user", "content": parts}]
    await client.messages.create(model="auto", max_tokens=50, messages=asked)
    first, *others = [body["messages"] for body in up.bodies]
    assert png in str(first)
    assert others == [first, first]


async def test_a_failing_upstream_is_a_truthful_error_by_every_api(served: Any) -> None:
    e, up, _ = served
    up.behave("overloaded")
    asked = {"model": "auto", "max_tokens": 5, "messages": HELLO, "input": ASKED, "prompt": ASKED}
    for path in ("chat/completions", "completions", "responses", "messages"):
        names = {"model", "messages" if path in {"chat/completions", "messages"} else ""}
        names |= {"responses": {"input"}, "completions": {"prompt"}, "messages": {"max_tokens"}}.get(
            path, set()
        )
        reply = await e.send("POST", f"/v1/{path}", {name: asked[name] for name in names if name})
        assert reply.status == 429
        assert reply.json["error"]["type"] == "rate_limit_error"
        assert reply.json["error"]["code"] == "rate_limit_exceeded"


@pytest.fixture
async def claude_behind(endpoint: Any, provider_upstream: Any) -> Any:
    """Anthropic's API on both sides: endpoint, upstream, client."""
    up = await provider_upstream("anthropic")
    backend = Anthropic("able", up.base_url, "test-model", headers={"anthropic-beta": "ours"})
    e = await endpoint(candidates=[ABLE], backends={"able": backend})
    async with anthropic.AsyncAnthropic(base_url=e.url, api_key="any", max_retries=0, timeout=120) as client:
        yield e, up, client


async def test_a_message_for_anthropics_own_api_is_passed_on_as_it_came(claude_behind: Any) -> None:
    _, up, client = claude_behind
    mark = {"type": "ephemeral"}
    asked: Any = {
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": mark}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                    {"type": "text", "text": "Yes?"},
                ],
            },
            {"role": "user", "content": ASKED},
        ],
        "tools": [{**IN_MESSAGES[0], "cache_control": mark}],
        "tool_choice": {"type": "none"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "top_k": 5,
        "service_tier": "standard_only",
        "metadata": {"user_id": "someone"},
    }
    await client.messages.create(model="auto", extra_headers={"anthropic-beta": "theirs"}, **asked)
    assert up.bodies[-1] == {"model": "test-model", **asked}
    assert up.requests[-1].headers["anthropic-beta"] == "ours,theirs"
    async with client.messages.stream(model="auto", **asked) as stream:
        await stream.get_final_message()
    assert up.bodies[-1] == {"model": "test-model", "stream": True, **asked}


async def test_thoughts_come_back_signed_and_those_of_others_are_not_sent_on(claude_behind: Any) -> None:
    _, up, client = claude_behind
    thought = {"type": "thinking", "thinking": "Let me think.", "signature": "sig"}
    hidden = {"type": "redacted_thinking", "data": "xyz"}
    up.blocks = [thought, hidden, {"type": "text", "text": "Well."}]
    up.cached = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 10}
    whole = await client.messages.create(model="auto", max_tokens=50, messages=HELLO)
    async with client.messages.stream(model="auto", max_tokens=50, messages=HELLO) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        told = [block.model_dump(exclude_none=True) for block in answer.content]
        assert told == up.blocks
        assert answer.usage.cache_read_input_tokens == 100
        assert answer.usage.cache_creation_input_tokens == 10
    foreign = {"type": "thinking", "thinking": "Another's.", "signature": ""}
    turns: Any = [*HELLO, {"role": "assistant", "content": [foreign, *told]}, *HELLO]
    await client.messages.create(model="auto", max_tokens=50, messages=turns)
    assert up.bodies[-1]["messages"][1]["content"] == told


async def test_what_an_api_cannot_do_is_asked_of_another_candidate(
    endpoint: Any, provider_upstream: Any, faulty_upstream: Any
) -> None:
    claude_up, other_up = await provider_upstream("anthropic"), await faulty_upstream()
    best, other = ABLE.replace(name="best", quality=0.9), ABLE.replace(name="other")
    backends = {
        "best": Anthropic("best", claude_up.base_url, "test-model"),
        "other": OpenAICompatible("other", other_up.base_url, "test-model"),
    }
    e = await endpoint(candidates=[best, other], backends=backends)
    assert (await e.chat()).json["model"] == "best"
    several = await e.chat(n=2)
    assert several.json["model"] == "other"
    assert several.headers["x-herdwise-cost-usd"] != "unknown"
    direct = await e.chat(n=2, model="best")
    assert (direct.status, direct.error["code"]) == (400, "unsupported_value")
    assert "n = 2" in direct.error["message"]
