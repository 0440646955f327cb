"""Everything that clients of chat completions send, through the official client, whole and streamed."""

from __future__ import annotations

from typing import Any

import openai
import pydantic
import pytest

from herdwise.core.candidate import Candidate

HELLO: Any = [{"role": "user", "content": "What is a quark?"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "strict": True, "parameters": {"type": "object", "properties": {}}},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def call(index: int, name: str = "", arguments: str = "", call_id: str | None = None) -> dict[str, Any]:
    function = {"name": name} if name else {"arguments": arguments}
    named = {"id": call_id, "type": "function"} if call_id else {}
    return {"tool_calls": [{"index": index, **named, "function": function}]}


async def both(e: Any, **asked: Any) -> list[Any]:
    """The completion as it comes whole, and as the client puts it together from a stream."""
    asked = {"model": "large", "messages": HELLO, **asked}
    whole = await e.client.chat.completions.create(**asked)
    async with e.client.chat.completions.stream(**asked) as stream:
        async for _ in stream:
            pass
        return [whole, await stream.get_final_completion()]


async def test_parallel_tool_calls_come_whole_in_both(endpoint: Any) -> None:
    e = await endpoint()
    deltas = [
        call(0, "look_up", call_id="a"),
        call(0, arguments='{"text":"one"}'),
        call(1, "look_up", call_id="b"),
        call(1, arguments='{"text":"two"}'),
    ]
    e.upstreams["large"].behave("says", deltas=deltas, reason="tool_calls")
    for told in await both(e, tools=[TOOL], tool_choice="required", parallel_tool_calls=True):
        calls = told.choices[0].message.tool_calls
        assert [(c.id, c.function.name, c.function.arguments) for c in calls] == [
            ("a", "look_up", '{"text":"one"}'),
            ("b", "look_up", '{"text":"two"}'),
        ]
        assert told.choices[0].finish_reason == "tool_calls"
    for sent in e.upstreams["large"].bodies:
        assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", True)


async def test_a_tool_can_be_demanded_by_name_or_forbidden(endpoint: Any) -> None:
    e = await endpoint()
    named = {"type": "function", "function": {"name": "look_up"}}
    for choice in (named, "none"):
        told = await both(e, tools=[TOOL], tool_choice=choice)
        assert e.upstreams["large"].bodies[-1]["tool_choice"] == choice
        calling = choice != "none"
        assert all(bool(t.choices[0].message.tool_calls) is calling for t in told)


async def test_a_tool_loop_goes_through_with_the_sdks_own_message(endpoint: Any) -> None:
    e = await endpoint()
    first = await e.client.chat.completions.create(model="auto", messages=HELLO, tools=[TOOL])
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "found"}
    for told in await both(e, messages=[*HELLO, message, result], tools=[TOOL]):
        assert told.choices[0].message.content == "echo: What is a quark?"


async def test_json_schemas_are_parsed_by_the_sdk(endpoint: Any) -> None:
    class Answer(pydantic.BaseModel):
        name: str

    e = await endpoint()
    e.upstreams["large"].behave("says", deltas=[{"content": '{"name":'}, {"content": '"quark"}'}])
    told = await e.client.chat.completions.parse(model="large", messages=HELLO, response_format=Answer)
    assert told.choices[0].message.parsed == Answer(name="quark")
    async with e.client.chat.completions.stream(
        model="large", messages=HELLO, response_format=Answer
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Answer(name="quark")
    assert e.upstreams["large"].bodies[-1]["response_format"]["type"] == "json_schema"


async def test_json_objects_logprobs_seed_stop_and_effort_reach_the_candidate_in_both(endpoint: Any) -> None:
    e = await endpoint()
    asked = {
        "response_format": {"type": "json_object"},
        "seed": 7,
        "stop": ["END"],
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 2,
        "extra_body": {"some_future_field": {"a": [1]}},
    }
    for told in await both(e, **asked):
        tokens = told.choices[0].logprobs.content
        assert "".join(token.token for token in tokens) == told.choices[0].message.content
    for sent in e.upstreams["large"].bodies:
        assert sent["some_future_field"] == {"a": [1]}
        assert all(sent[name] == value for name, value in asked.items() if name != "extra_body")


async def test_several_choices_come_and_are_asked_for_in_streams_too(endpoint: Any) -> None:
    e = await endpoint()
    whole = await e.client.chat.completions.create(model="auto", messages=HELLO, n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    await e.client.chat.completions.create(model="auto", messages=HELLO, n=3, stream=True)
    assert e.upstreams["large"].bodies[-1]["n"] == 3


async def test_thoughts_come_in_the_fields_that_servers_use(endpoint: Any) -> None:
    e = await endpoint()
    for name in ("reasoning_content", "reasoning"):
        deltas = [{name: "Let me "}, {name: "think."}, {"content": "Hi"}]
        e.upstreams["large"].behave("says", deltas=deltas)
        whole = await e.client.chat.completions.create(model="large", messages=HELLO)
        assert whole.choices[0].message.model_extra[name] == "Let me think."
        stream = await e.client.chat.completions.create(model="large", messages=HELLO, stream=True)
        told = [(c.choices[0].delta.model_extra or {}).get(name) or "" async for c in stream]
        assert "".join(told) == "Let me think."


async def test_usage_is_the_same_in_both(endpoint: Any) -> None:
    e = await endpoint()
    whole, streamed = await both(e, stream_options={"include_usage": True})
    assert whole.usage == streamed.usage
    assert whole.usage.completion_tokens == 5


def part(kind: str, **given: Any) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": "Well?"}, {"type": kind, kind: given}]}]


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [TOOL]},
        {"response_format": SCHEMA},
        {"messages": part("image_url", url=PIXEL)},
        {"messages": part("input_audio", data="AAAA", format="wav")},
        {"messages": part("file", filename="a.pdf", file_data="data:application/pdf;base64,AAAA")},
        {"messages": [{"role": "user", "content": "word " * 2000}]},
        {"messages": HELLO, "max_completion_tokens": 5000},
    ],
    ids=["tools", "json_schema", "image", "audio", "file", "long", "long answer"],
)
async def test_a_query_goes_only_to_candidates_that_are_known_to_be_able(endpoint: Any, asked: Any) -> None:
    """Neither to one that states that it cannot, nor to one that states nothing."""
    unable = Candidate(
        "unable", quality=0.9, tools=False, json_schema=False, modalities=frozenset({"text"}),
        context_tokens=1000,
    )  # fmt: skip
    silent = Candidate("silent", quality=0.8)
    able = Candidate(
        "able", quality=0.3, tools=True, json_schema=True, context_tokens=100_000,
        modalities=frozenset({"text", "image", "audio", "file"}),
    )  # fmt: skip
    e = await endpoint(candidates=[unable, silent, able])
    full = {"model": "auto", "messages": HELLO, **asked}
    assert (await e.client.chat.completions.create(**full)).model == "able"
    stream = await e.client.chat.completions.create(**full, stream=True)
    assert {chunk.model async for chunk in stream} == {"able"}
    assert e.upstreams["able"].bodies[0]["messages"] == full["messages"]
    lacking = await endpoint(candidates=[unable, silent])
    with pytest.raises(openai.APIStatusError) as caught:
        await lacking.client.chat.completions.create(**full)
    assert caught.value.status_code in {400, 422}
    assert set(caught.value.body["removed"]) == {"unable", "silent"}
    if not caught.value.body["removed"]["unable"].startswith("context_tokens"):
        assert caught.value.body["removed"]["silent"].endswith(" unknown")
        assert "state the unknown values of your candidates in the config: " in caught.value.body["message"]
    assert not any(upstream.bodies for upstream in lacking.upstreams.values())
