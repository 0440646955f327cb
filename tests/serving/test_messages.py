"""Anthropic's Messages through the official client, in front of candidates that speak OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import pytest

from herdwise.core.candidate import Candidate

HELLO: Any = [{"role": "user", "content": "What is a quark?"}]
LOOK_UP: Any = {
    "name": "look_up",
    "description": "Looks up.",
    "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
PIXEL = "iVBORw0KGgo="


@pytest.fixture
async def claude(endpoint: Any) -> AsyncIterator[Callable[..., Awaitable[tuple[Any, Any]]]]:
    """``await claude(**options)`` gives an endpoint and Anthropic's own client for it."""
    opened: list[anthropic.AsyncAnthropic] = []

    async def start(**options: Any) -> tuple[Any, Any]:
        e = await endpoint(**options)
        opened.append(anthropic.AsyncAnthropic(base_url=e.url, api_key="any-key", max_retries=0))
        return e, opened[-1]

    yield start
    for client in opened:
        await client.close()


def call(index: int, name: str = "", arguments: str = "", call_id: str | None = None) -> dict[str, Any]:
    function = {"name": name} if name else {"arguments": arguments}
    named = {"id": call_id, "type": "function"} if call_id else {}
    return {"tool_calls": [{"index": index, **named, "function": function}]}


async def events_of(e: Any, **body: Any) -> list[dict[str, Any]]:
    """The events of a streamed message, each checked to be named by its type."""
    full = {"model": "auto", "max_tokens": 100, "messages": HELLO, "stream": True, **body}
    reply = await e.send("POST", "/v1/messages", full)
    assert reply.status == 200
    told = []
    for block in reply.raw.decode().strip().split("\n\n"):
        named, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert named == f"event: {told[-1]['type']}"
    return told


async def test_auto_answers_in_anthropics_shape_and_names_the_candidate(claude: Any) -> None:
    e, client = await claude()
    raw = await client.messages.with_raw_response.create(model="auto", max_tokens=100, messages=HELLO)
    answer = raw.parse()
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "large")
    assert [block.text for block in answer.content] == ["echo: What is a quark?"]
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, 5)
    assert raw.headers["x-herdwise-candidate"] == "large"
    assert answer.id == f"msg_{raw.headers['x-herdwise-decision-id']}"
    sent = e.upstreams["large"].bodies[-1]
    assert sent == {"model": "up-large", "max_tokens": 100, "messages": HELLO}


async def test_a_stream_is_one_message_with_its_true_counts_at_the_end(claude: Any) -> None:
    e, client = await claude()
    async with client.messages.stream(model="auto", max_tokens=100, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == final.content[0].text == "echo: What is a quark?"
    assert (final.stop_reason, final.model) == ("end_turn", "large")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (4, 5)
    events = [event["type"] for event in await events_of(e)]
    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_whole_conversation_with_tools_and_images_reaches_the_candidate(claude: Any) -> None:
    e, client = await claude()
    await client.messages.create(
        model="auto",
        max_tokens=100,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look at it."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
                    {"type": "text", "text": "I will."},
                    {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"text": "it"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "look_up", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                            }
                        ],
                    },
                    {"type": "text", "text": "And now?"},
                    {"type": "image", "source": {"type": "url", "url": "http://x.example/a.png"}},
                ],
            },
        ],
        tools=[LOOK_UP],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        temperature=0.5,
        top_k=5,
        metadata={"user_id": "someone"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        extra_body={"some_future_field": 1},
    )
    first = {"name": "look_up", "arguments": '{"text":"it"}'}
    second = {"name": "look_up", "arguments": "{}"}
    assert e.upstreams["large"].bodies[-1] == {
        "model": "up-large",
        "max_tokens": 100,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look at it."},
            {
                "role": "assistant",
                "content": "I will.",
                "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": first},
                    {"id": "toolu_2", "type": "function", "function": second},
                ],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "found"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": "(see below)"},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                    {"type": "text", "text": "And now?"},
                    {"type": "image_url", "image_url": {"url": "http://x.example/a.png"}},
                ],
            },
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "description": "Looks up.",
                    "parameters": LOOK_UP["input_schema"],
                },
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "stop": ["END"],
        "temperature": 0.5,
        "top_k": 5,
        "user": "someone",
        "some_future_field": 1,
    }


async def test_tool_calls_come_back_as_blocks_with_their_input_read(claude: Any) -> None:
    _, client = await claude()
    answer = await client.messages.create(model="auto", max_tokens=9, messages=HELLO, tools=[LOOK_UP])
    (block,) = answer.content
    assert (block.type, block.name, block.input) == ("tool_use", "look_up", {"text": "What is a quark?"})
    assert answer.stop_reason == "tool_use"
    async with client.messages.stream(model="auto", max_tokens=9, messages=HELLO, tools=[LOOK_UP]) as stream:
        final = await stream.get_final_message()
    assert final.content == answer.content
    assert final.stop_reason == "tool_use"


@pytest.mark.parametrize("shuffled", [False, True])
async def test_thoughts_text_and_parallel_calls_become_blocks_in_order_even_if_pieces_interleave(
    claude: Any, shuffled: bool
) -> None:
    e, client = await claude()
    deltas = [
        {"reasoning_content": "Let me "},
        {"reasoning_content": "think."},
        {"content": "I look "},
        {"content": "twice."},
        call(0, "look_up", call_id="a"),
        call(0, arguments='{"text":'),
        call(0, arguments='"one"}'),
        call(1, "look_up", call_id="b"),
        call(1, arguments='{"text":"two"}'),
    ]
    if shuffled:
        deltas[6], deltas[7], deltas[8] = deltas[7], deltas[8], deltas[6]
    for up in e.upstreams.values():
        up.behave("says", deltas=deltas, reason="tool_calls")
    whole = await client.messages.create(model="auto", max_tokens=99, messages=HELLO, tools=[LOOK_UP])
    async with client.messages.stream(model="auto", max_tokens=99, messages=HELLO, tools=[LOOK_UP]) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        thought, text, one, two = answer.content
        assert (thought.type, thought.thinking) == ("thinking", "Let me think.")
        assert text.text == "I look twice."
        assert (one.id, one.input, two.id, two.input) == ("a", {"text": "one"}, "b", {"text": "two"})
        assert answer.stop_reason == "tool_use"


async def test_text_in_the_midst_of_a_call_is_told_after_it(claude: Any) -> None:
    e, client = await claude()
    deltas = [
        call(0, "look_up", call_id="a"),
        call(0, arguments='{"text":'),
        {"content": "aside"},
        call(0, arguments="1}"),
    ]
    e.upstreams["large"].behave("says", deltas=deltas, reason="tool_calls")
    async with client.messages.stream(model="auto", max_tokens=9, messages=HELLO, tools=[LOOK_UP]) as stream:
        used, said = (await stream.get_final_message()).content
    assert (used.input, said.text) == ({"text": 1}, "aside")


@pytest.mark.parametrize(
    ("reason", "more", "told"),
    [
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": "other"}, ("end_turn", None)),
    ],
)
async def test_every_end_has_its_stop_reason(claude: Any, reason: str, more: Any, told: Any) -> None:
    e, client = await claude()
    e.upstreams["large"].behave("says", deltas=[{"content": "Hi"}], reason=reason, **more)
    asked = {"model": "auto", "max_tokens": 9, "messages": HELLO, "stop_sequences": ["END"]}
    whole = await client.messages.create(**asked)
    async with client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    assert (whole.stop_reason, whole.stop_sequence) == told
    assert (streamed.stop_reason, streamed.stop_sequence) == told


async def test_cached_input_is_told_apart(claude: Any) -> None:
    e, client = await claude()
    used = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
    e.upstreams["large"].behave("says", deltas=[{"content": "Hi"}], used=used)
    counts = (await client.messages.create(model="auto", max_tokens=9, messages=HELLO)).usage
    assert (counts.input_tokens, counts.cache_read_input_tokens, counts.output_tokens) == (2, 8, 2)


async def test_counts_that_are_none_are_unknown_and_break_nothing(claude: Any) -> None:
    e, client = await claude()
    used = {"prompt_tokens": "7", "completion_tokens": -1, "prompt_tokens_details": 3}
    e.upstreams["large"].behave("says", used=used)
    whole = await client.messages.create(model="auto", max_tokens=9, messages=HELLO)
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (None, None)
    events = await events_of(e)
    assert events[-2]["usage"] == {"output_tokens": None}
    told = await e.client.responses.create(model="auto", input="x")
    assert told.usage is None


async def test_goals_the_explanation_and_the_ledger_are_as_for_chat(claude: Any) -> None:
    e, client = await claude()
    raw = await client.messages.with_raw_response.create(
        model="auto",
        max_tokens=9,
        messages=HELLO,
        extra_body={"herdwise": {"max_params_b": 20}},
        extra_headers={"x-herdwise-explain": "1"},
    )
    answer = raw.parse()
    assert answer.model == "small"
    assert answer.model_extra["herdwise"]["removed"] == {"large": "params_b 70 > 20"}
    found = await e.send("GET", f"/v1/decisions/{raw.headers['x-herdwise-decision-id']}")
    assert (found.json["candidate"], found.json["text"]) == ("small", "What is a quark?")
    events = await events_of(e, herdwise={"candidates": ["small"]})
    assert events[0]["message"]["model"] == "small"


async def test_a_failing_candidate_is_replaced_unseen(claude: Any) -> None:
    e, client = await claude()
    e.upstreams["large"].behave("server_error")
    async with client.messages.stream(model="auto", max_tokens=9, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert (final.model, final.content[0].text) == ("small", "echo: What is a quark?")


async def test_an_answer_that_another_goes_on_with_is_one_well_formed_message(claude: Any) -> None:
    e, client = await claude()
    e.upstreams["large"].behave("reset_mid_stream")
    async with client.messages.stream(model="auto", max_tokens=99, messages=HELLO) as stream:
        final = await stream.get_final_message()
    assert len(final.content) == 1
    assert final.content[0].text.startswith("echo: What")
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "messages[0].content[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"mcp_servers": [{"url": "http://x"}]}, "mcp_servers"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"herdwise": {"nonsense": 1}}, "herdwise.nonsense"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_anthropics_shape(
    endpoint: Any, body: Any, param: str
) -> None:
    e = await endpoint()
    reply = await e.send(
        "POST", "/v1/messages", {"model": "auto", "max_tokens": 9, "messages": HELLO, **body}
    )
    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == param
    assert e.upstreams["large"].bodies == []


async def test_errors_raise_the_clients_own_exceptions(claude: Any) -> None:
    e, client = await claude(api_keys=("secret-key",))
    with pytest.raises(anthropic.AuthenticationError):
        await client.messages.create(model="auto", max_tokens=9, messages=HELLO)
    knows = client.with_options(api_key="secret-key")
    assert (await knows.messages.create(model="auto", max_tokens=9, messages=HELLO)).model == "large"
    with pytest.raises(anthropic.NotFoundError, match="there is no model"):
        await knows.messages.create(model="claude-9", max_tokens=9, messages=HELLO)
    for up in e.upstreams.values():
        up.behave("rate_limited", retry_after=7)
    with pytest.raises(anthropic.RateLimitError) as caught:
        await knows.messages.create(model="auto", max_tokens=9, messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "7"


async def test_a_stream_that_breaks_off_ends_with_an_error_event(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["small"].behave("reset_mid_stream")
    events = await events_of(e, model="small")
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["type"] == "api_error"


async def test_requirements_are_constraints_here_too(claude: Any) -> None:
    plain = Candidate("plain", quality=0.9, tools=False, modalities=frozenset({"text"}), context_tokens=1000)
    able = Candidate(
        "able", quality=0.5, tools=True, json_schema=True, modalities=frozenset({"text", "image", "file"}),
        context_tokens=100_000,
    )  # fmt: skip
    _, client = await claude(candidates=[plain, able])

    async def who(content: Any = "Hi", **more: Any) -> str:
        messages: Any = [{"role": "user", "content": content}]
        answer = await client.messages.create(model="auto", max_tokens=9, messages=messages, **more)
        return str(answer.model)

    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PIXEL}
    schema = {"type": "json_schema", "schema": {"type": "object"}}
    assert await who() == "plain"
    assert await who(tools=[LOOK_UP]) == "able"
    assert await who([{"type": "image", "source": source}]) == "able"
    assert await who([{"type": "document", "source": pdf}]) == "able"
    assert await who("word " * 2000) == "able"
    assert await who(output_config={"format": schema}) == "able"


async def test_tokens_can_be_counted_by_the_estimate_that_routing_goes_by(claude: Any) -> None:
    _, client = await claude()
    counted = await client.messages.count_tokens(model="auto", messages=HELLO)
    assert counted.input_tokens == 4
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.count_tokens(model="auto", messages=[])
