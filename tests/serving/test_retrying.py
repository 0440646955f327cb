"""The same candidate is asked again where that is worth it: counted, shown, never after a delivered word."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from herdwise.core.candidate import Candidate
from herdwise.core.money import Price
from herdwise.routing.cascade import Cascade
from herdwise.routing.hedge import Hedge
from herdwise.routing.single import Single
from herdwise.routing.vote import Vote
from herdwise.serving.health import BreakerSettings
from herdwise.serving.retrying import RetrySettings
from herdwise.transport.client import Timeouts

NEVER = BreakerSettings(failures=1000, max_open_s=0.0)
QUICK = RetrySettings(base_s=0.01)
ALONE = (Candidate("only", quality=0.5, price=Price(1.0, 1.0)),)


async def asks_of(e: Any, reply: Any) -> list[tuple[str, str]]:
    decision = await e.decision(reply)
    assert decision["attempts"] == len(decision["asks"])
    return [(ask["candidate"], ask["error_kind"] or ask["status"]) for ask in decision["asks"]]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("behaviour", ["reset_before_headers", "close_before_headers"])
async def test_a_lost_connection_is_tried_again_before_another_candidate_is(
    endpoint: Any, behaviour: str, stream: bool
) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave([behaviour, "ok"])
    reply = await e.chat(stream=stream)
    assert (reply.status, reply.headers["x-herdwise-candidate"]) == (200, "large")
    assert reply.headers["x-herdwise-attempts"] == "2"
    assert await asks_of(e, reply) == [("large", "connect_error"), ("large", "answered")]
    assert not e.upstreams["small"].bodies


@pytest.mark.parametrize("behaviour", ["server_error", "rate_limited", "truncated_json"])
async def test_what_else_may_pass_leads_to_another_candidate_at_once(endpoint: Any, behaviour: str) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave([behaviour, "ok"])
    reply = await e.chat()
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "small"]


async def test_always_tries_everything_again_before_another_candidate_is_asked(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=RetrySettings(before_fallback="always", retries=2, base_s=0.01))
    e.upstreams["large"].behave("server_error")
    reply = await e.chat()
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "large", "large", "small"]


async def test_never_tries_nothing_again_before_another_candidate_is_asked(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=RetrySettings(before_fallback="never", base_s=0.01))
    e.upstreams["large"].behave(["reset_before_headers", "ok"])
    assert [name for name, _ in await asks_of(e, await e.chat())] == ["large", "small"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "behaviour",
    ["server_error", "overloaded", "html_error", "truncated_json", ("rate_limited", {"retry_after": 0.01})],
)
async def test_with_nobody_left_whatever_may_pass_is_tried_again(
    endpoint: Any, behaviour: Any, stream: bool
) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=QUICK)
    e.upstreams["only"].behave([behaviour, "ok"])
    for model in ("auto", "only"):
        e.upstreams["only"].behave([behaviour, "ok"])
        reply = await e.chat(model=model, stream=stream)
        assert reply.status == 200, model
        assert [end for _, end in await asks_of(e, reply)][1:] == ["answered"], model


@pytest.mark.parametrize(
    "policy", [Single(), Hedge(after_s=0.05), Cascade(), Vote(), Cascade(order="utility", most=2)]
)
async def test_to_a_policy_an_ask_that_is_tried_again_is_still_under_way(endpoint: Any, policy: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=RetrySettings(retries=2, base_s=0.01), policies={"p": policy})
    for upstream in e.upstreams.values():
        upstream.behave(["reset_before_headers", "server_error", "reset_before_headers", "ok"])
    for stream in (False, True):
        for upstream in e.upstreams.values():
            upstream.behave(["reset_before_headers", "server_error", "ok"])
        reply = await e.chat(stream=stream)
        assert reply.status == 200, reply.raw
        assert int(reply.headers["x-herdwise-attempts"]) >= 1


async def test_when_all_fail_the_one_that_is_due_first_is_tried_again(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=RetrySettings(base_s=0.02))
    e.upstreams["large"].behave([("rate_limited", {"retry_after": 5}), "ok"])
    e.upstreams["small"].behave(["server_error", "ok"])
    reply = await e.chat()
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "small", "small"]


async def test_retry_after_is_waited_for_in_whole(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=QUICK)
    e.upstreams["only"].behave([("rate_limited", {"retry_after": 0.3}), "ok"])
    decision = await e.decision(await e.chat())
    first, second = decision["asks"]
    assert second["started_s"] - (first["started_s"] + first["latency_s"]) >= 0.3


async def test_who_asks_for_a_longer_wait_than_allowed_is_not_asked_again_and_the_client_is_told(
    endpoint: Any,
) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=RetrySettings(max_wait_s=2))
    e.upstreams["only"].behave("rate_limited", retry_after=30)
    reply = await e.chat()
    assert (reply.status, reply.headers["retry-after"], reply.headers["x-herdwise-attempts"]) == (
        429,
        "30",
        "1",
    )


async def test_no_retry_is_begun_that_the_request_has_no_time_for(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, request_timeout_s=2.0)
    e.upstreams["only"].behave("rate_limited", retry_after=4)
    reply = await e.chat()
    assert (reply.status, reply.headers["x-herdwise-attempts"]) == (429, "1")


@pytest.mark.parametrize("behaviour", ["key_refused", "context_length_exceeded", "empty_answer"])
async def test_what_will_not_pass_is_not_tried_again(endpoint: Any, behaviour: str) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=RetrySettings(retries=3, base_s=0.01))
    e.upstreams["only"].behave(behaviour)
    reply = await e.chat()
    assert reply.status >= 400
    assert reply.headers["x-herdwise-attempts"] == "1"


async def test_what_the_client_has_is_never_said_again_but_gone_on_with(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=RetrySettings(retries=3, base_s=0.01))
    e.upstreams["only"].behave(["reset_mid_stream", "ok"])
    reply = await e.chat("one two three four", stream=True)
    assert reply.events[-1] == "[DONE]"
    _, second = e.upstreams["only"].bodies
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user"]
    assert reply.text.startswith(second["messages"][1]["content"])
    assert len({event["id"] for event in reply.events[:-1]}) == 1
    e.upstreams["only"].behave(["reset_mid_stream", "ok"])
    named = await e.chat("one two three four", model="only", stream=True)
    assert "error" in named.events[-1]  # who asks for one candidate gets its words alone, in one piece


async def test_the_error_lists_every_try_and_limits_on_calls_count_them(endpoint: Any) -> None:
    retry = RetrySettings(retries=5, rounds=0, base_s=0.01)
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=retry)
    e.upstreams["only"].behave("server_error")
    reply = await e.chat()
    assert (reply.status, len(reply.error["attempts"])) == (502, 6)
    assert len((await e.chat(herdwise={"max_calls": 2})).error["attempts"]) == 2


async def test_a_candidate_that_is_left_alone_is_not_tried_again_before_others(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=1, open_s=60), retry=QUICK)
    e.upstreams["large"].behave("reset_before_headers")
    reply = await e.chat()
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "small"]


async def test_a_client_that_goes_away_during_the_wait_ends_it(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=RetrySettings(base_s=30, max_wait_s=30))
    e.upstreams["only"].behave("server_error")
    asking = asyncio.create_task(e.chat())
    await e.upstreams["only"].until(lambda: len(e.upstreams["only"].bodies) == 1)
    asking.cancel()
    deadline = time.monotonic() + 10
    while await gauge(e, "herdwise_open_requests"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def gauge(e: Any, name: str) -> float:
    text = (await e.send("GET", "/metrics")).raw.decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


async def test_held_tool_calls_survive_the_death_of_their_candidate(endpoint: Any) -> None:
    tool = {"type": "function", "function": {"name": "note", "parameters": {"type": "object"}}}
    held = await endpoint(breaker=NEVER, hold_tool_calls=True)
    held.upstreams["large"].behave("reset_mid_stream")
    reply = await held.chat(stream=True, tools=[tool])
    calls = [c for e in reply.events[:-1] for c in e["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"text": "Hello"}'
    assert len({e["id"] for e in reply.events[:-1]}) == 1
    assert reply.events[-1] == "[DONE]"
    as_it_comes = await endpoint(breaker=NEVER)
    as_it_comes.upstreams["large"].behave("reset_mid_stream")
    assert "error" in (await as_it_comes.chat(stream=True, tools=[tool])).events[-1]


async def test_while_a_tool_call_is_held_the_client_hears_comments(endpoint: Any) -> None:
    tool = {"type": "function", "function": {"name": "note", "parameters": {"type": "object"}}}
    e = await endpoint(hold_tool_calls=True, keep_alive_s=0.05)
    e.upstreams["large"].behave("slow", delay_s=0.3)
    reply = await e.chat(stream=True, tools=[tool])
    assert reply.raw.count(b": ") >= 1
    assert reply.raw.startswith(b": consulting\n\n")


async def test_a_cancelled_trial_leaves_room_for_another(endpoint: Any) -> None:
    e = await endpoint(
        candidates=ALONE, breaker=BreakerSettings(failures=1, open_s=0.01, max_open_s=60, probe_s=0)
    )
    upstream = e.upstreams["only"]
    upstream.behave(["server_error", "hang_before_headers", "ok"])
    assert (await e.chat()).status == 502
    await asyncio.sleep(0.05)
    trial = asyncio.create_task(e.chat())
    await upstream.until(lambda: len(upstream.bodies) == 2)
    trial.cancel()
    await upstream.until(lambda: upstream.in_flight == 0)
    assert (await e.send("GET", "/readyz")).json["left_alone"] == ["only"]
    assert (await e.chat()).status == 200
    assert (await e.send("GET", "/readyz")).json["left_alone"] == []


async def test_a_missing_finish_reason_is_made_good_for_the_client(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("no_finish_reason")
    assert (await e.chat()).json["choices"][0]["finish_reason"] == "stop"
    events = (await e.chat(stream=True)).events
    assert events[-1] == "[DONE]"
    assert [event["choices"][0]["finish_reason"] for event in events[-3:-1]] == [None, "stop"]
    raw = await e.send("POST", "/v1/completions", {"model": "auto", "prompt": "Hello", "stream": True})
    assert raw.events[-2]["choices"][0]["finish_reason"] == "stop"


async def test_no_address_of_an_upstream_is_told_to_clients(endpoint: Any, closed_port: int) -> None:
    e = await endpoint(candidates=ALONE, reach={"only": f"http://127.0.0.1:{closed_port}/v1"})
    reply = await e.chat()
    assert (reply.status, reply.error["attempts"][0]["kind"]) == (502, "connect_error")
    assert str(closed_port).encode() not in reply.raw
    assert b"127.0.0.1" not in reply.raw


async def test_with_nobody_left_who_timed_out_is_tried_again_after_who_failed_quickly(endpoint: Any) -> None:
    timeouts = {"large": Timeouts(first_byte_s=1.0, total_s=1.0)}
    e = await endpoint(
        breaker=NEVER, retry=RetrySettings(base_s=0.01, before_fallback="always"), timeouts=timeouts
    )
    e.upstreams["large"].behave(["hang_before_headers", "ok"])
    e.upstreams["small"].behave(["server_error", "server_error", "error_event"])
    reply = await e.chat()
    assert await asks_of(e, reply) == [
        ("large", "timeout"),
        ("small", "upstream_status"),
        ("small", "upstream_status"),
        ("large", "answered"),
    ]


@pytest.mark.parametrize("recovery", ["continue", "restart"])
async def test_who_is_tried_again_after_others_delivered_goes_on_from_their_words(
    endpoint: Any, recovery: str
) -> None:
    retry = RetrySettings(base_s=0.01, before_fallback="never")
    e = await endpoint(breaker=NEVER, retry=retry, policies={"single": Single(recovery=recovery)})
    e.upstreams["large"].behave(["server_error", "ok"])
    e.upstreams["small"].behave("reset_mid_stream")
    reply = await e.chat("one two three four", stream=True)
    assert reply.events[-1] == "[DONE]"
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "small", "large"]
    last = e.upstreams["large"].bodies[-1]["messages"]
    assert [m["role"] for m in last] == (
        ["user", "assistant", "user"] if recovery == "continue" else ["user"]
    )
    assert ("begins anew" in reply.text) == (recovery == "restart")


async def test_a_policy_that_stops_at_a_broken_answer_is_not_made_to_go_on(endpoint: Any) -> None:
    e = await endpoint(
        breaker=NEVER, retry=RetrySettings(base_s=0.01), policies={"single": Single(recovery="stop")}
    )
    e.upstreams["large"].behave("server_error")
    e.upstreams["small"].behave("reset_mid_stream")
    reply = await e.chat("one two three four", stream=True)
    assert "error" in reply.events[-1]
    assert [name for name, _ in await asks_of(e, reply)] == ["large", "small"]
