"""An upstream that dies in the midst of its answer, or is slow to begin: the client sees one good stream."""

from __future__ import annotations

import time
from typing import Any

import pytest

from herdwise.core.candidate import Candidate
from herdwise.core.completion import Chunk
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.hedge import Hedge
from herdwise.routing.single import Single
from herdwise.serving.joining import RESTART_NOTICE, Joint

TRIO = tuple(
    Candidate(name, quality=quality, price=Price(1.0, 1.0))
    for name, quality in (("a", 0.9), ("b", 0.8), ("c", 0.7))
)


def chunk(text: str, finish: str | None = None) -> Chunk:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return Chunk({"id": "x", "choices": [choice]}, text, finish)


def joined(before: str, *texts: str) -> str:
    joint = Joint(before)
    told = [piece for text in texts for piece in joint.fit(chunk(text))] + joint.rest()
    for piece in told:
        assert piece.body["choices"][0]["delta"]["content"] == piece.text
    return "".join(piece.text for piece in told)


@pytest.mark.parametrize(
    ("before", "texts", "after"),
    [
        ("One two three", [" four", " five"], " four five"),
        ("One two three", ["two three", " four"], " four"),
        ("One two three", ["One", " two", " three", " four"], " four"),
        ("One two three", ["One two three four"], " four"),
        ("One two three", ["three four"], "three four"),  # too little in common to be sure
        ("One two three", ["two", " thirds"], "two thirds"),
        ("One two three", ["One two three"], ""),
        ("", ["One"], RESTART_NOTICE + "One"),
    ],
)
def test_what_is_said_twice_is_dropped(before: str, texts: list[str], after: str) -> None:
    assert joined(before, *texts) == after


def test_chunks_that_say_nothing_new_still_end_the_stream() -> None:
    joint = Joint("One two three")
    assert joint.fit(chunk("One two")) == []
    told = joint.fit(chunk(" three", "stop"))
    assert [(piece.text, piece.finish_reason) for piece in told] == [("", "stop")]
    assert joint.dropped == len("One two three")


async def recovering(endpoint: Any, policy: Any, **options: Any) -> Any:
    return await endpoint(candidates=TRIO, policies={policy.name: policy}, **options)


@pytest.mark.parametrize("fault", ["reset_mid_stream", "error_event", "no_done"])
async def test_another_goes_on_where_one_broke_off(endpoint: Any, fault: str) -> None:
    e = await recovering(endpoint, Single())
    e.upstreams["a"].behave(fault, **({} if fault == "no_done" else {"after": 3}))
    e.upstreams["b"].answer = lambda body: "seven eight nine ten"
    reply = await e.chat("seven eight nine ten", stream=True)
    assert reply.text == "echo: seven eight nine ten"
    assert reply.events[-1] == "[DONE]"
    assert len({c["id"] for c in reply.events[:-1]}) == 1
    ends = [c["choices"][0]["finish_reason"] for c in reply.events[:-1] if c["choices"]]
    assert ends.count("stop") == 1
    asks = [(ask["status"], ask["continued"]) for ask in (await e.decision(reply))["asks"]]
    whole = [("answered", False)]  # without [DONE], but with a finish reason, an answer is whole
    assert asks == (whole if fault == "no_done" else [("failed", False), ("answered", True)])


async def test_the_third_goes_on_from_what_the_client_really_has(endpoint: Any) -> None:
    e = await recovering(endpoint, Single())
    e.upstreams["a"].behave("reset_mid_stream", after=3)  # echo: seven eight
    e.upstreams["b"].answer = lambda body: "seven eight nine ten eleven"
    e.upstreams["b"].behave("reset_mid_stream", after=3)  # seven eight nine
    e.upstreams["c"].answer = lambda body: " ten eleven"
    reply = await e.chat("seven eight nine ten eleven", stream=True)
    assert reply.text == "echo: seven eight nine ten eleven"
    assert e.upstreams["c"].bodies[0]["messages"][1]["content"] == "echo: seven eight nine"


async def test_a_restart_says_so_and_gives_the_whole_answer(endpoint: Any) -> None:
    e = await recovering(endpoint, Single(recovery="restart"))
    e.upstreams["a"].behave("reset_mid_stream", after=3)
    reply = await e.chat("one two three", stream=True)
    assert reply.text == "echo: one two" + RESTART_NOTICE + "echo: one two three"
    assert e.upstreams["b"].bodies[0]["messages"] == [{"role": "user", "content": "one two three"}]


async def test_where_recovery_is_off_the_stream_ends_with_an_error(endpoint: Any) -> None:
    e = await recovering(endpoint, Single(recovery="stop"))
    e.upstreams["a"].behave("reset_mid_stream", after=3)
    reply = await e.chat("one two three", stream=True)
    assert "error" in reply.events[-1]
    assert len(e.upstreams["b"].requests) == 0


def test_unknown_ways_to_recover_are_refused() -> None:
    with pytest.raises(ConfigError, match="recovery"):
        Single(recovery="pray")
    with pytest.raises(ConfigError, match="most"):
        Hedge(most=1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_candidate_gets_a_rival_and_is_closed(endpoint: Any, stream: bool) -> None:
    e = await recovering(endpoint, Hedge(after_s=0.05))
    e.upstreams["a"].behave("hang_before_headers")
    reply = await e.chat(stream=stream)
    assert (reply.status, reply.headers["x-herdwise-candidate"]) == (200, "b")
    assert len(e.upstreams["c"].requests) == 0
    await e.upstreams["a"].until(lambda: e.upstreams["a"].disconnects == 1)
    asks = (await e.decision(reply))["asks"]
    assert [ask["status"] for ask in asks] == ["cancelled", "answered"]


async def test_who_has_begun_gets_no_rival(endpoint: Any) -> None:
    e = await recovering(endpoint, Hedge(after_s=3.0))
    over = time.monotonic() + 3.5
    e.upstreams["a"].behave("ok", until=lambda: time.monotonic() > over, after=1)
    reply = await e.chat("one two", stream=True)
    assert (reply.headers["x-herdwise-candidate"], reply.text) == ("a", "echo: one two")
    assert len(e.upstreams["b"].requests) == 0


async def test_of_two_that_begin_together_one_is_heard(endpoint: Any) -> None:
    e = await recovering(endpoint, Hedge(after_s=0.0))
    for _ in range(10):
        reply = await e.chat("one two three four", stream=True)
        assert reply.text == "echo: one two three four"
        assert len({event["model"] for event in reply.events[:-1]}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_leads_to_the_next_under_hedging_too(endpoint: Any, stream: bool) -> None:
    e = await recovering(endpoint, Hedge(after_s=5))
    e.upstreams["a"].behave("server_error")
    e.upstreams["b"].behave("server_error")
    assert (await e.chat(stream=stream)).headers["x-herdwise-candidate"] == "c"


async def test_hedging_keeps_to_the_limit_of_calls(endpoint: Any) -> None:
    e = await recovering(endpoint, Hedge(after_s=0.05))
    e.upstreams["a"].behave("slow", delay_s=0.3)
    reply = await e.chat(herdwise={"max_calls": 1})
    assert (reply.headers["x-herdwise-candidate"], len(e.upstreams["b"].requests)) == ("a", 0)


async def test_hedging_keeps_to_the_limit_of_usd_as_both_are_paid(endpoint: Any) -> None:
    e = await recovering(endpoint, Hedge(after_s=0.05))
    e.upstreams["a"].behave("slow", delay_s=0.3)
    one_usd = float(e.service.ranker.estimate_one(Query("Hello")).cost_usd[1])
    for limit_usd, rivals in ((1.5 * one_usd, 0), (2.5 * one_usd, 1)):
        await e.chat(herdwise={"max_total_usd": limit_usd})
        assert len(e.upstreams["b"].requests) == rivals
