"""Retention: old texts are erased, old decisions deleted; figures and budgets stay."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import Engine

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.serving.ledger import Ledger
from herdwise.serving.ledger_retention import DAY_S, NOTHING, Pruned, Retention, prune_ledger
from herdwise.serving.ledger_tables import ASKS, DECISIONS, FEEDBACK
from herdwise.serving.records import AskRecord, DecisionRecord, FeedbackRecord

PROMPT, ANSWER, COMMENT = "prompt-f00d", "answer-f00d", "comment-f00d"


def decision(name: str, days_old: float, **changes: Any) -> DecisionRecord:
    asks = [AskRecord(0, "a", "answered", cost_usd=0.5, output_tokens=3, text=ANSWER)]
    base: dict[str, Any] = {
        "created_at": time.time() - days_old * DAY_S,
        "model": "auto",
        "policy": "single",
        "origin": "router",
        "status": "answered",
        "candidate": "a",
        "returned_ask": 0,
        "cost_usd": 0.5,
        "text": PROMPT,
        "tools": "[]",
        "asks": asks,
    }
    return DecisionRecord(name, **{**base, **changes})


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    server = request.getfixturevalue("postgres_url")
    name = f"r_{uuid.uuid4().hex}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{server}/{name}"
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def filled(url: str) -> Callable[..., Any]:
    def fill(*records: DecisionRecord, comments: dict[str, float] | None = None) -> None:
        ledger = Ledger(url)
        ledger.start(Herd([Candidate("a")]))
        for record in records:
            ledger.record(record)

        async def say() -> None:
            for name, days_old in (comments or {}).items():
                at = time.time() - days_old * DAY_S
                await ledger.feedback(FeedbackRecord(name, at, 1.0, COMMENT, COMMENT))

        asyncio.run(say())
        ledger.close()

    return fill


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = create_engine(url)
    yield made
    made.dispose()


def rows(engine: Engine, *columns: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def test_old_texts_are_erased_and_figures_stay(url: str, filled: Any, engine: Engine) -> None:
    filled(decision("new", 1), decision("old", 31), comments={"new": 1, "old": 31})
    done = prune_ledger(url, keep_texts_days=30, keep_days=None)
    assert done == Pruned(texts=1, comments=1, decisions=0, stripped=0)
    assert rows(engine, DECISIONS.c.query_id, DECISIONS.c.text, DECISIONS.c.tools, DECISIONS.c.cost_usd) == [
        ("new", PROMPT, "[]", 0.5),
        ("old", None, None, 0.5),
    ]
    assert rows(engine, ASKS.c.query_id, ASKS.c.text, ASKS.c.output_tokens) == [
        ("new", ANSWER, 3),
        ("old", None, 3),
    ]
    said = (FEEDBACK.c.query_id, FEEDBACK.c.comment, FEEDBACK.c.demonstration, FEEDBACK.c.score)
    assert rows(engine, *said) == [("new", COMMENT, COMMENT, 1.0), ("old", None, None, 1.0)]
    assert prune_ledger(url, keep_texts_days=30, keep_days=None) == NOTHING


def test_old_decisions_are_deleted_with_all_that_belongs_to_them(
    url: str, filled: Any, engine: Engine
) -> None:
    filled(decision("new", 1), decision("old", 31), comments={"new": 1, "old": 1})
    done = prune_ledger(url, keep_texts_days=None, keep_days=30)
    assert done == Pruned(texts=0, comments=0, decisions=1, stripped=0)
    for table in (DECISIONS, ASKS, FEEDBACK):
        assert rows(engine, table.c.query_id) == [("new",)]


def test_what_a_virtual_key_was_charged_stays_for_its_budgets(url: str, filled: Any, engine: Engine) -> None:
    filled(
        decision("charged", 400, key_id="k", charged_usd=0.25, goals="{}"),
        decision("free", 400, key_id="k", charged_usd=0.0),
        decision("unknown", 400, key_id="k", charged_usd=None),
        decision("nobody's", 400, charged_usd=0.25),
        comments={"charged": 400},
    )
    assert prune_ledger(url, keep_texts_days=1, keep_days=30) == Pruned(0, 0, 3, 1)
    whole = (DECISIONS.c.query_id, DECISIONS.c.charged_usd, DECISIONS.c.text, DECISIONS.c.goals)
    assert rows(engine, *whole) == [("charged", 0.25, None, None)]
    assert rows(engine, ASKS.c.query_id) == rows(engine, FEEDBACK.c.query_id) == []
    assert prune_ledger(url, keep_texts_days=1, keep_days=30) == NOTHING

    async def charged() -> int:
        ledger = Ledger(url)
        ledger.start(Herd([Candidate("a")]))
        try:
            return await ledger.charged("k", 0.0)
        finally:
            ledger.close()

    assert asyncio.run(charged()) == 250_000_000


def test_a_dry_run_counts_what_a_real_one_does_and_changes_nothing(
    url: str, filled: Any, engine: Engine
) -> None:
    filled(
        *(decision(f"d{i}", i, key_id="k" if i % 2 else None, charged_usd=0.1 * (i % 3)) for i in range(40)),
        comments={"d3": 9, "d20": 2, "d30": 25},
    )
    before = rows(engine, DECISIONS.c.query_id, DECISIONS.c.text)
    planned = prune_ledger(url, keep_texts_days=8, keep_days=None, dry_run=True)
    assert planned == Pruned(texts=32, comments=2, decisions=0, stripped=0)
    told = prune_ledger(url, keep_texts_days=None, keep_days=20, dry_run=True)
    assert rows(engine, DECISIONS.c.query_id, DECISIONS.c.text) == before
    assert prune_ledger(url, keep_texts_days=8, keep_days=None) == planned
    assert prune_ledger(url, keep_texts_days=None, keep_days=20) == told
    assert told.decisions + told.stripped == 20


def test_more_than_a_batch_is_erased(url: str, filled: Any, engine: Engine) -> None:
    filled(*(decision(f"d{i:04}", 31) for i in range(1203)))
    assert prune_ledger(url, keep_texts_days=30, keep_days=None).texts == 1203
    assert {text for (text,) in rows(engine, ASKS.c.text)} == {None}


def test_what_was_erased_stands_nowhere_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.start(Herd([Candidate("a")]))
    for i in range(50):
        asks = [AskRecord(0, "a", "answered", text=f"{ANSWER} " * (i * 20))]
        ledger.record(decision(f"d{i}", 31, text=f"{PROMPT} " * (i * 20), asks=asks))
    ledger.close()
    assert PROMPT.encode() in path.read_bytes()
    prune_ledger(str(path), keep_texts_days=30, keep_days=None)
    left = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert PROMPT.encode() not in left
    assert ANSWER.encode() not in left


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        prune_ledger(str(tmp_path / "none.db"), keep_texts_days=1, keep_days=None)


async def test_a_running_endpoint_erases_by_itself(endpoint: Any, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.start(Herd([Candidate("large")]))
    ledger.record(decision("old", 31))
    ledger.record(decision("new", 1))
    ledger.close()
    e = await endpoint(keep_texts_days=30.0)
    async with asyncio.timeout(60):
        while (await e.send("GET", "/v1/decisions/old")).json["text"] is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await e.send("GET", "/v1/decisions/old")).json["asks"][0]["text"] is None
    assert (await e.send("GET", "/v1/decisions/new")).json["text"] == PROMPT


async def test_a_failure_is_told_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Any] = [ConfigError("the disk is full."), Pruned(1, 0, 0, 0)]
    done = asyncio.Event()

    async def prune(_stop: Any) -> Pruned:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        done.set()
        return Pruned(1, 0, 0, 0)

    retention = Retention(prune, every_s=0.0)
    retention.start()
    async with asyncio.timeout(60):
        await done.wait()
    await retention.stop()
    assert "the disk is full" in caplog.text
