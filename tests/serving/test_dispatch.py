"""Dispatch carries out any policy's steps, and leaves nothing running behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar

import aiohttp

from herdwise.core.candidate import Candidate
from herdwise.core.money import Price
from herdwise.routing.base import Ask, Cancel, Finish, Policy, Situation, Step, Wait
from herdwise.transport.client import Timeouts

TRIO = tuple(Candidate(name, quality=0.9 - i / 10, price=Price(1.0, 1.0)) for i, name in enumerate("abc"))


class Scripted(Policy):
    """A policy from a function, for one test."""

    name: ClassVar[str] = "scripted"

    def __init__(self, decide: Callable[[Situation], Step]) -> None:
        self.decide = decide
        self.seen: list[Situation] = []

    def step(self, situation: Situation) -> Step:
        self.seen.append(situation)
        return self.decide(situation)


def longest_of_three(situation: Situation) -> Step:
    """Asks all at once, waits for all, returns the longest answer."""
    if not situation.answers and not situation.in_flight and not situation.failures:
        return Ask((0, 1, 2))
    if situation.in_flight:
        return Wait()
    best = max(situation.answers, key=lambda a: len(a.text))
    return Finish(best.ask, "the longest")


def first_of_three(situation: Situation) -> Step:
    """Asks all at once and cancels the slower."""
    if situation.answers:
        if situation.in_flight:
            return Cancel(tuple(f.ask for f in situation.in_flight))
        return Finish(situation.answers[0].ask, "the fastest")
    return Wait() if situation.in_flight else Ask((0, 1, 2))


def hedge(situation: Situation) -> Step:
    """Asks a second candidate when the first has said nothing for a while."""
    if situation.answers:
        return Finish(situation.answers[0].ask, "the first to answer")
    asked = len(situation.in_flight) + len(situation.failures)
    if asked == 0:
        return Ask((0,))
    if asked == 1 and situation.now_s < 0.05:
        return Wait(until_s=0.05)
    return Ask((1,)) if asked == 1 else Wait()


def recovery(situation: Situation) -> Step:
    """Has another candidate go on where one broke off."""
    if situation.answers:
        return Finish(situation.answers[-1].ask, "recovered" if situation.failures else "answered")
    if situation.in_flight:
        return Wait()
    if len(situation.failures) == 3:
        return Finish(None, "all three broke off")
    done = situation.failures[-1].delivered if situation.failures else ""
    return Ask((len(situation.failures),), deliver=True, continue_from=done or None)


async def serving(endpoint: Any, decide: Callable[[Situation], Step], **options: Any) -> Any:
    return await endpoint(candidates=TRIO, policies={"scripted": Scripted(decide)}, **options)


async def test_several_are_asked_in_parallel_and_all_of_them_are_paid_for(endpoint: Any) -> None:
    e = await serving(endpoint, longest_of_three)
    e.upstreams["b"].answer = lambda body: "by far the longest answer of all"
    for name in "abc":
        e.upstreams[name].behave("slow", delay_s=0.1)
    for stream in (False, True):
        reply = await e.chat(stream=stream, stream_options={"include_usage": True})
        assert reply.headers["x-herdwise-candidate"] == "b"
        assert reply.headers["x-herdwise-attempts"] == "3"
        body = reply.events[-2] if stream else reply.json
        # 1 + 2 tokens each from a and c, 1 + 7 from b: the client is told what the request used in all.
        assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 11, "total_tokens": 14}
        decision = await e.decision(reply)
        first, _, last = decision["asks"]
        assert last["started_s"] < first["started_s"] + first["latency_s"]
        assert decision["cost_usd"] == 14 / 1e6
        assert [ask["status"] for ask in decision["asks"]] == ["answered"] * 3
    assert reply.text == "by far the longest answer of all"
    assert {event["model"] for event in reply.events[:-1]} == {"b"}


async def test_cancelling_closes_the_upstream_calls(endpoint: Any) -> None:
    e = await serving(endpoint, first_of_three)
    e.upstreams["a"].behave("hang_before_headers")
    e.upstreams["c"].behave("hang_mid_stream")
    for count, stream in enumerate((False, True), 1):
        reply = await e.chat(stream=stream)
        assert reply.headers["x-herdwise-candidate"] == "b"
        for name in "ac":
            await e.upstreams[name].until(lambda n=name, c=count: e.upstreams[n].disconnects == c)
            assert e.upstreams[name].in_flight == 0
        decision = await e.decision(reply)
        assert [ask["status"] for ask in decision["asks"]] == ["cancelled", "answered", "cancelled"]
        assert decision["cost_usd"] is None  # what the cancelled ones cost, nobody said
        assert reply.headers["x-herdwise-cost-usd"] == "unknown"


async def test_what_is_cancelled_before_it_was_sent_costs_nothing(endpoint: Any) -> None:
    def thinks_better_of_it(situation: Situation) -> Step:
        if situation.answers:
            return Finish(0, "one was enough")
        if not situation.spent.calls:
            return Ask((0, 1))
        return Cancel((1,)) if len(situation.in_flight) == 2 else Wait()

    e = await serving(endpoint, thinks_better_of_it)
    reply = await e.chat()
    assert not e.upstreams["b"].requests
    assert float(reply.headers["x-herdwise-cost-usd"]) > 0
    assert (await e.decision(reply))["asks"][1]["cost_usd"] == 0


async def test_a_deadline_wakes_the_policy(endpoint: Any) -> None:
    e = await serving(endpoint, hedge)
    e.upstreams["a"].behave("hang_before_headers")
    reply = await e.chat()
    assert reply.json["model"] == "b"
    await e.upstreams["a"].until(lambda: e.upstreams["a"].disconnects == 1)


async def test_a_stream_that_broke_off_is_gone_on_with_where_the_policy_asks_for_it(endpoint: Any) -> None:
    e = await serving(endpoint, recovery)
    e.upstreams["a"].behave("reset_mid_stream", after=3)
    e.upstreams["b"].answer = lambda body: " three four"
    reply = await e.chat("one two three four", stream=True)
    assert reply.text == "echo: one two three four"
    assert reply.events[-1] == "[DONE]"
    chunks = reply.events[:-1]
    assert [c["model"] for c in chunks if c["choices"][0]["delta"].get("content")] == ["a"] * 3 + ["b"] * 2
    assert len({c["id"] for c in chunks}) == 1
    assert sum("role" in c["choices"][0]["delta"] for c in chunks) == 1
    assert [c["choices"][0]["finish_reason"] for c in chunks].count("stop") == 1
    told = e.upstreams["b"].bodies[0]["messages"]
    assert told[0] == {"role": "user", "content": "one two three four"}
    assert told[1] == {"role": "assistant", "content": "echo: one two"}
    assert told[2]["role"] == "user"
    decision = await e.decision(reply)
    assert (decision["status"], decision["candidate"]) == ("answered", "b")
    assert [ask["continued"] for ask in decision["asks"]] == [False, True]


async def test_text_delivered_by_several_is_handed_to_the_next_as_a_whole(endpoint: Any) -> None:
    e = await serving(endpoint, recovery)
    e.upstreams["a"].behave("reset_mid_stream", after=2)
    e.upstreams["b"].answer = lambda body: " two three four"
    e.upstreams["b"].behave("reset_mid_stream", after=2)
    e.upstreams["c"].answer = lambda body: " four"
    reply = await e.chat("one two three four", stream=True)
    assert reply.text == "echo: one two three four"
    assert e.upstreams["c"].bodies[0]["messages"][1]["content"] == "echo: one two three"


async def test_half_a_tool_call_is_never_gone_on_with(endpoint: Any) -> None:
    handy = [c.replace(tools=True) for c in TRIO]
    e = await endpoint(candidates=handy, policies={"scripted": Scripted(recovery)})
    e.upstreams["a"].behave("reset_mid_stream", after=1)
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    reply = await e.chat(stream=True, tools=tools)
    assert "error" in reply.events[-1]
    assert e.upstreams["b"].bodies == []


async def test_messages_and_sampling_of_a_step_replace_the_requests_own(endpoint: Any) -> None:
    def merge(situation: Situation) -> Step:
        if len(situation.answers) == 2:
            return Finish(1, "merged")
        if situation.in_flight:
            return Wait()
        if not situation.answers:
            return Ask((0,))
        said = ({"role": "user", "content": f"Improve: {situation.answers[0].text}"},)
        return Ask((1,), messages=said, sampling={"temperature": 0.1}, deliver=True)

    e = await serving(endpoint, merge)
    reply = await e.chat("Hi", temperature=0.9, seed=4)
    assert reply.json["choices"][0]["message"]["content"] == "echo: Improve: echo: Hi"
    got = e.upstreams["b"].bodies[0]
    assert got["messages"] == [{"role": "user", "content": "Improve: echo: Hi"}]
    assert (got["temperature"], got["seed"]) == (0.1, 4)
    assert e.upstreams["a"].bodies[0]["temperature"] == 0.9


async def test_a_policy_is_told_what_was_spent_and_who_failed(endpoint: Any) -> None:
    policy = Scripted(recovery)
    e = await endpoint(candidates=TRIO, policies={"scripted": policy})
    e.upstreams["a"].behave("rate_limited")
    await e.chat("Hi")
    last = policy.seen[-1]
    assert [(f.candidate, f.kind, f.delivered) for f in last.failures] == [(0, "rate_limited", "")]
    assert [(a.candidate, a.text) for a in last.answers] == [(1, "echo: Hi")]
    assert last.spent.calls == 2
    assert last.spent.usd == 3 / 1e6
    assert last.now_s > 0
    during = next(s for s in policy.seen if s.in_flight)
    assert not during.in_flight[0].delivering  # it has said nothing yet


async def test_a_propensity_is_kept(endpoint: Any) -> None:
    def explore(situation: Situation) -> Step:
        if situation.answers:
            return Finish(0, "explored")
        return Wait() if situation.in_flight else Ask((2,), deliver=True, propensity=0.25)

    e = await serving(endpoint, explore)
    assert (await e.decision(await e.chat()))["asks"][0]["propensity"] == 0.25


async def test_a_policy_that_cannot_be_carried_out_is_our_error_and_leaves_nothing_running(
    endpoint: Any,
) -> None:
    def waits_for_nothing(situation: Situation) -> Step:
        return Wait()

    def never_finishes(situation: Situation) -> Step:
        return Cancel(())

    def returns_nothing_there(situation: Situation) -> Step:
        return Wait() if situation.in_flight else Ask((0,)) if not situation.answers else Finish(7, "?")

    def raises(situation: Situation) -> Step:
        raise ZeroDivisionError

    for decide in (waits_for_nothing, never_finishes, returns_nothing_there, raises):
        e = await serving(endpoint, decide)
        reply = await e.chat()
        assert (reply.status, reply.error["code"]) == (500, "internal_error"), decide
        assert e.upstreams["a"].in_flight == 0
        assert (await e.decision(reply))["status"] == "failed"


async def test_a_policy_that_would_mix_two_answers_in_one_stream_is_our_error(endpoint: Any) -> None:
    def delivers_twice(situation: Situation) -> Step:
        if situation.in_flight and not situation.in_flight[0].delivering:
            return Wait(until_s=situation.now_s + 0.02)
        return Ask((0,), deliver=True)

    e = await serving(endpoint, delivers_twice)
    e.upstreams["a"].behave("hang_mid_stream")
    reply = await e.chat("one two three", stream=True)
    assert reply.events[-1]["error"]["code"] == "internal_error"
    await e.upstreams["a"].until(lambda: e.upstreams["a"].in_flight == 0)


async def test_a_client_that_goes_away_takes_its_upstream_calls_with_it(endpoint: Any) -> None:
    e = await serving(endpoint, longest_of_three)
    for name in "abc":
        e.upstreams[name].behave("hang_before_headers")
    task = asyncio.create_task(e.chat())
    for name in "abc":
        await e.upstreams[name].until(lambda n=name: e.upstreams[n].in_flight == 1)
    task.cancel()
    for name in "abc":
        await e.upstreams[name].until(lambda n=name: e.upstreams[n].in_flight == 0)
        assert e.upstreams[name].disconnects == 1


async def test_a_client_that_leaves_a_stream_closes_the_upstream_and_is_in_the_ledger(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("ok", pause_s=0.05)
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "word " * 100}]}
    async with aiohttp.ClientSession() as leaving:
        answer = await leaving.post(f"{e.url}/v1/chat/completions", data=json.dumps(body))
        await answer.content.readline()
        open_now = await e.send("GET", f"/v1/decisions/{answer.headers['x-herdwise-decision-id']}")
        assert open_now.json["status"] == "open"
        answer.close()
    await e.upstreams["large"].until(lambda: e.upstreams["large"].in_flight == 0)
    assert e.upstreams["large"].disconnects == 1
    found = open_now.json
    while found["status"] == "open":
        await asyncio.sleep(0.01)
        found = (await e.send("GET", f"/v1/decisions/{found['decision_id']}")).json
    assert found["status"] == "cancelled"
    assert found["asks"][0]["status"] == "cancelled"


async def test_nothing_is_left_running_after_chaos(endpoint: Any) -> None:
    e = await serving(endpoint, hedge, timeouts=Timeouts(first_byte_s=0.1, idle_s=0.1, total_s=0.2))
    await e.chat()
    await asyncio.sleep(0.05)
    before = len(asyncio.all_tasks())
    behaviours = ["ok", "hang_before_headers", "reset_mid_stream", "hang_mid_stream", "server_error", "slow"]
    for upstream in e.upstreams.values():
        upstream.behave([b for b in behaviours for _ in range(3)] + ["ok"])
    replies = await asyncio.gather(*(e.chat(stream=bool(i % 2)) for i in range(30)))
    assert {reply.status for reply in replies} <= {200, 502, 504, 500}
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > before + len(e.upstreams):  # noqa: ASYNC110 - keep-alive readers
            await asyncio.sleep(0.02)
    for upstream in e.upstreams.values():
        await upstream.until(lambda u=upstream: u.in_flight == 0)
