"""Self-consistency, merge, free text and programs over real HTTP, with upstreams that fail in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from herdwise.core.candidate import Candidate
from herdwise.core.money import Price
from herdwise.routing.cascade import Cascade
from herdwise.routing.merge import Merge
from herdwise.routing.self_consistency import SelfConsistency
from herdwise.routing.single import Single
from herdwise.routing.vote import Vote
from herdwise.transport.client import Timeouts

QUESTION = "Which colour is the sky at noon?\nA. green\nB. blue\nC. red"
HERD = tuple(
    Candidate(name, quality=quality, price=Price(1.0, 1.0))
    for name, quality in (("ann", 0.6), ("ben", 0.59), ("cid", 0.58), ("judge", 0.3))
)
POLICIES = {
    "merge": Merge("judge", k=2, enough=1.0),
    "self_consistency": SelfConsistency(samples=3),
    "vote": Vote(k=3, enough=0.999),
    "cascade": Cascade(threshold=0.7, order="utility"),
}
#: Where an upstream hangs.
SHORT = Timeouts(1, 0.5, 0.5, 1.0)
FAULTS = (
    *("hang_before_headers", "reset_before_headers", "reset_mid_stream", "server_error", "rate_limited"),
    *("truncated_json", "malformed_sse", "empty_answer", "end_mid_stream", "wrong_content_type"),
    *("error_event", "not_http", "no_choices"),
)


@pytest.fixture
def herd(endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``await herd(ann="text", **options)``: four upstreams, those named with an answer of their own."""

    async def start(**options: Any) -> Any:
        said = {c.name: options.pop(c.name, "The answer is (B).") for c in HERD}
        options.setdefault("policies", POLICIES)
        options.setdefault("timeouts", Timeouts(5, 30, 30, 60))
        up = await endpoint(candidates=HERD, **options)
        for name, text in said.items():
            up.upstreams[name].answer = text if callable(text) else lambda _body, text=text: text
        return up

    return start


def text_of(reply: Any, *, stream: bool) -> str:
    assert reply.status == 200, reply.raw
    content = reply.text if stream else reply.json["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def in_turn(*texts: str) -> Callable[[Any], str]:
    left = list(texts)
    return lambda _body: left.pop(0) if len(left) > 1 else left[0]


# -- merge


@pytest.mark.parametrize("stream", [False, True])
async def test_the_merger_reads_the_answers_and_its_own_is_returned(herd: Any, stream: bool) -> None:
    up = await herd(ann="The answer is (B).", ben="The answer is (C).", judge="It is blue, so (B).")
    reply = await up.chat(QUESTION, model="auto/merge", stream=stream)
    assert text_of(reply, stream=stream) == "It is blue, so (B)."
    system, user = up.upstreams["judge"].bodies[0]["messages"]
    assert "[Answer 1]\nThe answer is (B)." in system["content"]
    assert "[Answer 2]\nThe answer is (C)." in system["content"]
    assert user == {"role": "user", "content": QUESTION}
    decision = await up.decision(reply)
    assert [(a["candidate"], a["status"]) for a in decision["asks"]] == [
        ("ann", "answered"), ("ben", "answered"), ("judge", "answered"),
    ]  # fmt: skip
    assert decision["candidate"] == "judge"
    assert [a["continued"] for a in decision["asks"]] == [False, False, True], (
        "a grade of it is not judge's own"
    )
    assert decision["cost_usd"] == pytest.approx(sum(a["cost_usd"] for a in decision["asks"]))


async def test_the_merged_answer_streams_as_it_comes(herd: Any) -> None:
    up = await herd(keep_alive_s=0.05)
    up.upstreams["ann"].behave("slow", delay_s=0.25)
    up.upstreams["judge"].behave("ok", pause_s=0.1)
    up.upstreams["judge"].answer = lambda _body: "one two three four five six"
    body = {"model": "auto/merge", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    parts: list[bytes] = []
    async with up.session.post(f"{up.url}/v1/chat/completions", json=body) as reply:
        async for part in reply.content.iter_any():
            parts.append(part)
            if len(parts) > 3 and b"one" in b"".join(parts):
                assert up.upstreams["judge"].in_flight == 1, "it was held back until it was whole"
                break
    assert parts[0].startswith(b": consulting")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_fault_of_ballots_or_merger_sinks_a_request(herd: Any, fault: str, stream: bool) -> None:
    for name in ("ann", "judge"):
        up = await herd(judge="It is blue, so (B).", cid="The answer is (C).", timeouts={name: SHORT})
        up.upstreams[name].behave(fault)
        reply = await up.chat(QUESTION, model="auto/merge", stream=stream)
        assert "(B)" in text_of(reply, stream=stream), "another answered in its place"


@pytest.mark.parametrize("fault", ["reset_mid_stream", "hang_mid_stream", "error_event"])
async def test_a_merged_answer_that_breaks_off_is_ended_by_another(herd: Any, fault: str) -> None:
    up = await herd(judge="It is surely blue.", ben="The answer is (C).", timeouts={"judge": SHORT})
    up.upstreams["judge"].behave(fault, after=2)
    up.upstreams["ann"].answer = in_turn("The answer is (B).", "blue, of course.")
    reply = await up.chat(QUESTION, model="auto/merge", stream=True)
    assert reply.text.startswith("It is")
    assert reply.text.endswith("blue, of course.")
    assert reply.events[-1] == "[DONE]"
    last = up.upstreams["ann"].bodies[-1]["messages"]
    assert [m["role"] for m in last] == ["system", "user", "assistant", "user"]
    assert last[2]["content"].startswith("It is")


async def test_at_the_deadline_half_a_merged_answer_is_not_followed_by_another(herd: Any) -> None:
    up = await herd(ben="The answer is (C).")
    up.upstreams["judge"].behave("hang_mid_stream", after=2)
    reply = await up.chat(QUESTION, model="auto/merge", stream=True, herdwise={"max_seconds": 0.5})
    assert reply.status == 200
    assert "[DONE]" not in reply.events
    assert "error" in reply.events[-1]
    await up.upstreams["judge"].until(lambda: up.upstreams["judge"].disconnects == 1)
    # Nothing of it was with the client where it did not stream, so that a ballot's answer is returned.
    reply = await up.chat(QUESTION, model="auto/merge", herdwise={"max_seconds": 0.5})
    assert "(B)" in text_of(reply, stream=False)


async def test_merge_without_its_candidate_is_off(herd: Any) -> None:
    up = await herd(policies={"single": Single(), "merge": Merge()})
    listed = {m["id"] for m in (await up.send("GET", "/v1/models")).json["data"]}
    assert "auto/single" in listed
    assert "auto/merge" not in listed
    reply = await up.chat(QUESTION, model="auto/merge")
    assert (reply.status, reply.error["code"]) == (400, "policy_not_configured")
    assert not any(upstream.bodies for upstream in up.upstreams.values())


# -- self-consistency


async def test_the_commonest_sample_is_returned_and_all_are_paid_for(herd: Any) -> None:
    up = await herd(ann=in_turn("The answer is (A).", "The answer is (B).", "The answer is (B)."))
    reply = await up.chat(QUESTION, model="auto/self_consistency", seed=7, temperature=0)
    assert text_of(reply, stream=False) == "The answer is (B)."
    bodies = up.upstreams["ann"].bodies
    assert len(bodies) == 3
    assert all(body["temperature"] == 0.7 and "seed" not in body for body in bodies)
    decision = await up.decision(reply)
    assert [a["candidate"] for a in decision["asks"]] == ["ann"] * 3
    assert decision["cost_usd"] == pytest.approx(3 * decision["asks"][0]["cost_usd"])


async def test_samples_that_can_change_nothing_are_closed_at_the_upstream(herd: Any) -> None:
    up = await herd(policies={"self_consistency": SelfConsistency(samples=3)})
    up.upstreams["ann"].behave(["ok", "ok", "hang_before_headers"])
    reply = await up.chat(QUESTION, model="auto/self_consistency")
    assert reply.status == 200
    await up.upstreams["ann"].until(lambda: up.upstreams["ann"].disconnects == 1)
    statuses = [a["status"] for a in (await up.decision(reply))["asks"]]
    assert sorted(statuses) == ["answered", "answered", "cancelled"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_faulty_samples_leave_the_others_and_a_dead_candidate_the_next(herd: Any, fault: str) -> None:
    up = await herd(timeouts={"ann": SHORT})
    up.upstreams["ann"].behave([fault, fault, "ok"])
    assert "(B)" in text_of(await up.chat(QUESTION, model="auto/self_consistency"), stream=False)
    up.upstreams["ann"].behave(fault)
    reply = await up.chat(QUESTION, model="auto/self_consistency", stream=True)
    assert "(B)" in text_of(reply, stream=True)


def odd_answer(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, **message},
        "finish_reason": "stop",
    }
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{**choice, **more}],
    }


@pytest.mark.parametrize(
    "answer",
    [
        odd_answer({"tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": [2]}}}]}),
        odd_answer({"tool_calls": [{"index": "x", "function": {"name": 5}}, {"index": [], "function": {}}]}),
        odd_answer({"tool_calls": [{"function": {"name": "f", "arguments": "[" * 100_000}}]}),
        odd_answer({"content": "B"}, logprobs={"tokens": 5, "token_logprobs": 5}),
        odd_answer({"content": "```python\nx = " + "+".join("1" * 700) + "\n```"}),
    ],
)
@pytest.mark.parametrize("policy", ["vote", "cascade"])
async def test_oddly_formed_answers_are_read_as_far_as_they_go(herd: Any, answer: Any, policy: str) -> None:
    up = await herd()
    for upstream in up.upstreams.values():
        upstream.extra["/v1/chat/completions"] = answer
    reply = await up.chat("Write a function that adds.", model=f"auto/{policy}")
    assert reply.status == 200, reply.raw
    assert (await up.decision(reply))["status"] == "answered"


# -- budgets and leaving clients, every policy that consults


@pytest.mark.parametrize("policy", ["merge", "self_consistency", "vote", "cascade"])
async def test_limits_that_let_nobody_be_asked_are_the_requests_fault(herd: Any, policy: str) -> None:
    up = await herd()
    reply = await up.chat(QUESTION, model=f"auto/{policy}", herdwise={"max_total_usd": 1e-9})
    assert (reply.status, reply.error["code"]) == (422, "no_candidate")
    assert not any(upstream.requests for upstream in up.upstreams.values())


@pytest.mark.parametrize("policy", ["merge", "self_consistency", "vote", "cascade"])
async def test_budgets_are_never_exceeded_by_more_than_the_call_under_way(herd: Any, policy: str) -> None:
    up = await herd(ben="The answer is (C).", cid="The answer is (A).")
    reply = await up.chat(QUESTION, model=f"auto/{policy}", herdwise={"max_calls": 2})
    assert reply.status == 200
    assert len((await up.decision(reply))["asks"]) <= 2
    # A call is predicted at some 270 tokens at a USD per million; the answers take fewer.
    reply = await up.chat(QUESTION, model=f"auto/{policy}", herdwise={"max_total_usd": 0.0006})
    assert reply.status == 200
    decision = await up.decision(reply)
    assert decision["cost_usd"] <= 0.0006
    assert up.upstreams["ann"].in_flight == 0
    for upstream in up.upstreams.values():
        upstream.behave("hang_before_headers")
    before = asyncio.get_running_loop().time()
    reply = await up.chat(QUESTION, model=f"auto/{policy}", herdwise={"max_seconds": 0.2})
    assert reply.status in {502, 504}
    assert asyncio.get_running_loop().time() - before < 2.0
    for upstream in up.upstreams.values():
        await upstream.until(lambda u=upstream: u.in_flight == 0)


@pytest.mark.parametrize("policy", ["merge", "self_consistency"])
async def test_a_client_that_leaves_closes_every_call(herd: Any, policy: str) -> None:
    up = await herd()
    asked = ("ann", "ben") if policy == "merge" else ("ann",)
    for name in asked:
        up.upstreams[name].behave("hang_before_headers")
    asking = asyncio.create_task(up.chat(QUESTION, model=f"auto/{policy}", stream=True))
    for name in asked:
        await up.upstreams[name].until(lambda u=up.upstreams[name]: u.in_flight > 0)
    asking.cancel()
    for name in asked:
        await up.upstreams[name].until(lambda u=up.upstreams[name]: u.in_flight == 0)
        assert up.upstreams[name].disconnects > 0


# -- signals, free text, programs


async def test_an_answer_that_doubts_itself_is_not_enough(herd: Any) -> None:
    cascade = {"cascade": Cascade(threshold=0.55, order="utility")}
    up = await herd(policies=cascade, ann="The answer is (B). I'm 95% sure.")
    assert (await up.chat(QUESTION, model="auto/cascade")).headers["x-herdwise-attempts"] == "1"
    up.upstreams["ann"].answer = lambda _body: "The answer is (B). I'm only 20% sure."
    reply = await up.chat(QUESTION, model="auto/cascade", headers={"x-herdwise-explain": "1"})
    assert reply.headers["x-herdwise-attempts"] == "2"
    told = [attempt["evidence"] for attempt in reply.json["herdwise"]["attempts"]]
    assert told[0] < -0.3
    assert told[1] == 0.0


async def test_token_logprobs_of_the_answer_count_whole_and_streamed(herd: Any) -> None:
    up = await herd(policies={"cascade": Cascade(threshold=0.55, order="utility")})
    for logprob, attempts in ((-0.05, 1), (-2.5, 2)):
        up.upstreams["ann"].logprob = logprob
        for stream in (False, True):
            reply = await up.chat(QUESTION, model="auto/cascade", logprobs=True, stream=stream)
            decision = await up.decision(reply)
            assert len(decision["asks"]) == attempts


SCATTERING = (
    "Air scatters short waves of light far more than long ones, so that blue comes from everywhere above us"
    " while red passes through; the eye is weak in violet, and what it sees of the mixture is plain blue."
)
MIRROR = (
    "The oceans are blue and the sky mirrors them, which is why it looks grey over land on days with clouds,"
    " and why sailors of old could tell the depth of the water far ahead from the colour above the horizon."
)


async def test_of_free_texts_the_one_that_others_are_like_is_returned(herd: Any) -> None:
    up = await herd(
        policies={"vote": Vote(k=3, enough=0.999)},
        ann=MIRROR,
        ben=SCATTERING.replace("Air", "The air"),
        cid=SCATTERING,
    )
    for stream in (False, True):
        reply = await up.chat("Why is the sky blue?", model="auto/vote", stream=stream)
        assert "scatters" in text_of(reply, stream=stream)


async def test_a_free_text_is_trusted_as_its_candidate_is(herd: Any) -> None:
    up = await herd(policies={"cascade": Cascade(threshold=0.55, order="utility")}, ann=MIRROR)
    reply = await up.chat("Why is the sky blue?", model="auto/cascade")
    assert reply.headers["x-herdwise-attempts"] == "1"


ADD = "Write a Python function add(a, b).\nassert add(1, 2) == 3\nassert add(-1, 1) == 0"


def program(body: str) -> str:
    return f"Here it is:\n```python\ndef add(a, b):\n    return {body}\n```"


async def test_a_program_that_fails_the_given_tests_is_no_answer_where_tests_are_run(herd: Any) -> None:
    options: dict[str, Any] = {"ann": program("a - b"), "ben": program("b + a"), "cid": program("a + b")}
    explain = {"x-herdwise-explain": "1"}
    up = await herd(**options, run_code_tests=True)
    reply = await up.chat(ADD, model="auto/vote", headers=explain)
    assert reply.json["model"] == "ben"
    told = {a["candidate"]: a["missing"] for a in reply.json["herdwise"]["attempts"] if "missing" in a}
    assert told["ann"] == "fails_tests"
    assert told["ben"] is None


async def test_no_program_is_run_unless_the_endpoint_says_so(herd: Any, tmp_path: Any) -> None:
    marker = tmp_path / "ran"
    up = await herd(ann=program(f"open({str(marker)!r}, 'w')"))
    assert (await up.chat(ADD, model="auto/cascade")).status == 200
    assert not marker.exists()


async def test_fields_that_a_policy_does_not_touch_reach_the_merger(herd: Any) -> None:
    up = await herd(ben="The answer is (C).")
    await up.chat(QUESTION, model="auto/merge", temperature=0.2, user="someone")
    body = up.upstreams["judge"].bodies[0]
    assert (body["temperature"], body["user"]) == (0.2, "someone")
    assert json.loads(up.upstreams["judge"].requests[-1].raw) == body


async def test_the_ledger_keeps_what_the_tokens_told(herd: Any) -> None:
    up = await herd()
    up.upstreams["ann"].logprob = -0.25
    asked = await up.decision(await up.chat(QUESTION, model="auto/cascade", logprobs=True))
    told = asked["asks"][0]
    assert [told[f"{which}_logprob"] for which in ("mean", "min", "answer")] == [-0.25, -0.25, -0.25]
    without = await up.decision(await up.chat(QUESTION, model="auto/cascade"))
    assert without["asks"][0]["mean_logprob"] is None


async def test_an_answer_whose_reading_breaks_down_is_that_candidates_failure_alone(
    endpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from herdwise.serving import dispatch

    def breaks_down(ask: Any, query: Any) -> Any:
        if ask.candidate == "large":
            raise ZeroDivisionError
        return reading(ask, query)

    reading = dispatch.ask_value
    monkeypatch.setattr(dispatch, "ask_value", breaks_down)
    e = await endpoint(policies={"vote": Vote(k=2)})
    reply = await e.chat("What is 17 + 25?", herdwise={"policy": "vote"})
    assert (reply.status, reply.json["model"]) == (200, "small")
