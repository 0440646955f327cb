"""Everybody failed: those who may recover are asked once more, by the ranking, within bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
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

NEVER = BreakerSettings(failures=1000, max_open_s=0.0)
QUICK = RetrySettings(base_s=0.01, before_fallback="never")
ALONE = (Candidate("only", quality=0.5, price=Price(0.0, 0.0)),)
ADMIN = {"Authorization": "Bearer admin"}


async def names_of(e: Any, reply: Any) -> list[str]:
    return [ask["candidate"] for ask in (await e.decision(reply))["asks"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_two_candidates_that_take_turns_in_failing_answer_in_the_next_round(
    endpoint: Any, stream: bool
) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave(["server_error", "overloaded", "close_before_headers", "ok"])
    e.upstreams["small"].behave(["reset_before_headers", "truncated_json", "ok"])
    if stream:
        e.upstreams["small"].behave(["reset_before_headers", "malformed_sse", "ok"])
    reply = await e.chat(stream=stream)
    assert reply.status == 200, reply.raw
    assert sorted((await names_of(e, reply))[:4]) == ["large", "large", "small", "small"]
    assert (await names_of(e, reply))[4:] == ["large", "small"]
    told = (await e.send("GET", "/metrics")).raw.decode()
    assert 'herdwise_retry_rounds_total{policy="single"} 1' in told.splitlines()


@pytest.mark.parametrize("policy", [Cascade(), Vote(), Hedge(after_s=0.05), Cascade(most=2)])
async def test_every_policy_goes_round(endpoint: Any, policy: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK, policies={"p": policy})
    for upstream in e.upstreams.values():
        upstream.behave(["server_error", "server_error", "server_error", "ok"])
    reply = await e.chat()
    assert reply.status == 200, reply.raw


async def test_all_down_for_good_ends_in_a_bounded_number_of_asks_and_says_when_to_come_back(
    endpoint: Any,
) -> None:
    retry = RetrySettings(base_s=0.01, before_fallback="always", retries=1, rounds=3)
    e = await endpoint(breaker=NEVER, retry=retry)
    for upstream in e.upstreams.values():
        upstream.behave("server_error")
    reply = await e.chat()
    assert (reply.status, reply.error["code"]) == (502, "upstream_failed")
    assert int(reply.headers["retry-after"]) >= 1
    names = [attempt["candidate"] for attempt in reply.error["attempts"]]
    assert {name: names.count(name) for name in names} == {"large": 5, "small": 5}
    assert names[4:] == ["large", "small"] * 3
    for most in (2, 4, 7):
        attempts = (await e.chat(herdwise={"max_calls": most})).error["attempts"]
        assert len(attempts) == most


async def test_no_round_is_begun_that_the_request_has_no_time_for(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=QUICK, request_timeout_s=2.0)
    e.upstreams["only"].behave(["server_error", ("rate_limited", {"retry_after": 4}), "ok"])
    reply = await e.chat()
    assert (reply.status, reply.headers["x-herdwise-attempts"]) == (502, "2")
    assert reply.headers["retry-after"] == "4"


@pytest.mark.parametrize("behaviour", ["context_length_exceeded", "key_refused"])
async def test_who_refused_the_request_once_is_asked_in_no_round(endpoint: Any, behaviour: str) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave(["server_error", behaviour, "ok"])
    e.upstreams["small"].behave("server_error")
    reply = await e.chat()
    assert reply.status == 502
    names = await names_of(e, reply)
    assert (names.count("large"), names.count("small")) == (2, 4)
    for upstream in e.upstreams.values():
        upstream.behave("context_length_exceeded")
    reply = await e.chat()
    assert (reply.status, reply.headers["x-herdwise-attempts"]) == (400, "2")
    assert "retry-after" not in reply.headers


async def test_a_longer_retry_after_is_kept_and_its_candidate_comes_when_it_is_over(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=RetrySettings(base_s=0.01, before_fallback="never", rounds=1))
    e.upstreams["large"].behave([("rate_limited", {"retry_after": 0.4})] * 2 + ["ok"])
    e.upstreams["small"].behave("server_error")
    reply = await e.chat()
    decision = await e.decision(reply)
    assert reply.status == 200
    assert [ask["candidate"] for ask in decision["asks"]] == [
        "large",
        "small",
        "small",
        "large",
        "small",
        "large",
    ]
    _, before, last = [ask for ask in decision["asks"] if ask["candidate"] == "large"]
    assert last["started_s"] - (before["started_s"] + before["latency_s"]) >= 0.4


async def test_whose_breaker_is_closed_comes_first_in_a_round(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=3, open_s=60, probe_s=0), retry=QUICK)
    e.upstreams["large"].behave("server_error")
    assert (await e.chat(model="large")).status == 502
    e.upstreams["small"].behave(["server_error", "server_error", "ok"])
    reply = await e.chat()
    assert reply.status == 200, reply.raw
    names = await names_of(e, reply)
    assert names[0] == "small"
    assert (sorted(names[1:4]), names[4:]) == (["large", "large", "small"], ["small"])


async def test_a_stream_that_delivered_text_is_gone_on_with_in_a_round(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave(["reset_mid_stream", "server_error", "server_error", "ok"])
    e.upstreams["small"].behave("server_error")
    reply = await e.chat("one two three four", stream=True)
    assert reply.events[-1] == "[DONE]"
    last = e.upstreams["large"].bodies[-1]["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user"]
    assert reply.text.startswith(last[1]["content"])


async def test_a_policy_that_stops_at_a_broken_answer_goes_no_round(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK, policies={"single": Single(recovery="stop")})
    e.upstreams["large"].behave(["server_error", "server_error"])
    e.upstreams["small"].behave("reset_mid_stream")
    reply = await e.chat("one two three four", stream=True)
    assert "error" in reply.events[-1]
    assert await names_of(e, reply) == ["large", "small"]


async def test_a_candidate_that_was_named_is_asked_in_rounds_too(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK)
    e.upstreams["large"].behave(["server_error", "server_error", "server_error", "ok"])
    reply = await e.chat(model="large")
    assert await names_of(e, reply) == ["large"] * 4


async def test_a_key_is_charged_for_each_ask_of_all_rounds_once(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK, admin_key="admin")
    made = await e.send(
        "POST", "/admin/v1/keys", {"name": "k", "terms": {"budgets": [{"usd": 5, "period": "ever"}]}}, ADMIN
    )
    key = {"Authorization": f"Bearer {made.json['key']}"}
    e.upstreams["large"].behave(["truncated_json", "truncated_json", "truncated_json", "ok"])
    e.upstreams["small"].behave("truncated_json")
    reply = await e.chat(headers=key)
    assert reply.headers["x-herdwise-attempts"] == "7"
    found = await e.send("GET", f"/v1/decisions/{reply.headers['x-herdwise-decision-id']}", headers=key)
    kept = await e.send("GET", f"/admin/v1/keys/{made.json['key_id']}", headers=ADMIN)
    told = found.json
    assert told["charged_usd"] > 0
    assert kept.json["spending"][0]["spent_usd"] == pytest.approx(told["charged_usd"], abs=1e-12)
    # Six broken answers whose bills are lost count as predicted of each, the seventh as stated.
    predicted = [ask["predicted_cost_usd"] for ask in told["asks"][:6]]
    answered = told["asks"][6]["cost_usd"]
    if None not in predicted:
        assert told["charged_usd"] == pytest.approx(sum(predicted) + answered, abs=2e-9)


async def test_a_consultation_goes_round_as_long_as_its_key_has_money(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER, retry=QUICK, admin_key="admin", policies={"cascade": Cascade()})
    terms = {"budgets": [{"usd": 5, "period": "ever"}]}
    made = await e.send("POST", "/admin/v1/keys", {"name": "k", "terms": terms}, ADMIN)
    for upstream in e.upstreams.values():  # asked, and nobody says what it cost
        upstream.behave(["truncated_json", "truncated_json", "truncated_json", "ok"])
    reply = await e.chat(headers={"Authorization": f"Bearer {made.json['key']}"})
    assert (reply.status, reply.headers["x-herdwise-attempts"]) == (200, "7")


async def test_where_all_are_left_alone_the_one_that_is_due_soonest_is_asked_first_if_the_config_says_so(
    endpoint: Any,
) -> None:
    ranked = BreakerSettings(failures=1, open_s=60, probe_s=0)
    for breaker, first in ((ranked, "large"), (replace(ranked, all_open="soonest"), "small")):
        e = await endpoint(breaker=breaker)
        e.upstreams["large"].behave(["server_error", "ok"])
        e.upstreams["small"].behave([("rate_limited", {"retry_after": 5}), "ok"])
        assert (await e.chat()).status == 502
        reply = await e.chat()
        assert (reply.status, reply.headers["x-herdwise-candidate"]) == (200, first)


async def test_at_every_moment_one_of_two_is_well_and_every_request_is_answered(endpoint: Any) -> None:
    e = await endpoint(retry=RetrySettings(base_s=0.05), breaker=BreakerSettings(open_s=0.1, max_open_s=0.3))
    well = "large"

    async def turn() -> None:
        nonlocal well
        while True:
            other = "small" if well == "large" else "large"
            e.upstreams[other].behave("ok")
            await asyncio.sleep(0.05)
            e.upstreams[well].behave("server_error")
            well = other
            await asyncio.sleep(0.05)

    e.upstreams["small"].behave("server_error")
    turning = asyncio.create_task(turn())
    try:
        for _ in range(12):
            replies = await asyncio.gather(*(e.chat(f"Hello {i}", stream=i % 2 == 0) for i in range(8)))
            assert [reply.status for reply in replies] == [200] * 8
    finally:
        turning.cancel()


async def test_a_candidate_that_costs_nothing_goes_round_as_others_do(endpoint: Any) -> None:
    e = await endpoint(candidates=ALONE, breaker=NEVER, retry=QUICK)
    e.upstreams["only"].behave(["server_error", "server_error", "ok"])
    assert (await e.chat()).status == 200
