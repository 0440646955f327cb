"""Policies that look at answers, over real HTTP: the choices of replay, and no fault sinks a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Goals
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.evaluation.replay import Records, replay
from herdwise.routing.cascade import Cascade
from herdwise.routing.consult import Consult
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.hearing import read_value
from herdwise.routing.route_then_check import RouteThenCheck
from herdwise.routing.router import Router
from herdwise.routing.vote import Vote
from herdwise.serving.service import Service
from herdwise.transport.client import Timeouts

QUESTION = "Which colour is the sky at noon?\nA. green\nB. blue\nC. red"
TRIO = tuple(
    Candidate(name, quality=0.6 - i / 100, active_params_b=7.0 + i, price=Price(1.0, 1.0))
    for i, name in enumerate(("ann", "ben", "cid"))
)
#: Prompt and answer of a faulty upstream's reply, a word each: 11 and 4.
POLICIES = {
    "vote": Vote(k=3, enough=0.999),
    "cascade": Cascade(threshold=0.7, order="utility"),
    "check": RouteThenCheck(threshold=0.7),
    "consult": Consult(min_gain=0.0),
}


def saying(letter: str) -> Callable[[Any], str]:
    return lambda _body: f"The answer is ({letter})."


@pytest.fixture
def trio(endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``await trio("B", "B", "A", **options)``: three upstreams, each with its letter."""

    async def start(*letters: str, **options: Any) -> Any:
        options.setdefault("policies", {k: v for k, v in POLICIES.items() if k != "consult"})
        up = await endpoint(candidates=TRIO, **options)
        for upstream, letter in zip(up.upstreams.values(), letters, strict=True):
            upstream.answer = saying(letter) if len(letter) == 1 else lambda _body, text=letter: text
        return up

    return start


@pytest.fixture(scope="module")
def lettered() -> Router:
    """A router that learned fusion: ``ann`` and ``ben`` are often right, ``cid`` seldom."""
    rng = np.random.default_rng(3)
    n, m = 240, 3
    truth = rng.choice(list("ABC"), n)
    right = rng.random((n, m)) < np.array([0.75, 0.7, 0.4])
    wrong = rng.choice(list("ABC"), (n, m))
    answers = np.where(right, truth[:, None], wrong).astype(object)
    quality = (answers == truth[:, None]).astype(float)
    table = OutcomeTable(
        herd=Herd(replace(c, quality=None) for c in TRIO),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"Question {i} about {w}?" for i, w in enumerate(rng.choice(["sky", "sea", "sand"], n))],
        benchmarks=["b"] * n,
        splits=[None] * n,
        query_index=np.repeat(np.arange(n), m),
        candidate_index=np.tile(np.arange(m), n),
        sample=np.zeros(n * m, dtype=np.int64),
        values={"quality": quality.ravel()},
        answers=answers.ravel(),
        name="colours",
    )
    return Router.fit(table, predictor="ridge")


async def test_two_who_agree_outvote_the_third_whose_call_is_cancelled(trio: Any) -> None:
    up = await trio("B", "B", "A")
    up.upstreams["cid"].behave("hang_before_headers")
    reply = await up.chat(QUESTION, model="auto/vote", herdwise={"max_seconds": 60})
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"] == "The answer is (B)."
    assert reply.headers["x-herdwise-attempts"] == "3"
    # Really closed: the upstream saw its client go.
    await up.upstreams["cid"].until(lambda: up.upstreams["cid"].disconnects == 1)
    assert up.upstreams["cid"].in_flight == 0
    decision = await up.decision(reply)
    assert [ask["status"] for ask in decision["asks"]] == ["answered", "answered", "cancelled"]


async def test_usage_and_cost_are_summed_over_everybody_asked(trio: Any) -> None:
    up = await trio("A", "C", "C")
    reply = await up.chat(QUESTION, model="auto/vote")
    decision = await up.decision(reply)
    usage = reply.json["usage"]
    assert len(decision["asks"]) == 3
    assert usage["prompt_tokens"] == sum(ask["input_tokens"] for ask in decision["asks"])
    assert usage["completion_tokens"] == sum(ask["output_tokens"] for ask in decision["asks"])
    total = sum(ask["cost_usd"] for ask in decision["asks"])
    assert decision["cost_usd"] == pytest.approx(total)
    assert float(reply.headers["x-herdwise-cost-usd"]) == pytest.approx(total)


@pytest.mark.parametrize(
    "fault",
    [
        *("hang_before_headers", "reset_mid_stream", "server_error", "rate_limited", "truncated_json"),
        *("empty_answer", "end_mid_stream", "wrong_content_type", "error_event"),
    ],
)
@pytest.mark.parametrize("model", ["auto/vote", "auto/cascade", "auto/check"])
async def test_no_fault_sinks_a_request_while_one_can_answer(trio: Any, fault: str, model: str) -> None:
    up = await trio("B", "B", "B", timeouts=dict.fromkeys(("ann", "ben"), Timeouts(1, 0.3, 0.3, 2)))
    for name in ("ann", "ben"):
        up.upstreams[name].behave(fault)
    for stream in (False, True):
        reply = await up.chat(QUESTION, model=model, stream=stream)
        assert reply.status == 200, reply.raw
        assert "(B)" in (reply.text if stream else reply.json["choices"][0]["message"]["content"])


async def test_a_refusal_is_a_failure_that_is_known_and_the_next_is_asked(trio: Any) -> None:
    up = await trio("I'm sorry, but I can't help with that.", "Nobody can tell, really.", "B")
    reply = await up.chat(QUESTION, model="auto/cascade", headers={"x-herdwise-explain": "1"})
    assert reply.json["model"] == "cid"
    told = [(a["candidate"], a["missing"], a["value"]) for a in reply.json["herdwise"]["attempts"]]
    assert told == [("ann", "refused", None), ("ben", "unreadable", None), ("cid", None, "B")]


async def test_a_declining_text_is_returned_when_nobody_has_an_answer(trio: Any) -> None:
    up = await trio(*["I'm sorry, but I can't help with that."] * 3)
    reply = await up.chat(QUESTION, model="auto/vote")
    assert reply.status == 200
    assert "sorry" in reply.json["choices"][0]["message"]["content"]


async def test_a_json_answer_that_is_none_is_malformed(trio: Any) -> None:
    able = tuple(replace(c, json_schema=True) for c in TRIO)
    said = ("{not json", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}')
    up = await trio(*said, ranker=DeclaredRouter(Herd(able)))
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    reply = await up.chat(
        "Give a and b.", model="auto/vote", response_format=schema, headers={"x-herdwise-explain": "1"}
    )
    told = {a["candidate"]: (a["missing"], a["value"]) for a in reply.json["herdwise"]["attempts"]}
    assert told == {
        "ann": ("malformed", None),
        "ben": (None, '{"a":2,"b":1}'),
        "cid": (None, '{"a":2,"b":1}'),
    }


async def test_tool_calls_that_are_the_same_agree(trio: Any) -> None:
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    with_tools = tuple(replace(c, tools=True) for c in TRIO)
    up = await trio("B", "B", "B", ranker=DeclaredRouter(Herd(with_tools)))
    for stream in (False, True):
        reply = await up.chat(
            "Look it up.", model="auto/vote", tools=tools, stream=stream, headers={"x-herdwise-explain": "1"}
        )
        told = reply.events[-2]["herdwise"] if stream else reply.json["herdwise"]
        values = {attempt["value"] for attempt in told["attempts"] if attempt["status"] == "answered"}
        assert values == {'[["look_up",{"text":"Look it up."}]]'}


async def test_a_budget_of_calls_holds_and_the_best_answer_so_far_is_returned(trio: Any) -> None:
    up = await trio("A", "B", "C")
    reply = await up.chat(QUESTION, model="auto/vote", herdwise={"max_calls": 2})
    assert reply.status == 200
    assert len((await up.decision(reply))["asks"]) == 2


async def test_a_budget_of_usd_is_not_exceeded_by_more_than_the_call_under_way(trio: Any) -> None:
    # One USD per million tokens each way; a prompt of some 16 tokens, 256 expected of an answer of 4.
    up = await trio("A", "B", "C")
    reply = await up.chat(QUESTION, model="auto/check", herdwise={"max_total_usd": 0.00029})
    decision = await up.decision(reply)
    assert reply.status == 200
    assert decision["cost_usd"] <= 0.00029
    assert len(decision["asks"]) == 2, "a second call fits what is left, a third does not"


async def test_a_broken_call_under_a_budget_of_usd_leaves_the_answer_that_is_there(trio: Any) -> None:
    up = await trio("A", "B", "C", timeouts={"cid": Timeouts(1, 0.3, 0.3, 2)})
    up.upstreams["cid"].behave("hang_before_headers")
    reply = await up.chat(QUESTION, model="auto/vote", herdwise={"max_total_usd": 0.001})
    assert reply.status == 200
    assert reply.json["model"] == "ann"


async def test_at_the_deadline_the_best_answer_so_far_is_returned_and_the_rest_is_closed(trio: Any) -> None:
    up = await trio("B", "A", "A")
    for name in ("ben", "cid"):
        up.upstreams[name].behave("hang_before_headers")
    reply = await up.chat(QUESTION, model="auto/vote", herdwise={"max_seconds": 1.5})
    assert reply.status == 200
    assert reply.json["model"] == "ann"
    for name in ("ben", "cid"):
        await up.upstreams[name].until(lambda name=name: up.upstreams[name].disconnects == 1)


async def test_the_endpoints_own_limits_end_a_consultation_with_an_answer_too(trio: Any) -> None:
    up = await trio("B", "A", "A", request_timeout_s=1.5, max_attempts=2)
    up.upstreams["ben"].behave("hang_before_headers")
    reply = await up.chat(QUESTION, model="auto/vote")
    assert reply.status == 200
    assert reply.json["model"] == "ann"
    assert len((await up.decision(reply))["asks"]) == 2


async def test_comments_keep_a_stream_alive_and_the_winners_answer_follows_whole(trio: Any) -> None:
    up = await trio("B", "B", "A", keep_alive_s=0.05)
    for name in ("ann", "ben"):
        up.upstreams[name].behave("slow", delay_s=0.3)
    up.upstreams["cid"].behave("server_error")
    body = {"model": "auto/vote", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    reply = await up.send("POST", "/v1/chat/completions", body)
    events = [event for event in reply.raw.decode().split("\n\n") if event]
    first = next(place for place, event in enumerate(events) if event != ": consulting")
    assert first > 0, "nothing kept the stream alive"
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[first:-1]]
    said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert said == "The answer is (B)."
    # The official client skips comments.
    stream = await up.client.chat.completions.create(
        model="auto/vote", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "The answer is (B)."


async def test_an_answer_that_comes_soon_names_its_candidate_in_the_headers(trio: Any) -> None:
    up = await trio("B", "B", "A")
    reply = await up.chat(QUESTION, model="auto/vote", stream=True)
    assert reply.headers["x-herdwise-candidate"] in {"ann", "ben"}
    assert b"consulting" not in reply.raw


async def test_a_client_that_leaves_closes_every_call_of_the_consultation(trio: Any) -> None:
    up = await trio("B", "B", "B")
    for upstream in up.upstreams.values():
        upstream.behave("hang_before_headers")
    asking = asyncio.create_task(up.chat(QUESTION, model="auto/vote", stream=True))
    for upstream in up.upstreams.values():
        await upstream.until(lambda u=upstream: u.in_flight == 1)
    asking.cancel()
    for upstream in up.upstreams.values():
        await upstream.until(lambda u=upstream: u.disconnects == 1)


async def test_when_everybody_fails_each_reason_is_told(trio: Any) -> None:
    up = await trio("B", "B", "B")
    for upstream in up.upstreams.values():
        upstream.behave("server_error")
    reply = await up.chat(QUESTION, model="auto/cascade")
    assert reply.status == 502
    assert len(reply.error["attempts"]) == 3


async def test_consult_without_what_it_needs_is_refused_with_the_remedy(trio: Any) -> None:
    up = await trio("B", "B", "B", policies={"vote": POLICIES["vote"], "consult": POLICIES["consult"]})
    reply = await up.chat(QUESTION, model="auto/consult")
    assert (reply.status, reply.error["code"]) == (400, "no_fusion")
    assert "herdwise train" in reply.error["message"]
    listed = (await up.send("GET", "/v1/models")).json["data"]
    assert "auto/vote" in {model["id"] for model in listed}
    assert "auto/consult" not in {model["id"] for model in listed}


def test_a_default_policy_whose_needs_nobody_meets_is_refused_at_the_start() -> None:
    herd = Herd(TRIO)
    backends: dict[str, Any] = dict.fromkeys(herd.names)
    with pytest.raises(ConfigError, match="consult"):
        Service(DeclaredRouter(herd), backends, {"consult": Consult()}, default_policy="consult")


async def test_a_consultation_over_http_goes_as_its_replay(trio: Any, lettered: Router) -> None:
    policy = Consult(min_gain=0.0, until=1.0)
    up = await trio("B", "A", "B", policies={"consult": policy}, ranker=lettered)
    query = Query(QUESTION)
    situation = lettered.situation(query, Goals())
    opening = replace(situation, belief=lettered.belief(situation.query, situation.estimates))
    unknown = np.full((1, 3), np.nan)
    values = np.array([["B", "A", "B"]], dtype=object)
    expected = replay(policy, lambda _row: opening, Records(np.ones((1, 3), bool), values, unknown, unknown))
    reply = await up.chat(QUESTION, model="auto/consult", headers={"x-herdwise-explain": "1"})
    told = reply.json["herdwise"]
    assert lettered.herd.index(reply.json["model"]) == expected.answered[0]
    assert len(told["attempts"]) == expected.calls[0] == 3
    # Explain shows the course: what each said, who led after it, and what is believed at the end.
    assert [attempt["value"] for attempt in told["attempts"]].count("B") >= 1
    assert told["attempts"][-1]["leading"] == "B"
    assert told["posterior"]["B"] == pytest.approx(expected.confidence[0], abs=1e-6)
    assert 0 < sum(told["posterior"].values()) <= 1 + 1e-6


@pytest.mark.slow
async def test_recorded_candidates_over_http_give_the_replays_choices(
    endpoint: Callable[..., Awaitable[Any]],
) -> None:
    from herdwise.backends.recorded import Recorded
    from herdwise.evaluation.recorded import evidences
    from herdwise.storage.outcomes import read_outcomes, read_texts

    texts = read_texts("mmlu_pro")
    names = sorted({name for _, name in texts})
    table = read_outcomes("mmlu_pro").restrict(names)
    train = table.split("train")
    router = Router.fit(train.take(np.arange(0, train.n_queries, 4)), keep_texts=False)
    ids = {query_id for query_id, _ in texts}
    chosen = [i for i, query_id in enumerate(table.query_ids) if query_id in ids][::20]
    policy, goals = Consult(min_gain=0.0, until=0.6), Goals()
    up = await endpoint(
        candidates=tuple(router.herd),
        ranker=router,
        policies={"consult": policy},
        backends={name: Recorded(name) for name in router.herd.names},
        ledger=False,
    )
    written = [[texts.get((table.query_ids[i], name)) for name in router.herd.names] for i in chosen]
    there = np.array([[text is not None for text in row] for row in written])
    values = np.full(there.shape, None, dtype=object)
    for row, place in np.argwhere(there):
        query = Query(table.texts[chosen[row]])
        values[row, place] = read_value(query, written[row][place] or "", "stop")[0]
    unknown = np.full(values.shape, np.nan)
    openings = []
    for i in chosen:
        situation = router.situation(Query(table.texts[i]), goals)
        openings.append(replace(situation, belief=router.belief(situation.query, situation.estimates)))
    # The signals of the texts count live, and so in replay.
    evidence = evidences(table.take(np.array(chosen)), router, texts)
    records = Records(there, values, unknown, unknown, evidence)
    expected = replay(policy, openings.__getitem__, records)
    assert expected.calls.max() > 3
    for row, i in enumerate(chosen):
        reply = await up.chat(table.texts[i], model="auto/consult", headers={"x-herdwise-explain": "1"})
        asked = [router.herd.index(a["candidate"]) for a in reply.json["herdwise"]["attempts"]]
        assert router.herd.index(reply.json["model"]) == expected.answered[row]
        assert sorted(asked) == np.flatnonzero(expected.asks[row]).tolist()
