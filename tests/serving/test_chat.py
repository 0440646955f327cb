"""Chat completions through the official client: the conventions that clients rely on."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from herdwise.core.candidate import Candidate

HELLO: Any = [{"role": "user", "content": "What is a quark?"}]


async def test_auto_asks_the_best_candidate_and_names_it_in_model(endpoint: Any) -> None:
    e = await endpoint()
    answer = await e.client.chat.completions.create(model="auto", messages=HELLO)
    assert answer.model == "large"
    assert answer.choices[0].message.content == "echo: What is a quark?"
    assert answer.usage.completion_tokens == 5


async def test_the_synchronous_client_works_as_well(endpoint: Any) -> None:
    e = await endpoint()

    def talk() -> tuple[str, str, str]:
        with openai.OpenAI(base_url=f"{e.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
            whole = client.chat.completions.create(model="auto", messages=HELLO)
            stream = client.chat.completions.create(model="small", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return whole.model, whole.choices[0].message.content or "", "".join(pieces)

    said = await asyncio.to_thread(talk)
    assert said == ("large", "echo: What is a quark?", "echo: What is a quark?")


async def test_a_stream_comes_in_pieces_each_naming_the_candidate(endpoint: Any) -> None:
    e = await endpoint()
    stream = await e.client.chat.completions.create(model="auto", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert {chunk.model for chunk in chunks} == {"large"}
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "echo: What is a quark?"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_stream_ends_with_done_and_shows_usage_only_to_those_who_asked(endpoint: Any) -> None:
    e = await endpoint()
    plain = await e.chat(stream=True)
    asked = await e.chat(stream=True, stream_options={"include_usage": True})
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert plain.events[-1] == asked.events[-1] == "[DONE]"
    assert not any(event.get("usage") for event in plain.events[:-1])
    assert asked.events[-2]["choices"] == []
    assert asked.events[-2]["usage"]["completion_tokens"] == 2
    # Whatever the client wants to see, the ledger knows what it cost.
    assert (await e.decision(plain))["output_tokens"] == 2


async def test_a_policy_can_be_named_in_the_model(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(model="auto/single")
    assert reply.json["model"] == "large"
    assert reply.headers["x-herdwise-policy"] == "single"


async def test_a_candidates_own_name_bypasses_routing_but_not_the_ledger(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(model="small")
    assert reply.json["model"] == "small"
    assert reply.headers["x-herdwise-policy"] == "direct"
    decision = await e.decision(reply)
    assert (decision["candidate"], decision["policy"], decision["origin"]) == ("small", "direct", "none")
    assert e.upstreams["large"].bodies == []


async def test_a_candidate_named_by_the_client_is_not_replaced_when_it_fails(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["small"].behave("server_error")
    reply = await e.chat(model="small")
    assert reply.status == 502
    assert e.upstreams["large"].bodies == []


async def test_headers_tell_the_decision_on_every_answer(endpoint: Any) -> None:
    e = await endpoint()
    for stream in (False, True):
        reply = await e.chat(stream=stream)
        told = {k.lower(): v for k, v in reply.headers.items()}
        assert told["x-herdwise-candidate"] == "large"
        assert told["x-herdwise-policy"] == "single"
        assert told["x-herdwise-attempts"] == "1"
        assert float(told["x-herdwise-overhead-ms"]) >= 0
        assert len(told["x-herdwise-decision-id"]) == 27
        assert (
            told["x-herdwise-cost-usd"] == "unknown"
        ) is stream  # unknown when a stream's headers are sent


async def test_the_cost_is_what_the_stated_tokens_cost(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat("one two three")
    usage = reply.json["usage"]
    expected = (usage["prompt_tokens"] * 2.0 + usage["completion_tokens"] * 4.0) / 1e6
    assert float(reply.headers["x-herdwise-cost-usd"]) == pytest.approx(expected)
    assert (await e.decision(reply))["cost_usd"] == pytest.approx(expected)


async def test_an_unknown_price_gives_no_cost_header_and_a_null_in_the_ledger(endpoint: Any) -> None:
    e = await endpoint(candidates=[Candidate("unpriced", quality=0.5)])
    reply = await e.chat()
    assert reply.status == 200
    assert reply.headers["x-herdwise-cost-usd"] == "unknown"
    assert (await e.decision(reply))["cost_usd"] is None


async def test_the_explanation_comes_only_on_request(endpoint: Any) -> None:
    e = await endpoint()
    assert "herdwise" not in (await e.chat()).json
    told = (await e.chat(headers={"x-herdwise-explain": "1"}, herdwise={"max_params_b": 20})).json["herdwise"]
    assert told["candidate"] == "small"
    assert told["origin"] == "declared"
    assert told["removed"] == {"large": "params_b 70 > 20"}
    assert told["goals"] == {"max_params_b": 20}
    scores = {score["candidate"]: score for score in told["scores"]}
    assert scores["small"]["quality"] == 0.6
    assert scores["small"]["cost_usd"] > 0
    assert scores["large"]["utility"] is None
    assert scores["large"]["removed"] == "params_b 70 > 20"
    assert told["neighbours"] == []
    assert [a["candidate"] for a in told["attempts"]] == ["small"]


async def test_a_stream_carries_its_explanation_in_a_last_chunk(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.chat(stream=True, headers={"x-herdwise-explain": "1"})
    *_, last, done = reply.events
    assert done == "[DONE]"
    assert last["choices"] == []
    assert last["herdwise"]["cost_usd"] is not None
    assert last["id"] == reply.events[0]["id"]
    stream = await e.client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, extra_headers={"x-herdwise-explain": "1"}
    )
    assert [chunk async for chunk in stream][-1].model_extra["herdwise"]["policy"] == "single"


async def test_a_config_may_explain_by_default_and_a_request_may_decline(endpoint: Any) -> None:
    e = await endpoint(explain_by_default=True)
    assert (await e.chat()).json["herdwise"]["candidate"] == "large"
    assert "herdwise" not in (await e.chat(headers={"x-herdwise-explain": "0"})).json


async def test_models_lists_auto_the_policies_and_the_candidates(endpoint: Any) -> None:
    e = await endpoint()
    names = [model.id async for model in e.client.models.list()]
    assert names == ["auto", "auto/single", "large", "small"]
    assert (await e.client.models.retrieve("auto/single")).id == "auto/single"
    with pytest.raises(openai.NotFoundError):
        await e.client.models.retrieve("gpt-9")


async def test_goals_in_the_body_and_in_headers_change_the_pick(endpoint: Any) -> None:
    e = await endpoint()
    assert (await e.chat(herdwise={"max_active_params_b": 10})).json["model"] == "small"
    assert (await e.chat(headers={"x-herdwise-max-params-b": "10"})).json["model"] == "small"
    assert (await e.chat(herdwise={"cost_weight": 1000})).json["model"] == "small"
    assert (await e.chat(herdwise={"prefer": {"size": 1}})).json["model"] == "small"
    assert (await e.chat(headers={"x-herdwise-candidates": "small"})).json["model"] == "small"
    body_wins = await e.chat(headers={"x-herdwise-candidates": "small"}, herdwise={"candidates": ["large"]})
    assert body_wins.json["model"] == "large"


async def test_the_sdk_passes_the_herdwise_object_as_extra_body(endpoint: Any) -> None:
    e = await endpoint()
    answer = await e.client.chat.completions.create(
        model="auto", messages=HELLO, extra_body={"herdwise": {"candidates": ["small"]}}
    )
    assert answer.model == "small"


async def test_flags_in_the_prompt_count_only_where_the_config_allows_it(endpoint: Any) -> None:
    off, on = await endpoint(), await endpoint(flags_in_prompt=True)
    text = "What is a quark? [Flag: smallest model]"
    assert (await off.chat(text)).json["model"] == "large"
    assert off.upstreams["large"].bodies[0]["messages"][0]["content"] == text
    assert (await on.chat(text)).json["model"] == "small"
    assert on.upstreams["small"].bodies[0]["messages"][0]["content"] == "What is a quark?"


async def test_a_query_with_tools_goes_only_to_candidates_that_call_tools(endpoint: Any) -> None:
    mute = Candidate("mute", quality=0.9, tools=False)
    handy = Candidate("handy", quality=0.5, tools=True)
    e = await endpoint(candidates=[mute, handy])
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    answer = await e.client.chat.completions.create(model="auto", messages=HELLO, tools=tools)
    assert answer.model == "handy"
    assert answer.choices[0].message.tool_calls[0].function.name == "look_up"
    stream = await e.client.chat.completions.create(model="auto", messages=HELLO, tools=tools, stream=True)
    calls = [c.choices[0].delta.tool_calls for c in [chunk async for chunk in stream]]
    assert any(call and call[0].function.name == "look_up" for call in calls)


async def test_many_requests_at_once_each_get_their_own_answer(endpoint: Any) -> None:
    e = await endpoint()
    replies = await asyncio.gather(*(e.chat(f"number {i}", stream=bool(i % 2)) for i in range(60)))
    for i, reply in enumerate(replies):
        said = reply.text if i % 2 else reply.json["choices"][0]["message"]["content"]
        assert said == f"echo: number {i}"
    ids = {reply.headers["x-herdwise-decision-id"] for reply in replies}
    assert len(ids) == 60
