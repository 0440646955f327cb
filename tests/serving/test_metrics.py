"""GET /metrics tells what was served, in a form that Prometheus reads, and nothing that a client wrote."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from herdwise.core.candidate import Candidate
from herdwise.serving.metrics import Counter, Histogram, Metrics

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana" / "herdwise.json"


async def numbers(e: Any, **headers: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value, as Prometheus' own parser reads it."""
    reply = await e.send("GET", "/metrics", headers=headers)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(reply.raw.decode()))
    assert len({family.name for family in families}) == len(families)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(found: dict[Any, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_values_of_labels_are_escaped_and_read_back_by_prometheus() -> None:
    counter = Counter("herdwise_test_total", "Of tests.", ("who",))
    names = ['a "quoted" one', "back\\slash", "two\nlines"]
    for name in names:
        counter.add((name,), 2)
    text = "# TYPE herdwise_test_total counter\n" + "".join(f"{line}\n" for line in counter.lines())
    (family,) = text_string_to_metric_families(text)
    assert [(s.labels["who"], s.value) for s in family.samples] == [(name, 2.0) for name in names]


def test_a_bucket_holds_what_is_no_greater_than_its_bound() -> None:
    histogram = Histogram("herdwise_test_seconds", "Of tests.", (), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.observe((), value)
    assert list(histogram.lines()) == [
        'herdwise_test_seconds_bucket{le="0.1"} 2',
        'herdwise_test_seconds_bucket{le="1.0"} 3',
        'herdwise_test_seconds_bucket{le="+Inf"} 4',
        "herdwise_test_seconds_sum 3.65",
        "herdwise_test_seconds_count 4",
    ]


async def test_what_was_served_is_counted_to_the_request_token_and_nano_usd(endpoint: Any) -> None:
    e = await endpoint()
    replies = [await e.chat("one two three") for _ in range(3)]
    streamed = await e.chat("one two", stream=True)
    named = await e.chat("one", model="small")
    assert {r.status for r in (*replies, streamed, named)} == {200}
    found = await numbers(e)
    api = "/v1/chat/completions"
    assert of(found, "herdwise_requests_total", api=api, policy="single", status="200") == 4
    assert of(found, "herdwise_requests_total", api=api, policy="direct", status="200") == 1
    assert of(found, "herdwise_asks_total", candidate="large", outcome="answered") == 4
    for name, policy in (("request", "single"), ("overhead", "single"), ("request", "direct")):
        count = of(found, f"herdwise_{name}_seconds_count", policy=policy)
        assert count == (4 if policy == "single" else 1)
    assert of(found, "herdwise_first_token_seconds_count", candidate="large") == 1
    decisions = [await e.decision(r) for r in (*replies, streamed)]
    for way in ("input", "output"):
        total = sum(decision[f"{way}_tokens"] for decision in decisions)
        assert total > 0
        assert of(found, "herdwise_tokens_total", candidate="large", direction=way) == total
    cost = sum(decision["cost_usd"] for decision in decisions)
    assert of(found, "herdwise_cost_usd_total", candidate="large") == pytest.approx(cost, rel=1e-12)
    assert of(found, "herdwise_open_requests") == 0
    assert of(found, "herdwise_ledger_lost_decisions") == 0
    assert of(found, "herdwise_ledger_pending_decisions") <= 5


async def test_failures_are_counted_by_kind_and_breakers_show(endpoint: Any) -> None:
    e = await endpoint(candidates=(Candidate("bad", quality=0.9), Candidate("good", quality=0.5)))
    e.upstreams["bad"].behave("server_error")
    for _ in range(3):
        assert (await e.chat()).status == 200
    e.upstreams["good"].behave("server_error")
    assert (await e.chat()).status == 502
    found = await numbers(e)
    api = "/v1/chat/completions"
    assert of(found, "herdwise_requests_total", api=api, policy="single", status="502") == 1
    assert of(found, "herdwise_asks_total", candidate="bad", outcome="upstream_status") == 4
    assert of(found, "herdwise_asks_total", candidate="good", outcome="answered") == 3
    assert of(found, "herdwise_breaker_state", candidate="bad", state="open") == 1
    assert of(found, "herdwise_breaker_state", candidate="bad", state="closed") == 0
    assert of(found, "herdwise_breaker_state", candidate="good", state="closed") == 1
    # Neither has a price: what the answers cost is unknown, which is not zero.
    assert of(found, "herdwise_asks_of_unknown_cost_total", candidate="good") == 3
    assert not any(name == "herdwise_cost_usd_total" for name, _ in found)


async def test_requests_on_which_nothing_is_decided_are_counted_too(endpoint: Any) -> None:
    e = await endpoint()
    decided = await e.chat()
    graded = {"decision_id": decided.headers["x-herdwise-decision-id"], "thumbs": "up"}
    assert (await e.send("POST", "/v1/feedback", graded)).status == 200
    assert (await e.send("POST", "/v1/embeddings", {"model": "auto", "input": "x"})).status == 404
    found = await numbers(e)
    for api, status in (("/v1/feedback", "200"), ("/v1/embeddings", "404")):
        assert of(found, "herdwise_requests_total", api=api, policy="none", status=status) == 1


async def test_an_open_request_shows_and_one_whose_client_left_is_499(endpoint: Any) -> None:
    e = await endpoint()
    e.upstreams["large"].behave("hang_before_headers")
    asking = asyncio.create_task(e.chat())
    async with asyncio.timeout(60):
        while of(await numbers(e), "herdwise_open_requests") != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        asking.cancel()
        gone = ("herdwise_requests_total", "/v1/chat/completions", "single", "499")
        while True:
            found = await numbers(e)
            if (gone[0], frozenset({("api", gone[1]), ("policy", gone[2]), ("status", gone[3])})) in found:
                break
            await asyncio.sleep(0.01)
    assert of(found, "herdwise_asks_total", candidate="large", outcome="cancelled") == 1
    assert of(found, "herdwise_open_requests") == 0


async def test_nothing_that_a_client_wrote_becomes_a_label(endpoint: Any) -> None:
    e = await endpoint()
    word = "zebra"
    for i in range(5):
        await e.chat(word, model=f"{word}-{i}")
        await e.chat(word, model=f"auto/{word}-{i}")
        await e.chat(word, headers={"x-herdwise-policy": f"{word}-{i}", "authorization": f"Bearer {word}"})
        await e.chat(word, headers={"x-herdwise-session": word}, user=word)
        await e.send("POST", "/v1/chat/completions", word.encode())
        await e.send("GET", f"/v1/models/{word}-{i}")
    reply = await e.send("GET", "/metrics")
    assert word not in reply.raw.decode()
    found = await numbers(e)
    refused = sum(v for (name, labels), v in found.items() if ("policy", "none") in labels)
    assert refused == 20
    assert sum(name == "herdwise_requests_total" for name, _ in found) <= 4


async def test_numbers_of_all_clients_are_for_keys_of_the_config(endpoint: Any) -> None:
    e = await endpoint(api_keys=("client-key",), admin_key="admin-key")
    made = await e.send("POST", "/admin/v1/keys", {"name": "team"}, {"x-api-key": "admin-key"})
    for key in (None, "wrong", made.json["key"]):
        reply = await e.send("GET", "/metrics", headers={} if key is None else {"x-api-key": key})
        assert reply.status == 401
        assert b"herdwise_" not in reply.raw
    assert await numbers(e, authorization="Bearer client-key")
    found = await numbers(e, authorization="Bearer admin-key")
    assert not any("key" in value for _, labels in found for _, value in labels)


async def test_without_keys_of_the_config_virtual_ones_close_the_numbers(endpoint: Any) -> None:
    e = await endpoint()
    assert await numbers(e)
    from herdwise.serving.keyring import Terms

    await asyncio.to_thread(e.service.ledger.keyring().create, "team", Terms())
    async with asyncio.timeout(60):
        while (await e.send("GET", "/metrics")).status != 401:  # noqa: ASYNC110 - keys are read anew
            await asyncio.sleep(0.1)


async def test_the_dashboard_asks_for_metrics_and_labels_that_exist(endpoint: Any) -> None:
    e = await endpoint()
    reply = await e.send("GET", "/metrics")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", reply.raw.decode(), flags=re.MULTILINE))
    existing = {name for name, kind in kinds.items() if kind != "histogram"}
    for name, kind in kinds.items():
        if kind == "histogram":
            existing |= {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    board = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    used = {name for expr in asked for name in re.findall(r"herdwise_\w+", expr)}
    assert used <= existing
    shown = {re.sub(r"_(bucket|sum|count)$", "", n) if n not in kinds else n for n in used}
    assert set(kinds) - shown <= {"herdwise_build_info"}, "every number has its place on the dashboard"
    stated = {label for part in Metrics()._parts for label in part.labels} | {"candidate", "state", "le"}
    by = {
        label
        for expr in asked
        for group in re.findall(r"by \(([^)]*)\)", expr)
        for label in group.split(", ")
    }
    matched = {label for expr in asked for label in re.findall(r"(\w+)[!=]=?~?\"", expr)}
    assert by | matched <= stated
