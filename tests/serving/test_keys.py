"""Virtual keys: made by an admin, kept as digests, with budgets exact to the ledger and limits that hold."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from herdwise.core.candidate import Candidate
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.serving.keyring import Budget
from herdwise.serving.meter import period_end, period_start

ADMIN = {"authorization": "Bearer admin-secret"}
DEAR = Candidate("dear", quality=0.9, price=Price(10, 10), latency_s=1.0)
CHEAP = Candidate("cheap", quality=0.5, price=Price(1, 1), latency_s=1.0)
#: What the cheap really takes for one word: 1 token in, 2 out ("echo: Hello"), at 1 USD per million.
ONE_CHEAP = 3e-6


async def keyed(endpoint: Any, **options: Any) -> Any:
    return await endpoint(candidates=(DEAR, CHEAP), admin_key="admin-secret", **options)


async def make(e: Any, **terms: Any) -> tuple[str, dict[str, str]]:
    made = await e.send("POST", "/admin/v1/keys", {"name": "team", "terms": terms}, ADMIN)
    assert made.status == 200, made.raw
    return made.json["key_id"], {"authorization": f"Bearer {made.json['key']}"}


def predicted(e: Any, candidate: str) -> float:
    """What one word is predicted to cost: an answer of the assumed length."""
    estimates = e.service.ranker.estimate_one(Query("Hello"))
    cost: float = estimates.cost_usd[e.service.ranker.herd.index(candidate)]
    return cost


async def spent(e: Any, key_id: str) -> float:
    shown = await e.send("GET", f"/admin/v1/keys/{key_id}", headers=ADMIN)
    total: float = shown.json["spending"][0]["spent_usd"]
    return total


def charged(e: Any, key_id: str) -> float:
    with sqlite3.connect(e.ledger_path) as connection:
        query = "select sum(charged_usd) from decisions where key_id = ?"
        total: float = connection.execute(query, (key_id,)).fetchone()[0] or 0.0
    connection.close()
    return total


async def until_written(e: Any, n_decisions: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with sqlite3.connect(e.ledger_path) as connection:
                found = connection.execute("select count(*) from decisions").fetchone()[0]
            connection.close()
            if found == n_decisions:
                return
            await asyncio.sleep(0.02)


async def test_a_key_opens_the_endpoint_and_nothing_else_does(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e)
    assert (await e.chat()).status == 401
    assert (await e.chat(headers=ADMIN)).status == 401  # the admin's key asks no models
    assert (await e.chat(headers={"authorization": "Bearer hw-guess"})).status == 401
    assert (await e.chat(headers=key)).status == 200
    assert (await e.send("GET", "/admin/v1/keys", headers=key)).status == 401


async def test_the_secret_is_told_once_and_kept_as_a_digest(endpoint: Any) -> None:
    e = await keyed(endpoint)
    key_id, key = await make(e)
    secret = key["authorization"].removeprefix("Bearer ")
    listed = await e.send("GET", "/admin/v1/keys", headers=ADMIN)
    assert [found["key_id"] for found in listed.json["data"]] == [key_id]
    assert secret not in listed.raw.decode()
    assert listed.json["data"][0]["shown"] == secret[:9]
    stored = b"".join(path.read_bytes() for path in e.ledger_path.parent.glob("ledger.db*"))
    assert secret.encode() not in stored


async def test_a_revoked_or_expired_key_opens_nothing(endpoint: Any) -> None:
    e = await keyed(endpoint)
    key_id, key = await make(e)
    assert (await e.chat(headers=key)).status == 200
    gone = await e.send("DELETE", f"/admin/v1/keys/{key_id}", headers=ADMIN)
    assert gone.json["revoked_at"] is not None
    assert (await e.chat(headers=key)).status == 401
    key_id, key = await make(e)
    await e.send("PATCH", f"/admin/v1/keys/{key_id}", {"expires_at": 1.0}, ADMIN)
    assert (await e.chat(headers=key)).status == 401
    assert (await e.send("GET", "/admin/v1/keys/key_none", headers=ADMIN)).status == 404


async def test_where_keys_cannot_be_read_those_known_go_on_and_others_hear_why(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e)
    with sqlite3.connect(e.ledger_path) as connection:
        connection.execute("alter table keys rename to elsewhere")
    connection.close()
    assert (await e.chat(headers=key)).status == 200
    unknown = {"authorization": "Bearer hw-guess"}
    for reply in (await e.chat(headers=unknown), await e.send("GET", "/v1/models", headers=unknown)):
        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
    assert (await e.send("GET", "/admin/v1/keys", headers=ADMIN)).status == 503


async def test_a_budget_is_spent_to_the_ledgers_cent_and_renewed_never(endpoint: Any) -> None:
    e = await keyed(endpoint)
    budget = predicted(e, "cheap") + 4.5 * ONE_CHEAP
    key_id, key = await make(e, budgets=[{"usd": budget, "period": "ever"}], candidates=["cheap"])
    replies = [await e.chat(headers=key) for _ in range(7)]
    assert [reply.status for reply in replies] == [200] * 5 + [429] * 2
    assert replies[-1].error["code"] == "insufficient_quota"
    await until_written(e, 5)
    assert round(await spent(e, key_id) * 1e9) == round(charged(e, key_id) * 1e9) == 15_000
    assert len(e.upstreams["cheap"].requests) == 5


async def test_who_no_longer_fits_the_budget_gives_way_to_the_cheaper(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e, budgets=[{"usd": predicted(e, "dear") + 1e-9, "period": "month"}])
    models = [(await e.chat(headers=key)).json["model"] for _ in range(3)]
    assert models == ["dear", "cheap", "cheap"]


async def test_many_at_once_do_not_overdraw_by_more_than_what_was_not_foreseen(endpoint: Any) -> None:
    e = await keyed(endpoint)
    each = predicted(e, "cheap")
    budget = 6.5 * each
    key_id, key = await make(e, budgets=[{"usd": budget, "period": "day"}], candidates=["cheap"])
    refused = 0

    async def ask() -> Any:
        nonlocal refused
        reply = await e.chat(headers=key)
        refused += reply.status == 429
        return reply

    e.upstreams["cheap"].behave("ok", until=lambda: refused == 24)
    replies = await asyncio.gather(*(ask() for _ in range(30)))
    served = sum(reply.status == 200 for reply in replies)
    assert served == 6
    assert {reply.status for reply in replies} == {200, 429}
    assert round(await spent(e, key_id) * 1e9) == served * 3000


async def test_consultations_at_once_plan_within_one_budget(endpoint: Any) -> None:
    from herdwise.routing.vote import Vote

    e = await keyed(endpoint, policies={"vote": Vote(k=2)})
    dear, cheap = predicted(e, "dear"), predicted(e, "cheap")
    budget = 2.5 * (dear + cheap)
    _, key = await make(e, budgets=[{"usd": budget, "period": "day"}])
    for upstream in e.upstreams.values():
        upstream.behave("slow", delay_s=0.5)
    replies = await asyncio.gather(*(e.chat(headers=key) for _ in range(12)))
    asked = {name: len(upstream.requests) for name, upstream in e.upstreams.items()}
    assert {reply.status for reply in replies} == {200, 429}
    assert asked["dear"] >= 1
    assert asked["cheap"] >= 2
    assert asked["dear"] * dear + asked["cheap"] * cheap <= budget


async def test_what_was_spent_before_a_restart_still_counts(endpoint: Any) -> None:
    from herdwise.serving.ledger import Ledger
    from herdwise.serving.meter import LocalMeter

    e = await keyed(endpoint)
    key_id, key = await make(e, budgets=[{"usd": 1.0, "period": "month"}], candidates=["cheap"])
    for _ in range(3):
        await e.chat(headers=key)
    await until_written(e, 3)
    again = Ledger(f"sqlite:///{e.ledger_path}")
    again.start(e.service.ranker.herd)
    held = again.keyring().get(key_id)
    meter = LocalMeter(again.charged)
    left = await meter.begin(held, held.created_at)
    assert left is not None
    again.close()
    assert left.nanos == round((1.0 - 3 * ONE_CHEAP) * 1e9)


async def test_a_budget_that_is_set_later_counts_what_was_spent_a_moment_before(endpoint: Any) -> None:
    e = await keyed(endpoint)
    key_id, key = await make(e, candidates=["cheap"])
    for _ in range(5):
        await e.chat(headers=key)
    terms = {"candidates": ["cheap"], "budgets": [{"usd": 1.0, "period": "ever"}]}
    assert (await e.send("PATCH", f"/admin/v1/keys/{key_id}", {"terms": terms}, ADMIN)).status == 200
    await e.chat(headers=key)
    await until_written(e, 6)
    assert round(await spent(e, key_id) * 1e9) == round(charged(e, key_id) * 1e9) == 18_000


async def test_requests_per_minute_hold_and_the_refusal_says_when(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e, requests_per_minute=2)
    replies = [await e.chat(headers=key) for _ in range(5)]
    codes = [reply.status for reply in replies]
    assert codes.count(200) in {2, 3, 4}  # a new minute may begin in between
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.error["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_tokens_per_minute_hold(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e, tokens_per_minute=20)
    long = await e.chat("word " * 60, headers=key, max_tokens=5)
    assert (long.status, long.error["code"]) == (429, "rate_limit_exceeded")
    assert (await e.chat("word", headers=key, max_tokens=5)).status == 200


async def test_candidates_and_policies_are_those_of_the_terms(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, key = await make(e, candidates=["cheap"], policies=["single"])
    assert (await e.chat(headers=key)).json["model"] == "cheap"
    named = await e.chat(headers=key, model="cheap")
    assert (named.status, named.error["code"]) == (403, "policy_not_allowed")
    _, other = await make(e, candidates=["cheap"])
    assert (await e.chat(headers=other, model="cheap")).status == 200
    dear = await e.chat(headers=other, model="dear")
    assert (dear.status, dear.error["code"]) == (403, "candidate_not_allowed")
    models = await e.send("GET", "/v1/models", headers=other)
    assert [m["id"] for m in models.json["data"]] == ["auto", "auto/single", "cheap"]


async def test_a_key_sees_and_grades_its_own_decisions_only(endpoint: Any) -> None:
    e = await keyed(endpoint)
    _, mine = await make(e)
    _, other = await make(e)
    decision = (await e.chat(headers=mine)).headers["x-herdwise-decision-id"]
    await until_written(e, 1)
    seen = [(await e.send("GET", f"/v1/decisions/{decision}", headers=k)).status for k in (mine, other)]
    assert seen == [200, 404]
    said = {"decision_id": decision, "score": 1}
    assert (await e.send("POST", "/v1/feedback", said, other)).status == 404
    assert (await e.send("POST", "/v1/feedback", said, mine)).status == 200


async def test_a_candidate_of_unknown_price_is_not_for_keys_with_a_budget(endpoint: Any) -> None:
    unpriced = Candidate("unpriced", quality=0.95)
    e = await endpoint(candidates=(unpriced, CHEAP), admin_key="admin-secret")
    _, key = await make(e, budgets=[{"usd": 1.0}])
    assert (await e.chat(headers=key)).json["model"] == "cheap"
    named = await e.chat(headers=key, model="unpriced")
    assert (named.status, named.error["code"]) == (422, "unknown_cost")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "terms": {"budget": 1}},
        {"name": "x", "terms": {"budgets": [{"usd": -1}]}},
        {"name": "x", "terms": {"budgets": [{"usd": 1e300}]}},
        {"name": "x", "terms": {"requests_per_minute": 0}},
        [],
    ],
)
async def test_terms_that_cannot_be_read_are_refused(endpoint: Any, body: Any) -> None:
    e = await keyed(endpoint)
    key_id, _ = await make(e)
    reply = await e.send("PATCH", f"/admin/v1/keys/{key_id}", body or [], ADMIN)
    assert reply.status == 400
    reply = await e.send("POST", "/admin/v1/keys", body, ADMIN)
    assert reply.status == 400
    assert reply.error["code"] in {"invalid_key_terms", "invalid_request"}


async def test_without_an_admin_key_there_is_no_admin_api(endpoint: Any) -> None:
    e = await endpoint()
    assert (await e.send("GET", "/admin/v1/keys", headers=ADMIN)).status == 404


async def test_virtual_keys_without_a_ledger_are_refused_at_once(endpoint: Any) -> None:
    with pytest.raises(ConfigError, match="kept in the ledger"):
        await endpoint(admin_key="admin-secret", ledger=False)


def test_periods_are_calendar_periods_in_utc() -> None:
    at = 1_708_000_000.0  # 2024-02-15 12:26:40
    assert period_start("hour", at) == 1_707_998_400
    assert period_start("day", at) == 1_707_955_200
    assert (period_start("month", at), period_end("month", at)) == (1_706_745_600, 1_709_251_200)
    assert period_end("month", 1_703_000_000.0) == 1_704_067_200  # December ends with the year
    assert (period_start("ever", at), period_end("ever", at)) == (0, None)
    assert Budget(usd=1.0).period == "month"


async def test_a_key_whose_terms_are_a_newer_versions_opens_nothing_and_stops_nobody(endpoint: Any) -> None:
    e = await keyed(endpoint)
    key_id, newer = await make(e)
    _, plain = await make(e)
    with sqlite3.connect(e.ledger_path) as connection:
        connection.execute("update keys set terms = '{\"colour\": 1}' where key_id = ?", (key_id,))
    connection.close()
    listed = await e.send("GET", "/admin/v1/keys", headers=ADMIN)  # which reads all keys anew
    assert key_id not in [found["key_id"] for found in listed.json["data"]]
    assert (await e.chat(headers=plain)).status == 200
    assert (await e.chat(headers=newer)).status == 401


async def test_periods_that_are_over_are_forgotten() -> None:
    from herdwise.serving.keyring import Terms, VirtualKey
    from herdwise.serving.meter import LocalMeter

    read: list[float] = []

    async def ledger(key_id: str, since: float) -> int:
        del key_id
        read.append(since)
        return 0

    meter = LocalMeter(ledger)
    key = VirtualKey("k", "team", "hw-", 0.0, Terms(budgets=(Budget(1.0, "hour"), Budget(9.0, "ever"))))
    start = 1_708_000_000.0
    for hour in range(6):
        await meter.begin(key, start + hour * 3600)
    assert read.count(0.0) == 1  # what goes on is remembered
    assert await meter.begin(key, start) is not None  # and what is over is read again, should it be asked for
    assert read.count(period_start("hour", start)) == 2
