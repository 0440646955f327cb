"""OpenAI's Responses API through the official client, in front of candidates that speak chat completions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from herdwise.core.candidate import Candidate
from herdwise.transport.client import Timeouts

LOOK_UP: Any = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
    "strict": True,
}
IN_CHAT = {"type": "function", "function": {k: v for k, v in LOOK_UP.items() if k != "type"}}
BY_ID = {"type": "input_image", "file_id": "f"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


async def stream_of(e: Any, **body: Any) -> list[dict[str, Any]]:
    """The events of a streamed response, each checked to be named by its type and numbered in order."""
    full = {"model": "auto", "input": "What is a quark?", "stream": True, **body}
    reply = await e.send("POST", "/v1/responses", full)
    assert reply.status == 200
    told = []
    for block in reply.raw.decode().strip().split("\n\n"):
        named, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert named == f"event: {told[-1]['type']}"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    return told


async def test_auto_answers_as_a_response_that_names_the_candidate(endpoint: Any) -> None:
    e = await endpoint()
    raw = await e.client.responses.with_raw_response.create(model="auto", input="What is a quark?")
    answer = raw.parse()
    assert answer.output_text == "echo: What is a quark?"
    assert (answer.model, answer.status, answer.store) == ("large", "completed", False)
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (4, 5, 9)
    assert raw.headers["x-herdwise-candidate"] == "large"
    assert answer.id == f"resp_{raw.headers['x-herdwise-decision-id']}"
    message = {"role": "user", "content": "What is a quark?"}
    assert e.upstreams["large"].bodies[-1] == {"model": "up-large", "messages": [message]}


async def test_a_stream_tells_each_item_and_ends_with_the_same_response(endpoint: Any) -> None:
    e = await endpoint()
    async with e.client.responses.stream(model="auto", input="What is a quark?") as stream:
        pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(pieces) == final.output_text == "echo: What is a quark?"
    assert (final.model, final.usage.output_tokens) == ("large", 5)
    events = [event["type"] for event in await stream_of(e)]
    assert events[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert events[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_a_whole_conversation_with_tools_and_images_reaches_the_candidate(endpoint: Any) -> None:
    e = await endpoint()
    await e.client.responses.create(
        model="auto",
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": "In English."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Look."},
                    {"type": "input_image", "image_url": PIXEL, "detail": "low"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "I will.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "a", "name": "look_up", "arguments": '{"text":"1"}'},
            {"type": "function_call", "call_id": "b", "name": "look_up", "arguments": '{"text":"2"}'},
            {"type": "function_call_output", "call_id": "a", "output": "one"},
            {
                "type": "function_call_output", "call_id": "b",
                "output": [
                    {"type": "input_text", "text": "two"},
                    {"type": "input_image", "image_url": PIXEL},
                ],
            },
        ],
        tools=[LOOK_UP],
        tool_choice={"type": "function", "name": "look_up"},
        parallel_tool_calls=False,
        max_output_tokens=50,
        reasoning={"effort": "low"},
        text={
            "format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}},
            "verbosity": "low",
        },
        temperature=0.5,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        store=False,
        extra_body={"some_future_field": 1},
    )  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    calls = [
        {"id": i, "type": "function", "function": {"name": "look_up", "arguments": f'{{"text":"{n}"}}'}}
        for i, n in (("a", 1), ("b", 2))
    ]
    low = {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    assert e.upstreams["large"].bodies[-1] == {
        "model": "up-large",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "In English."},
            {"role": "user", "content": [{"type": "text", "text": "Look."}, low]},
            {"role": "assistant", "content": "I will.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "a", "content": "one"},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
            {"role": "user", "content": [image]},
        ],
        "tools": [IN_CHAT],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 50,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}},
        },
        "verbosity": "low",
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "some_future_field": 1,
    }


def call(index: int, name: str = "", arguments: str = "", call_id: str | None = None) -> dict[str, Any]:
    function = {"name": name} if name else {"arguments": arguments}
    named = {"id": call_id, "type": "function"} if call_id else {}
    return {"tool_calls": [{"index": index, **named, "function": function}]}


async def test_thoughts_text_and_interleaved_calls_become_items(endpoint: Any) -> None:
    e = await endpoint()
    deltas = [
        {"reasoning_content": "Let me "},
        {"reasoning_content": "think."},
        {"content": "I look "},
        {"content": "twice."},
        call(0, "look_up", call_id="a"),
        call(0, arguments='{"text":'),
        call(1, "look_up", call_id="b"),
        call(1, arguments='{"text":"two"}'),
        call(0, arguments='"one"}'),
    ]
    e.upstreams["large"].behave("says", deltas=deltas, reason="tool_calls")
    whole = await e.client.responses.create(model="large", input="x", tools=[LOOK_UP])
    async with e.client.responses.stream(model="large", input="x", tools=[LOOK_UP]) as stream:
        done = [event async for event in stream if event.type == "response.function_call_arguments.done"]
        streamed = await stream.get_final_response()
    assert {(event.name, event.arguments) for event in done} == {
        ("look_up", '{"text":"one"}'),
        ("look_up", '{"text":"two"}'),
    }
    for answer in (whole, streamed):
        thought, said, one, two = answer.output
        assert (thought.type, thought.content[0].text) == ("reasoning", "Let me think.")
        assert said.content[0].text == answer.output_text == "I look twice."
        assert (one.call_id, one.arguments) == ("a", '{"text":"one"}')
        assert (two.call_id, two.arguments) == ("b", '{"text":"two"}')
        assert {item.status for item in answer.output} == {"completed"}


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
async def test_an_answer_that_was_cut_is_incomplete_and_says_why(
    endpoint: Any, reason: str, told: str
) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("says", reason=reason)
    whole = await e.client.responses.create(model="auto", input="x")
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", told)
    last = (await stream_of(e))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": told}
    assert last["response"]["output"][0]["status"] == "incomplete"


async def test_refusals_and_logprobs_are_told(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("says", deltas=[{"refusal": "I "}, {"refusal": "won't."}])
    whole = await e.client.responses.create(model="auto", input="x")
    async with e.client.responses.stream(model="auto", input="x") as stream:
        streamed = await stream.get_final_response()
    for answer in (whole, streamed):
        assert answer.output[0].content[0].refusal == "I won't."
    e.upstreams["large"].behave("ok")
    spoken = await e.client.responses.create(model="auto", input="x", top_logprobs=1)
    assert [token.token for token in spoken.output[0].content[0].logprobs] == ["echo:", " x"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [BY_ID]}]}, "input[0].content[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"herdwise": {"nonsense": 1}}, "herdwise.nonsense"),
    ],
)  # fmt: skip
async def test_what_needs_a_memory_or_openais_servers_is_refused_by_name(
    endpoint: Any, body: Any, param: str
) -> None:
    e = await endpoint()
    reply = await e.send("POST", "/v1/responses", {"model": "auto", "input": "x", **body})
    assert reply.status == 400
    assert reply.error["param"] == param
    assert e.upstreams["large"].bodies == []


async def test_a_stream_that_breaks_off_ends_with_a_failed_response(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["small"].behave("reset_mid_stream")
    *_, error, failed = await stream_of(e, model="small")
    assert (error["type"], error["code"]) == ("error", "upstream_failed")
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "server_error"


async def test_a_stream_that_only_kept_the_line_open_before_it_failed_begins_like_any(endpoint: Any) -> None:
    e = await endpoint(
        hold_tool_calls=True, keep_alive_s=0.05, timeouts={"small": Timeouts(first_byte_s=1.0, total_s=1.0)}
    )
    e.upstreams["small"].behave("hang_before_headers")
    tool = {"type": "function", "name": "note", "parameters": {"type": "object"}}
    body = {"model": "small", "input": "x", "stream": True, "tools": [tool]}
    reply = await e.send("POST", "/v1/responses", body)
    assert reply.raw.startswith(b": consulting\n\n")
    kinds = [line[7:] for line in reply.raw.decode().splitlines() if line.startswith("event: ")]
    assert kinds == ["response.created", "response.in_progress", "error", "response.failed"]


async def test_an_answer_that_another_goes_on_with_is_one_message(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("reset_mid_stream")
    async with e.client.responses.stream(model="auto", input="What is a quark?") as stream:
        final = await stream.get_final_response()
    assert len(final.output) == 1
    assert final.status == "completed"


async def test_goals_headers_explanation_and_errors_are_as_for_chat(endpoint: Any) -> None:
    e = await endpoint()
    answer = await e.client.responses.create(
        model="auto",
        input="x",
        extra_body={"herdwise": {"candidates": ["small"]}},
        extra_headers={"x-herdwise-explain": "1"},
    )
    assert answer.model == "small"
    assert answer.model_extra["herdwise"]["candidate"] == "small"
    last = (await stream_of(e, herdwise={"candidates": ["small"]}))[-1]
    assert last["response"]["model"] == "small"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        await e.client.responses.create(model="gpt-9", input="x")


async def test_requirements_are_constraints_here_too(endpoint: Any) -> None:
    plain = Candidate("plain", quality=0.9, tools=False, modalities=frozenset({"text"}), context_tokens=1000)
    able = Candidate(
        "able", quality=0.5, tools=True, json_schema=True, modalities=frozenset({"text", "image", "audio"}),
        context_tokens=100_000,
    )  # fmt: skip
    e = await endpoint(candidates=[plain, able])

    async def who(said: Any = "Hi", **more: Any) -> str:
        return str((await e.client.responses.create(model="auto", input=said, **more)).model)

    def part(**given: Any) -> Any:
        return [{"role": "user", "content": [given]}]

    schema = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    assert await who() == "plain"
    assert await who(tools=[LOOK_UP]) == "able"
    assert await who(part(type="input_image", image_url=PIXEL)) == "able"
    assert await who(part(type="input_audio", input_audio={"data": "AAAA", "format": "wav"})) == "able"
    assert await who("word " * 2000) == "able"
    assert await who(text={"format": schema}) == "able"
