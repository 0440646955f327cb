"""Nothing that a client or a candidate sends keeps a decision out of the ledger."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture(params=["sqlite", "postgres"])
def any_ledger(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/any.db"
    server = request.getfixturevalue("postgres_url")
    name = f"t_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}/{name}"


NUL = "a\0b"


async def test_texts_with_nul_are_kept(endpoint: Any, any_ledger: str) -> None:
    e = await endpoint(ledger_url=any_ledger, admin_key="the-admin-key")
    admin = {"authorization": "Bearer the-admin-key"}
    terms = {"budgets": [{"usd": 5}], "candidates": ["large", NUL]}
    made = await e.send("POST", "/admin/v1/keys", {"name": f"team {NUL}", "terms": terms}, admin)
    assert made.status == 200
    key = {"authorization": f"Bearer {made.json['key']}"}
    reply = await e.chat(
        NUL, headers=key, user=NUL, stop=[NUL], tools=[{"type": "function", "function": {"name": NUL}}]
    )
    assert reply.status == 200
    name = reply.headers["x-herdwise-decision-id"]
    given = {"decision_id": name, "score": 1, "comment": NUL, "demonstration": NUL}
    assert (await e.send("POST", "/v1/feedback", given, key)).status == 200
    found = await e.send("GET", f"/v1/decisions/{name}", headers=key)
    assert found.status == 200
    assert found.json["feedback"][0]["score"] == 1
    assert found.json["text"][0] == "a"
    assert e.service.ledger.lost == 0
    for wrong in ("%00", f"{name}%00"):
        assert (await e.send("GET", f"/v1/decisions/{wrong}", headers=key)).status == 404
        assert (await e.send("GET", f"/admin/v1/keys/{wrong}", headers=admin)).status == 404
    unknown = await e.send("POST", "/v1/feedback", {"decision_id": NUL, "score": 1}, key)
    assert unknown.status == 404


async def test_counts_that_no_database_holds_are_unknown_and_the_decision_is_kept(
    endpoint: Any, any_ledger: str
) -> None:
    e = await endpoint(ledger_url=any_ledger)
    for count in (2**31, 2**63, 10**30, -1, True, 0.5):
        used = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
        e.upstreams["large"].behave("says", used=used)
        reply = await e.chat()
        assert reply.status == 200
        grade = {"decision_id": reply.headers["x-herdwise-decision-id"], "score": 1}
        assert (await e.send("POST", "/v1/feedback", grade)).status == 200  # so it is on the disk
        assert (await e.decision(reply))["status"] == "answered"
    assert e.service.ledger.lost == 0
