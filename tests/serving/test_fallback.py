"""Failures of upstreams: the next in the ranking answers; when nobody can, the error says why."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from herdwise.backends.recorded import Recorded, read_archive, sample_questions
from herdwise.core.candidate import Candidate
from herdwise.core.money import Price
from herdwise.routing.single import Single
from herdwise.serving.health import BreakerSettings
from herdwise.transport.client import Timeouts

HELLO: Any = [{"role": "user", "content": "Hello"}]
LONG: Any = [{"role": "user", "content": "one two three four"}]
NEVER = BreakerSettings(failures=1000, max_open_s=0.0)
TRIO = tuple(
    Candidate(name, quality=quality, price=Price(1.0, 1.0))
    for name, quality in (("third", 0.5), ("first", 0.9), ("second", 0.7))
)
EARLY = (
    "rate_limited",
    "server_error",
    "reset_before_headers",
    "close_before_headers",
    "truncated_json",
    "malformed_sse",
    "wrong_content_type",
    "empty_answer",
    "empty_body",
    "html_error",
    "redirect",
    "key_refused",
    "not_http",
)


@pytest.mark.parametrize("stream", [False, True])
async def test_whatever_goes_wrong_before_the_first_word_another_answers(endpoint: Any, stream: bool) -> None:
    e = await endpoint(breaker=NEVER)
    for behaviour in EARLY if stream else (*EARLY, "no_choices"):
        e.upstreams["large"].behave(behaviour)
        reply = await e.chat(stream=stream)
        assert reply.status == 200, behaviour
        assert reply.headers["x-herdwise-candidate"] == "small", behaviour
        assert reply.headers["x-herdwise-attempts"] == "2", behaviour
        said = reply.text if stream else reply.json["choices"][0]["message"]["content"]
        assert said == "echo: Hello", behaviour


async def test_fallback_follows_the_ranking(endpoint: Any) -> None:
    e = await endpoint(candidates=TRIO)
    e.upstreams["first"].behave("server_error")
    assert (await e.chat()).json["model"] == "second"
    e.upstreams["second"].behave("server_error")
    reply = await e.chat(headers={"x-herdwise-explain": "1"})
    assert [a["candidate"] for a in reply.json["herdwise"]["attempts"]] == ["first", "second", "third"]
    assert [a["status"] for a in reply.json["herdwise"]["attempts"]] == ["failed", "failed", "answered"]
    errors = [ask["error_kind"] for ask in (await e.decision(reply))["asks"]]
    assert errors == ["upstream_status", "upstream_status", None]


async def test_an_unreachable_candidate_is_passed_over(endpoint: Any, closed_port: int) -> None:
    e = await endpoint(reach={"large": f"http://127.0.0.1:{closed_port}/v1"})
    reply = await e.chat(stream=True)
    assert reply.headers["x-herdwise-candidate"] == "small"
    assert reply.text == "echo: Hello"


async def test_a_refused_ask_costs_nothing_but_one_that_broke_off_costs_who_knows(endpoint: Any) -> None:
    e = await endpoint(breaker=NEVER)
    e.upstreams["large"].behave("rate_limited")
    refused = await e.chat()
    assert float(refused.headers["x-herdwise-cost-usd"]) > 0
    e.upstreams["large"].behave("truncated_json")
    broken = await e.chat()
    assert broken.headers["x-herdwise-cost-usd"] == "unknown"
    decision = await e.decision(broken)
    assert decision["cost_usd"] is None
    assert decision["asks"][0]["cost_usd"] is None
    assert decision["asks"][1]["cost_usd"] > 0


async def test_a_candidate_that_never_connected_cost_nothing(endpoint: Any, closed_port: int) -> None:
    e = await endpoint(reach={"large": f"http://127.0.0.1:{closed_port}/v1"})
    reply = await e.chat()
    assert float(reply.headers["x-herdwise-cost-usd"]) > 0


async def test_when_all_fail_the_error_gives_each_attempts_reason(endpoint: Any, closed_port: int) -> None:
    e = await endpoint(reach={"large": f"http://127.0.0.1:{closed_port}/v1"})
    e.upstreams["small"].behave("server_error", status=503)
    for stream in (False, True):
        reply = await e.chat(stream=stream)
        assert (reply.status, reply.error["code"]) == (502, "upstream_failed")
        attempts = [(a["candidate"], a["kind"], a["status"]) for a in reply.error["attempts"]]
        assert attempts == [("large", "connect_error", None), ("small", "upstream_status", 503)]
        assert "'large' cannot be reached" in reply.error["message"]
        assert (reply.headers["x-herdwise-attempts"], reply.headers["x-herdwise-cost-usd"]) == ("2", "0")
        decision = await e.decision(reply)
        assert (decision["status"], decision["candidate"]) == ("failed", None)


async def test_rate_limits_everywhere_are_passed_on_with_the_shortest_wait(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("rate_limited", retry_after=30)
    e.upstreams["small"].behave("rate_limited", retry_after=7)
    reply = await e.chat()
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")
    with pytest.raises(openai.RateLimitError):
        await e.client.chat.completions.create(model="auto", messages=HELLO)


async def test_timeouts_everywhere_are_504(endpoint: Any) -> None:
    e = await endpoint(timeouts=Timeouts(first_byte_s=0.1, total_s=0.1))
    for upstream in e.upstreams.values():
        upstream.behave("hang_before_headers")
    for stream in (False, True):
        reply = await e.chat(stream=stream)
        assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
        assert [a["kind"] for a in reply.error["attempts"]] == ["timeout", "timeout"]


async def test_the_requests_own_time_ends_it_and_the_call(endpoint: Any) -> None:
    e = await endpoint()
    for upstream in e.upstreams.values():
        upstream.behave("hang_before_headers")
    reply = await e.chat(herdwise={"max_seconds": 0.2})
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert "0.2 s" in reply.error["message"]
    assert [a["candidate"] for a in reply.error["attempts"]] == ["large"]
    await e.upstreams["large"].until(lambda: e.upstreams["large"].in_flight == 0)
    assert e.upstreams["large"].disconnects == 1


async def test_a_request_that_every_upstream_calls_faulty_keeps_that_status(endpoint: Any) -> None:
    e = await endpoint()
    for upstream in e.upstreams.values():
        upstream.behave("context_length_exceeded")
    reply = await e.chat()
    assert (reply.status, reply.error["code"]) == (400, "upstream_refused")
    assert "maximum context length" in reply.error["message"]


async def test_an_upstream_that_repeats_its_key_does_not_betray_it(endpoint: Any) -> None:
    e = await endpoint(candidates=[Candidate("only", quality=0.5)])
    e.upstreams["only"].behave("key_refused")
    reply = await e.chat()
    assert reply.status == 502
    assert "Check its api_key" not in reply.error["message"] or "sk-" not in reply.raw.decode()


async def test_no_more_asks_are_made_than_the_goals_allow(endpoint: Any) -> None:
    e = await endpoint(candidates=TRIO)
    for upstream in e.upstreams.values():
        upstream.behave("server_error")
    reply = await e.chat(herdwise={"max_calls": 2})
    assert reply.status == 502
    assert len(reply.error["attempts"]) == 2
    capped = await endpoint(candidates=TRIO, max_attempts=1)
    capped.upstreams["first"].behave("server_error")
    assert (await capped.chat()).headers["x-herdwise-attempts"] == "1"


async def test_no_more_is_asked_once_the_money_is_spent_or_nobody_knows(endpoint: Any) -> None:
    unpriced = Candidate("unpriced", quality=0.95)
    e = await endpoint(candidates=(*TRIO, unpriced))
    e.upstreams["unpriced"].behave("truncated_json")  # what it cost, nobody can tell
    reply = await e.chat(herdwise={"max_total_usd": 1})
    assert reply.status == 502
    assert "unknown of 1 USD is spent" in reply.error["message"]
    e.upstreams["unpriced"].behave("rate_limited")  # which costs nothing
    assert (await e.chat(herdwise={"max_total_usd": 1})).json["model"] == "first"


async def test_a_lost_bill_counts_as_what_an_answer_would_have_cost(endpoint: Any) -> None:
    e = await endpoint(candidates=TRIO)
    e.upstreams["first"].behave("truncated_json")  # its price is known, what it said is not
    assert (await e.chat(herdwise={"max_total_usd": 1})).json["model"] == "second"
    reply = await e.chat(herdwise={"max_total_usd": 0.0002})  # less than is predicted of it
    assert reply.status == 502
    assert "of 0.0002 USD is spent" in reply.error["message"]


async def test_a_question_without_a_record_is_refused_and_not_invented(endpoint: Any) -> None:
    names = read_archive().candidates[:2]
    herd = [Candidate(name, quality=0.5) for name in names]
    e = await endpoint(candidates=herd, backends={name: Recorded(name) for name in names})
    reply = await e.chat("What did nobody ever ask?")
    assert (reply.status, reply.error["code"]) == (404, "no_record")
    assert [a["candidate"] for a in reply.error["attempts"]] == list(names)
    known = await e.chat(sample_questions(1)[0])
    assert known.status == 200
    assert known.json["model"] == names[0]


@pytest.mark.parametrize(
    "behaviour", ["reset_mid_stream", "close_mid_stream", "end_mid_stream", "error_event", "hang_mid_stream"]
)
async def test_a_stream_that_breaks_off_ends_in_an_error_and_not_in_done(
    endpoint: Any, behaviour: str
) -> None:
    stop = {"single": Single(recovery="stop")}
    e = await endpoint(timeouts=Timeouts(idle_s=0.2), policies=stop, breaker=NEVER)
    e.upstreams["large"].behave(behaviour, after=3)
    reply = await e.chat("one two three four", stream=True)
    assert reply.status == 200
    assert reply.events[-1]["error"]["code"] in {"upstream_failed", "upstream_timeout"}
    assert "[DONE]" not in reply.events
    with pytest.raises(openai.APIError):
        async for _ in await e.client.chat.completions.create(model="auto", messages=LONG, stream=True):
            pass
    decision = await e.decision(reply)
    assert decision["status"] == "failed"
    assert decision["asks"][0]["status"] == "failed"


async def test_an_answer_that_was_whole_when_the_connection_broke_is_an_answer(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("no_done")
    reply = await e.chat(stream=True)
    assert reply.text == "echo: Hello"
    assert reply.events[-1] == "[DONE]"


async def test_a_backend_with_a_bug_is_a_failure_like_any_other(
    endpoint: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Recorded):
        async def complete(self, body: Any) -> Any:
            raise KeyError("oops")

    e = await endpoint(backends={"large": Buggy("large")})
    reply = await e.chat()
    assert reply.json["model"] == "small"
    assert (await e.decision(reply))["asks"][0]["error_kind"] == "backend_error"
    assert "KeyError" in caplog.text


async def test_readiness_is_lost_when_nobody_can_be_reached_and_comes_back(
    endpoint: Any, faulty_upstream: Any, closed_port: int
) -> None:
    one = Candidate("one", quality=0.5)
    e = await endpoint(candidates=[one], reach={"one": f"http://127.0.0.1:{closed_port}/v1"})
    assert (await e.send("GET", "/readyz")).status == 200  # nothing is known against it yet
    assert (await e.chat()).status == 502
    lost = await e.send("GET", "/readyz")
    assert (lost.status, lost.json["unreachable"]) == (503, ["one"])
    assert (await e.send("GET", "/healthz")).status == 200
    await faulty_upstream(models=("up-one",), port=closed_port)
    assert (await e.send("GET", "/readyz")).status == 200
    assert (await e.chat()).status == 200
