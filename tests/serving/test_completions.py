"""Legacy completions through the official client, in front of candidates that speak chat completions."""

from __future__ import annotations

from typing import Any

import pytest


async def test_the_prompt_is_asked_as_a_user_message_and_the_answer_is_plain_text(endpoint: Any) -> None:
    e = await endpoint()
    raw = await e.client.completions.with_raw_response.create(
        model="auto", prompt="What is a quark?", max_tokens=50, stop=["END"], seed=1, user="someone"
    )
    answer = raw.parse()
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "echo: What is a quark?"
    assert (answer.model, answer.choices[0].finish_reason) == ("large", "stop")
    assert answer.usage.completion_tokens == 5
    assert raw.headers["x-herdwise-candidate"] == "large"
    assert e.upstreams["large"].bodies[-1] == {
        "model": "up-large",
        "messages": [{"role": "user", "content": "What is a quark?"}],
        "max_tokens": 50,
        "stop": ["END"],
        "seed": 1,
        "user": "someone",
    }


async def test_a_stream_comes_in_pieces_and_shows_usage_to_those_who_asked(endpoint: Any) -> None:
    e = await endpoint()
    stream = await e.client.completions.create(
        model="auto", prompt=["What is a quark?"], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "echo: What is a quark?"
    assert len([c for c in chunks if c.choices and c.choices[0].text]) == 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 5
    assert len({chunk.id for chunk in chunks}) == 1
    plain = await e.send("POST", "/v1/completions", {"model": "auto", "prompt": "x", "stream": True})
    assert plain.events[-1] == "[DONE]"
    assert not any(event.get("usage") for event in plain.events[:-1])


async def test_several_choices_and_logprobs_keep_their_older_shape(endpoint: Any) -> None:
    e = await endpoint()
    answer = await e.client.completions.create(model="auto", prompt="one two", n=2, logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert e.upstreams["large"].bodies[-1]["top_logprobs"] == 1
    told = answer.choices[0].logprobs
    assert told.tokens == ["echo:", " one", " two"]
    assert told.text_offset == [0, 5, 9]
    stream = await e.client.completions.create(model="auto", prompt="one two", logprobs=0, stream=True)
    offsets = [c.choices[0].logprobs.text_offset async for c in stream if c.choices[0].logprobs]
    assert offsets == [[0], [5], [9]]


async def test_goals_and_the_explanation_are_as_for_chat(endpoint: Any) -> None:
    e = await endpoint()
    body = {"model": "auto", "prompt": "x", "herdwise": {"candidates": ["small"]}}
    explain = {"x-herdwise-explain": "1"}
    whole = await e.send("POST", "/v1/completions", body, explain)
    assert (whole.json["model"], whole.json["herdwise"]["candidate"]) == ("small", "small")
    streamed = await e.send("POST", "/v1/completions", {**body, "stream": True}, explain)
    assert streamed.events[-2]["herdwise"]["candidate"] == "small"
    assert streamed.events[-2]["id"] == streamed.events[0]["id"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 50}, "logprobs"),
    ],
)
async def test_what_chat_models_cannot_do_is_refused_by_name(endpoint: Any, body: Any, param: str) -> None:
    e = await endpoint()
    reply = await e.send("POST", "/v1/completions", {"model": "auto", "prompt": "x", **body})
    assert reply.status == 400
    assert reply.error["param"] == param


async def test_a_stream_that_breaks_off_ends_with_an_error_and_without_done(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["small"].behave("reset_mid_stream")
    reply = await e.send("POST", "/v1/completions", {"model": "small", "prompt": "x y z", "stream": True})
    assert reply.events[-1]["error"]["code"] == "upstream_failed"
