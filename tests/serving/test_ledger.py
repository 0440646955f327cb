"""The ledger: what is acknowledged is on the disk, nothing is lost in silence, nothing foreign is opened."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError, HerdwiseError, RequestError
from herdwise.serving.ledger import Ledger
from herdwise.serving.records import AskRecord, DecisionRecord, FeedbackRecord

HERD = Herd([Candidate("a", params_b=7.0, tags=frozenset({"x"})), Candidate("b")])


def decision(name: str, **changes: Any) -> DecisionRecord:
    asks = [AskRecord(0, "a", "answered", output_tokens=3, text="Hi")]
    base: dict[str, Any] = {
        "created_at": time.time(),
        "model": "auto",
        "policy": "single",
        "origin": "router",
        "status": "answered",
        "candidate": "a",
        "returned_ask": 0,
        "attempts": 1,
        "text": "Hello",
        "asks": asks,
    }
    return DecisionRecord(name, **{**base, **changes})


def rows(path: Path, query: str) -> list[Any]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    made = Ledger(f"sqlite:///{tmp_path}/deep/down/ledger.db")
    made.start(HERD)
    yield made
    made.close()


async def test_a_decision_is_found_at_once_and_on_the_disk_after_closing(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.record(decision("one"))
    found = await ledger.find("one")
    assert found is not None
    assert (found["text"], found["asks"][0]["candidate"]) == ("Hello", "a")
    ledger.close()
    path = tmp_path / "deep/down/ledger.db"
    assert rows(path, "select query_id, text from decisions") == [("one", "Hello")]
    assert rows(path, "select candidate, output_tokens, cost_usd from asks") == [("a", 3, None)]


async def test_a_decision_reads_the_same_before_and_after_it_is_written(ledger: Ledger) -> None:
    ledger.record(decision("one"))
    before = await ledger.find("one")
    await ledger.feedback(FeedbackRecord("one", 5.0, 0.5, "so so"))
    after = await ledger.find("one")
    assert before is not None
    assert after is not None
    assert after.pop("feedback") == [
        {"created_at": 5.0, "score": 0.5, "comment": "so so", "demonstration": None}
    ]
    assert before.pop("feedback") == []
    assert before == after


async def test_an_acknowledged_feedback_is_on_the_disk(ledger: Ledger, tmp_path: Path) -> None:
    for i in range(20):
        ledger.record(decision(f"d{i}"))
        await ledger.feedback(FeedbackRecord(f"d{i}", 1.0, i / 20))
        path = tmp_path / "deep/down/ledger.db"
        assert rows(path, f"select score from feedback where query_id = 'd{i}'") == [(i / 20,)]  # noqa: S608


async def test_a_decision_reaches_the_disk_by_itself(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(decision("one"))
    async with asyncio.timeout(60):
        while not rows(tmp_path / "deep/down/ledger.db", "select 1 from decisions"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_feedback_for_an_unknown_decision_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RequestError) as refused:
        await ledger.feedback(FeedbackRecord("nobody", 1.0, 1.0))
    assert refused.value.status == 404
    assert await ledger.find("nobody") is None


async def test_past_its_bounds_the_queue_loses_decisions_counts_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db", flush_s=60, max_pending=3, max_pending_bytes=10_000)
    made.start(HERD)
    with caplog.at_level(logging.ERROR):
        for i in range(5):
            made.record(decision(f"d{i}"))
        made.record(decision("huge", text="x" * 20_000))
    assert made.lost == 3
    assert "lost a decision: the queue is full (3 lost so far)" in caplog.text
    made.close()
    assert [r[0] for r in rows(tmp_path / "ledger.db", "select query_id from decisions")] == [
        "d0",
        "d1",
        "d2",
    ]


async def test_while_the_database_refuses_work_decisions_wait_and_feedback_is_not_acknowledged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger.db"
    made = Ledger(f"sqlite:///{path}", flush_s=0.01)
    made.start(HERD)
    made.record(decision("before"))
    await made.feedback(FeedbackRecord("before", 1.0, 1.0))
    # A full disk, as SQLite sees it: no page may be added.
    engine = made._started()[1]
    with engine.connect() as connection:
        full = connection.connection.dbapi_connection
        full.execute(f"pragma max_page_count = {full.execute('pragma page_count').fetchone()[0]}")
    made.record(decision("during", text="x" * 50_000))
    with pytest.raises(HerdwiseError, match="could not be written"):
        await made.feedback(FeedbackRecord("before", 2.0, 0.0))
    assert (await made.find("during"))["text"].startswith("x")  # type: ignore[index]
    assert "cannot be written" in caplog.text
    with engine.connect() as connection:
        connection.connection.dbapi_connection.execute("pragma max_page_count = 1000000")
    made.close()
    assert made.lost == 0
    assert [r[0] for r in rows(path, "select query_id from decisions order by 1")] == ["before", "during"]
    assert rows(path, "select score from feedback") == [(1.0,)]


async def test_a_record_that_the_database_refuses_does_not_take_others_with_it(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.record(decision("one"))
    ledger.record(decision("one"))
    ledger.record(decision("two", input_tokens=2**80))
    ledger.record(decision("three"))
    await ledger.feedback(FeedbackRecord("three", 1.0, 1.0))
    assert ledger.lost == 2
    assert await ledger.find("one") is not None
    assert await ledger.find("two") is None
    assert caplog.text.count("lost a decision: the database refuses it") == 2


def test_many_threads_may_record_at_the_same_time(ledger: Ledger, tmp_path: Path) -> None:
    def work(k: int) -> None:
        for i in range(100):
            ledger.record(decision(f"{k}-{i}"))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert rows(tmp_path / "deep/down/ledger.db", "select count(*) from decisions") == [(800,)]
    assert ledger.lost == 0


def test_a_ledger_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    made = Ledger(f"sqlite:///{path}")
    made.start(HERD)
    made.close()
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    with pytest.raises(ConfigError, match=r"revision 9999.*Update herdwise"):
        made.start(HERD)


def test_what_is_no_ledger_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all, but long enough to look at" * 20)
    urls = {
        f"sqlite:///{text}": "cannot be opened",
        f"sqlite:///{tmp_path}": "cannot be opened",
        "sqlite://": "needs a file",
        "nosuch://x/y": "driver that is not installed",
        "://x": "cannot be read",
        "sqlite:////proc/none/ledger.db": "cannot be made",
    }
    for url, problem in urls.items():
        with pytest.raises(ConfigError, match=problem):
            Ledger(url).start(HERD)


def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        Ledger("postgresql+nosuch://user:secret-word@db/x").start(HERD)
    assert "secret-word" not in str(refused.value)


def test_a_ledger_that_was_not_started_says_so() -> None:
    with pytest.raises(HerdwiseError, match="closed"):
        Ledger("sqlite:///x.db").record(decision("one"))
