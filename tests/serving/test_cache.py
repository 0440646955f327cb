"""The exact cache: the same request is answered again at no cost, in every API, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herdwise.serving.cache_key import _directives
from herdwise.serving.cache_store import CacheSettings

EXACT = CacheSettings(kind="exact")
ADMIN = {"authorization": "Bearer admin-secret"}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def asked(e: Any) -> int:
    """Chat requests that reached any upstream."""
    return sum(len(up.bodies) for up in e.upstreams.values())


def status(reply: Any) -> str:
    told: str = reply.headers["x-herdwise-cache"]
    return told


async def lookups(e: Any) -> dict[str, float]:
    text = (await e.send("GET", "/metrics")).raw.decode()
    lines = [line for line in text.splitlines() if line.startswith("herdwise_cache_lookups_total{")]
    return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}


async def test_the_same_request_is_answered_again_without_asking_anybody(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    first, again = await e.chat("What is a quark?"), await e.chat("What is a quark?")
    assert asked(e) == 1
    assert (status(first), status(again)) == ("miss", "hit")
    assert again.raw == first.raw
    source = first.headers["x-herdwise-decision-id"]
    assert again.headers["x-herdwise-cached-from"] == source != again.headers["x-herdwise-decision-id"]
    assert (again.headers["x-herdwise-cost-usd"], again.headers["x-herdwise-attempts"]) == ("0", "0")
    assert again.headers["x-herdwise-candidate"] == "large"
    assert int(again.headers["age"]) < 60
    assert await lookups(e) == {"miss": 1, "hit": 1}


async def test_an_answer_from_the_cache_is_a_decision_of_its_own(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    first, again = await e.chat(), await e.chat()
    source, found = first.headers["x-herdwise-decision-id"], await e.decision(again)
    assert (found["origin"], found["cached_from"], found["status"]) == ("cache", source, "answered")
    assert source in found["reason"]
    assert (found["candidate"], found["attempts"], found["asks"]) == ("large", 0, [])
    assert (found["cost_usd"], found["input_tokens"], found["output_tokens"]) == (0, 0, 0)
    assert (await e.decision(first))["cached_from"] is None


async def test_without_a_cache_in_the_config_nothing_is_given_again(endpoint: Any) -> None:
    e = await endpoint()
    await e.chat()
    again = await e.chat()
    assert asked(e) == 2
    assert "x-herdwise-cache" not in again.headers


@pytest.mark.parametrize("first_streams", [True, False])
@pytest.mark.parametrize("include_usage", [True, False])
async def test_one_entry_serves_streams_and_whole_answers(
    endpoint: Any, first_streams: bool, include_usage: bool
) -> None:
    e = await endpoint(cache=EXACT)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    await e.chat("What is a quark?", stream=first_streams)
    whole = await e.chat("What is a quark?")
    stream = await e.chat("What is a quark?", stream=True, **options)
    assert asked(e) == 1
    assert (status(whole), status(stream)) == ("hit", "hit")
    answer = whole.json
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "large"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "echo: What is a quark?"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
    assert stream.headers["content-type"].startswith("text/event-stream")
    *chunks, done = stream.events
    assert done == "[DONE]"
    assert stream.text == "echo: What is a quark?"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {(chunk["id"], chunk["model"]) for chunk in chunks} == {(answer["id"], "large")}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    ends = [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]]
    assert ends == [*[None] * (len(ends) - 1), "stop"]
    assert [c["usage"] for c in chunks if c.get("usage")] == ([answer["usage"]] if include_usage else [])


async def test_every_api_streams_from_the_cache_for_its_official_client(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    claude = anthropic.AsyncAnthropic(base_url=e.url, api_key="any", max_retries=0)
    ask: Any = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello there"}]}
    told = []
    for _ in range(3):
        async with e.client.responses.stream(model="auto", input="Hello there") as stream:
            final = await stream.get_final_response()
        told.append((final.output_text, final.status, final.usage.output_tokens))
    assert told == [("echo: Hello there", "completed", 3)] * 3
    assert asked(e) == 1
    told = []
    for _ in range(3):
        async with claude.messages.stream(**ask) as stream:
            message = await stream.get_final_message()
        told.append((message.content[0].text, message.stop_reason, message.usage.output_tokens))
    assert told == [("echo: Hello there", "end_turn", 3)] * 3
    whole = await claude.messages.create(**ask)
    assert (whole.content[0].text, whole.stop_reason) == ("echo: Hello there", "end_turn")
    assert asked(e) == 2
    told = []
    for _ in range(3):
        pieces = await e.client.completions.create(model="auto", prompt="Well then", stream=True)
        told.append("".join([piece.choices[0].text async for piece in pieces if piece.choices]))
    assert told == ["echo: Well then"] * 3
    assert asked(e) == 3
    await claude.close()


async def test_chat_completions_and_responses_that_ask_the_same_share_an_answer(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    await e.chat("What is a quark?")
    answer = await e.client.responses.create(model="auto", input="What is a quark?")
    assert answer.output_text == "echo: What is a quark?"
    assert asked(e) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"seed": 1},
        {"max_tokens": 100},
        {"user": "somebody"},
        {"tools": [TOOL], "tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"model": "large"},
        {"model": "small"},
        {"herdwise": {"cost_weight": 1.0}},
        {"a_field_of_tomorrow": 1},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": "Hello "}]},
    ],
)
async def test_whatever_may_change_the_answer_makes_another_request(endpoint: Any, change: Any) -> None:
    e = await endpoint(cache=EXACT)
    await e.chat()
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], **change}
    other = await e.send("POST", "/v1/chat/completions", body)
    assert (other.status, status(other), asked(e)) == (200, "miss", 2)
    again = await e.send("POST", "/v1/chat/completions", dict(reversed(body.items())))
    assert (status(again), asked(e)) == ("hit", 2)


@pytest.mark.parametrize(
    ("behaviour", "more"),
    [
        ("server_error", {}),
        ("no_finish_reason", {}),
        (("says", {"reason": "content_filter"}), {}),
        ("ok", {"max_tokens": 1}),
        ("ok", {"tools": [TOOL]}),
        (("says", {"deltas": [{"content": "Hi"}, {"audio": {"id": "a"}}]}), {"stream": True}),
        ("no_finish_reason", {"stream": True}),
        ("ok", {"max_tokens": 1, "stream": True}),
        ("ok", {"tools": [TOOL], "stream": True}),
        ("reset_mid_stream", {"stream": True, "model": "large"}),
        ("reset_mid_stream", {"stream": True}),
    ],
)
async def test_what_is_no_whole_answer_is_not_kept(endpoint: Any, behaviour: Any, more: Any) -> None:
    e = await endpoint(cache=EXACT)
    for upstream in e.upstreams.values():
        upstream.behave([behaviour, "ok"])
    await e.chat(**more)
    before = asked(e)
    again = await e.chat(**more)
    assert status(again) == "miss"
    assert asked(e) > before


async def test_an_oddly_formed_answer_is_given_and_not_kept(
    endpoint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    e = await endpoint(cache=EXACT)
    odd: dict[str, Any] = {"deltas": [{"content": "Hi"}], "index": [], "logprobs": {"content": 5}}
    e.upstreams["large"].behave("says", **odd)
    for _ in range(2):
        reply = await e.chat(stream=True)
        assert (reply.status, status(reply), reply.events[-1]) == (200, "miss", "[DONE]")
    assert "an answer could not be kept" in caplog.text


async def test_within_a_tool_loop_nothing_is_looked_up_or_kept(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ]
    body = {"model": "auto", "messages": messages, "tools": [TOOL]}
    for n in (1, 2):
        reply = await e.send("POST", "/v1/chat/completions", body)
        assert (reply.status, status(reply), asked(e)) == (200, "off", n)


async def test_several_choices_and_logprobs_come_back_as_they_were(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    first = await e.chat(n=2, logprobs=True)
    again = await e.chat(n=2, logprobs=True)
    assert again.raw == first.raw
    streamed = await e.chat(n=2, logprobs=True, stream=True)
    choices = [choice for chunk in streamed.events[:-1] for choice in chunk["choices"]]
    for index, whole in enumerate(first.json["choices"]):
        own = [choice for choice in choices if choice["index"] == index]
        assert "".join(c["delta"].get("content") or "" for c in own) == whole["message"]["content"]
        assert [c["logprobs"] for c in own if c.get("logprobs")] == [whole["logprobs"]]
        assert own[-1]["finish_reason"] == "stop"
    assert asked(e) == 1


@pytest.mark.parametrize("way", ["header", "goal", "goal in a header"])
async def test_a_request_may_have_itself_asked_anew(endpoint: Any, way: str) -> None:
    e = await endpoint(cache=EXACT)
    e.upstreams["large"].answers = iter(["old", "new"])
    e.upstreams["large"].answer = lambda _body: next(e.upstreams["large"].answers)
    await e.chat()
    body: dict[str, Any] = {"herdwise": {"cache": "refresh"}} if way == "goal" else {}
    headers = {"header": {"cache-control": "no-cache"}, "goal in a header": {"x-herdwise-cache": "refresh"}}
    anew = await e.chat(headers=headers.get(way), **body)
    assert (status(anew), anew.json["choices"][0]["message"]["content"]) == ("refresh", "new")
    assert (await e.chat()).json["choices"][0]["message"]["content"] == "new"
    assert await lookups(e) == {"miss": 1, "bypass": 1, "hit": 1}


async def test_a_request_may_keep_its_answer_out(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    assert status(await e.chat("a", headers={"cache-control": "no-store"})) == "miss"
    assert status(await e.chat("a")) == "miss"
    assert status(await e.chat("a", headers={"cache-control": "no-store"})) == "hit"
    off = await e.chat("a", headers={"cache-control": "no-store, no-cache"})
    assert (status(off), asked(e)) == ("off", 3)
    refused = await e.chat(herdwise={"cache": "perhaps"})
    assert (refused.status, refused.error["param"]) == (400, "herdwise.cache")


async def test_a_request_may_refuse_old_answers(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    await e.chat()
    assert status(await e.chat(headers={"cache-control": "max-age=60"})) == "hit"
    assert status(await e.chat(headers={"cache-control": "max-age=0"})) == "refresh"


@pytest.mark.parametrize(
    "header", [b"max-age=\xb2", b"max-age=-1", b"max-age=" + b"9" * 400, b"=,;\xff,", b""]
)
def test_a_cache_control_that_makes_no_sense_limits_nothing(header: bytes) -> None:
    found = _directives(header)
    assert (found.read, found.store) == (True, True)
    assert found.max_age_s in {None, float("inf")}


async def test_clients_are_kept_apart_unless_answers_are_shared(endpoint: Any) -> None:
    one, two = {"authorization": "Bearer one"}, {"x-api-key": "two"}
    e = await endpoint(cache=EXACT, api_keys=("one", "two"))
    assert [status(await e.chat(headers=h)) for h in (one, two, one, two)] == ["miss", "miss", "hit", "hit"]


async def test_shared_answers_go_to_keys_of_the_same_terms_only(endpoint: Any) -> None:
    e = await endpoint(cache=CacheSettings(kind="exact", shared=True), admin_key="admin-secret")
    keys = []
    for terms in ({}, {}, {"candidates": ["large"]}):
        made = await e.send("POST", "/admin/v1/keys", {"name": "team", "terms": terms}, ADMIN)
        keys.append({"authorization": f"Bearer {made.json['key']}"})
    assert [status(await e.chat(headers=h)) for h in keys] == ["miss", "hit", "miss"]


async def test_what_a_key_may_no_longer_ask_the_cache_gives_it_no_more(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT, admin_key="admin-secret")
    made = (await e.send("POST", "/admin/v1/keys", {"name": "team"}, ADMIN)).json
    key = {"authorization": f"Bearer {made['key']}"}
    assert (await e.chat(headers=key)).headers["x-herdwise-candidate"] == "large"
    narrowed = {"terms": {"candidates": ["small"]}}
    assert (await e.send("PATCH", f"/admin/v1/keys/{made['key_id']}", narrowed, ADMIN)).status == 200
    again = await e.chat(headers=key)
    assert (status(again), again.headers["x-herdwise-candidate"]) == ("miss", "small")


async def test_hits_count_for_rate_limits_and_are_not_charged_to_budgets(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT, admin_key="admin-secret")
    terms = {"budgets": [{"usd": 1, "period": "ever"}], "requests_per_minute": 2}
    made = (await e.send("POST", "/admin/v1/keys", {"name": "team", "terms": terms}, ADMIN)).json
    key = {"authorization": f"Bearer {made['key']}"}

    async def spent() -> float:
        shown = await e.send("GET", f"/admin/v1/keys/{made['key_id']}", headers=ADMIN)
        total: float = shown.json["spending"][0]["spent_usd"]
        return total

    await e.chat(headers=key)
    once = await spent()
    assert once > 0
    # A new minute may begin in between.
    assert {(await e.chat(headers=key)).status for _ in range(5)} == {200, 429}
    assert await spent() == once
    assert asked(e) == 1


async def test_an_explanation_says_that_the_cache_answered(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    first = await e.chat()
    explained = {"x-herdwise-explain": "true"}
    told = (await e.chat(headers=explained)).json["herdwise"]
    source = first.headers["x-herdwise-decision-id"]
    assert told["cache"] == {"status": "hit", "decision_id": source, "age_s": told["cache"]["age_s"]}
    assert (told["origin"], told["candidate"], told["attempts"], told["cost_usd"]) == (
        "cache",
        "large",
        [],
        0,
    )
    streamed = await e.chat(headers=explained, stream=True)
    assert streamed.events[-2]["herdwise"]["cache"]["decision_id"] == source


async def test_the_admin_empties_the_cache(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT, api_keys=("one",), admin_key="admin-secret")
    key = {"authorization": "Bearer one"}
    await e.chat(headers=key)
    assert (await e.send("DELETE", "/admin/v1/cache", headers=key)).status == 401
    assert (await e.send("DELETE", "/admin/v1/cache", headers=ADMIN)).json["cleared"] is True
    assert status(await e.chat(headers=key)) == "miss"


async def test_only_what_is_not_left_to_chance_is_kept_where_the_config_says_so(endpoint: Any) -> None:
    e = await endpoint(cache=CacheSettings(kind="exact", only_deterministic=True))
    assert [status(await e.chat()) for _ in range(2)] == ["off", "off"]
    assert [status(await e.chat(temperature=0)) for _ in range(2)] == ["miss", "hit"]
    assert [status(await e.chat(seed=5)) for _ in range(2)] == ["miss", "hit"]


async def test_a_conversation_goes_on_with_whom_the_cache_named(endpoint: Any) -> None:
    e = await endpoint(cache=EXACT)
    await e.chat("Hello", herdwise={"candidates": ["small"]})
    hit = await e.chat("Hello", herdwise={"candidates": ["small"]}, headers={"x-herdwise-session": "s"})
    assert status(hit) == "hit"
    goals = {"switch_margin": 1.0}
    onward = await e.chat("And then?", headers={"x-herdwise-session": "s"}, herdwise=goals)
    assert onward.headers["x-herdwise-candidate"] == "small"


async def test_what_users_say_of_a_cached_answer_is_learned_of_the_one_it_repeats(
    endpoint: Any, tmp_path: Any
) -> None:
    from herdwise.serving.ledger_summary import summarise_ledger
    from herdwise.storage.outcomes import read_outcomes

    e = await endpoint(cache=EXACT)
    first, again = await e.chat(), await e.chat()
    for reply, score in ((first, 1.0), (again, 0.0)):
        told = {"decision_id": reply.headers["x-herdwise-decision-id"], "score": score}
        assert (await e.send("POST", "/v1/feedback", told)).status == 200
    shown = await asyncio.to_thread(summarise_ledger, e.service.ledger.url)
    assert (shown.decisions, shown.cached, shown.feedback) == ({"answered": 2}, 1, 2)
    done = e.service.ledger.export(tmp_path / "out")
    assert (done.queries, done.outcomes, done.graded) == (1, 1, 1)
    table = read_outcomes(tmp_path / "out")
    assert table.values["quality"].tolist() == [0.5]


def test_what_a_stream_came_to_is_what_was_sent_whole() -> None:
    from herdwise.serving.cache_answer import as_chunks, assembled

    message = {"role": "assistant", "reasoning_content": "Hm.", "content": "Yes", "annotations": [{"a": 1}]}
    told = {"finish_reason": "stop", "logprobs": None}
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [
            {**told, "index": 0, "message": message, "logprobs": {"content": [{"token": "Yes"}]}},
            {**told, "index": 1, "message": {"role": "assistant", "content": "No"}},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    chunks = [json.loads(json.dumps(chunk.body)) for chunk in as_chunks(whole)]
    assert assembled(chunks) == whole
    assert assembled([{"choices": [{"index": 0, "delta": {"novelty": {"of": "tomorrow"}}}]}]) is None


_PIECES = st.lists(st.text(max_size=5), max_size=6)


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(st.tuples(_PIECES, _PIECES), min_size=1, max_size=3), data=st.data())
def test_however_a_stream_is_cut_it_comes_to_the_same_answer(choices: Any, data: st.DataObject) -> None:
    from herdwise.serving.cache_answer import as_chunks, assembled

    pieces = [
        {"index": index, "delta": {name: piece}}
        for index, (thoughts, texts) in enumerate(choices)
        for name, parts in (("reasoning_content", thoughts), ("content", texts))
        for piece in parts
    ]
    ends = [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(len(choices))]
    # Choices may come interleaved; each one's own pieces keep their order.
    order = data.draw(st.permutations([piece["index"] for piece in pieces]))
    left = {index: iter([p for p in pieces if p["index"] == index]) for index in range(len(choices))}
    chunks = [{"id": "x", "choices": [next(left[index])]} for index in order]
    whole = assembled([*chunks, {"id": "x", "choices": ends}])
    assert whole is not None
    for choice, (thoughts, texts) in zip(whole["choices"], choices, strict=True):
        assert (choice["message"].get("reasoning_content") or "") == "".join(thoughts)
        assert (choice["message"]["content"] or "") == "".join(texts)
        assert choice["finish_reason"] == "stop"
    assert assembled([chunk.body for chunk in as_chunks(whole)]) == whole
