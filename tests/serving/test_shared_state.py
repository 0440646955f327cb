"""Real PostgreSQL, real Redis: several gateways keep one ledger, one budget, one limit; migrations."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import ConfigError, RequestError
from herdwise.serving.keyring import PERIODS, Budget, Keyring, Terms, VirtualKey
from herdwise.serving.ledger import Ledger
from herdwise.serving.ledger_engine import open_engine
from herdwise.serving.ledger_schema import HEAD, REVISIONS, migrate
from herdwise.serving.ledger_tables import METADATA
from herdwise.serving.meter import HOLD_S, LocalMeter, Meter
from herdwise.serving.meter_redis import RedisMeter
from herdwise.serving.records import AskRecord, DecisionRecord, FeedbackRecord

HERD = Herd([Candidate("a")])


@pytest.fixture
def postgres_ledger(postgres_url: str) -> str:
    """The URL of an empty database."""
    name = f"t_{uuid.uuid4().hex}"
    server = create_engine(f"{postgres_url}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    server.dispose()
    return f"{postgres_url}/{name}"


def decision(name: str, *, key_id: str | None = None, charged_usd: float | None = None) -> DecisionRecord:
    return DecisionRecord(
        name, time.time(), "auto", "single", "router", "answered", key_id=key_id, charged_usd=charged_usd,
        asks=[AskRecord(0, "a", "answered", text="ümlaut \N{SNOWMAN}")],
    )  # fmt: skip


async def test_the_ledger_lives_in_postgres_as_in_sqlite(postgres_ledger: str, tmp_path: Path) -> None:
    ledger = Ledger(postgres_ledger)
    ledger.start(HERD)
    ledger.record(decision("d1"))
    await ledger.feedback(FeedbackRecord("d1", time.time(), 1.0))
    with pytest.raises(RequestError, match="no decision"):
        await ledger.feedback(FeedbackRecord("nobody", time.time(), 1.0))
    ledger.close()
    again = Ledger(postgres_ledger)
    again.start(HERD)
    found = await again.find("d1")
    again.close()
    assert found is not None
    assert (found["asks"][0]["text"], found["feedback"][0]["score"]) == ("ümlaut \N{SNOWMAN}", 1.0)


def columns(url: str) -> dict[str, Any]:
    engine = create_engine(url)
    tables = inspect(engine)
    found = {
        table: (
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in tables.get_columns(table)),
            sorted(
                (i["name"], tuple(i["column_names"]), bool(i["unique"])) for i in tables.get_indexes(table)
            ),
            sorted(tuple(f["constrained_columns"]) for f in tables.get_foreign_keys(table)),
            tables.get_pk_constraint(table)["constrained_columns"],
        )
        for table in tables.get_table_names()
    }
    engine.dispose()
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_migrations_lead_to_what_is_made_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    migrated, made = f"sqlite:///{tmp_path}/migrated.db", f"sqlite:///{tmp_path}/made.db"
    if kind == "postgres":
        migrated = request.getfixturevalue("postgres_ledger")
    engine = create_engine(migrated)
    with engine.begin() as connection:
        migrate(connection, None)
    engine.dispose()
    if kind == "postgres":
        other = create_engine(migrated.rsplit("/", 1)[0] + "/postgres", isolation_level="AUTOCOMMIT")
        with other.connect() as connection:
            connection.execute(text(f"CREATE DATABASE m_{uuid.uuid4().hex}"))
            made = connection.execute(
                text("SELECT max(datname) FROM pg_database WHERE datname LIKE 'm\\_%'")
            ).scalar()
        made = migrated.rsplit("/", 1)[0] + f"/{made}"
        other.dispose()
    open_engine(made, create=True).dispose()
    assert columns(migrated) == columns(made)
    assert set(columns(made)) == {*METADATA.tables, "alembic_version"}


def test_every_revision_has_its_script_in_order() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import herdwise.serving.ledger_schema as schema

    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert [step.revision for step in reversed(list(script.walk_revisions()))] == list(REVISIONS)


def test_a_ledger_of_the_first_release_is_brought_up_to_date_with_all_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, None, to=REVISIONS[0])
    engine.dispose()
    with sqlite3.connect(path) as connection:  # as the first release left it
        connection.execute("drop table alembic_version")
        connection.execute("create table herdwise_schema (version integer primary key)")
        connection.execute("insert into herdwise_schema values (1)")
        connection.execute(
            "insert into decisions (query_id, created_at, model, policy, origin, status, streamed, attempts)"
            " values ('old', 1.0, 'auto', 'single', 'router', 'answered', 0, 1)"
        )
    connection.close()
    ledger = Ledger(str(path))
    ledger.start(HERD)
    ledger.record(decision("new", key_id="k", charged_usd=0.5))
    ledger.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("select query_id, key_id from decisions order by 1").fetchall() == [
            ("new", "k"),
            ("old", None),
        ]
        assert connection.execute("select version_num from alembic_version").fetchall() == [(HEAD,)]
        assert (
            connection.execute("select name from sqlite_master where name = 'herdwise_schema'").fetchall()
            == []
        )
    connection.close()


def test_a_password_in_the_url_is_in_no_error() -> None:
    with pytest.raises(ConfigError) as caught:
        Ledger("postgresql+psycopg://me:hush-hush@127.0.0.1:1/none").start(HERD)
    assert "hush-hush" not in str(caught.value)


def key_of(terms: Terms, key_id: str = "") -> VirtualKey:
    return VirtualKey(key_id or uuid.uuid4().hex, "team", "hw-", 0.0, terms)


async def nothing(key_id: str, since: float) -> int:
    del key_id, since
    return 0


@pytest.fixture(params=["local", "redis"])
async def meters(request: pytest.FixtureRequest) -> Any:
    """Two views of one state: two gateways' on Redis; a lone gateway's memory, twice."""
    if request.param == "local":
        meter = LocalMeter(nothing)
        yield meter, meter
        return
    url = request.getfixturevalue("redis_url")
    pair = RedisMeter(url, nothing), RedisMeter(url, nothing)
    yield pair
    for meter in pair:
        await meter.close()


async def left(meter: Meter, key: VirtualKey, at: float) -> int:
    found = await meter.begin(key, at)
    assert found is not None
    return found.nanos


async def test_one_budget_over_both_whoever_spends(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(budgets=(Budget(1e-6, "day"),))), time.time()
    assert await left(meters[0], key, at) == 1000
    held = await meters[0].reserve(key, at, 600, 5)
    assert await left(meters[1], key, at) == 400
    with pytest.raises(RequestError, match="spent or would be"):
        await meters[1].reserve(key, at, 401, 5)
    await meters[0].settle(key, held, 100, 3)
    assert await left(meters[1], key, at) == 900
    assert await meters[1].spent(key, key.terms.budgets[0], at) == 100
    rest = await meters[1].reserve(key, at, 900, 5)
    await meters[1].settle(key, rest, 900, 5)
    with pytest.raises(RequestError) as refused:
        await meters[0].begin(key, at)
    assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")


async def test_a_race_for_the_last_cent_has_one_winner(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(budgets=(Budget(1e-6, "ever"), Budget(1.0, "hour")))), time.time()
    tries = await asyncio.gather(
        *(meters[i % 2].reserve(key, at, 300, 1) for i in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in tries) == 3


async def test_a_consultation_holds_what_it_may_take_and_leaves_others_half(
    meters: tuple[Meter, Meter],
) -> None:
    key, at = key_of(Terms(budgets=(Budget(1e-6, "day"), Budget(1.0, "month")))), time.time()
    first = await meters[0].reserve(key, at, 100, 1, 450)
    second = await meters[1].reserve(key, at, 100, 1, 450)
    third = await meters[0].reserve(key, at, 200, 1, 450)
    assert [one.nanos for one in (first, second, third)] == [450, 275, 200]
    with pytest.raises(RequestError, match="spent or would be"):
        await meters[1].reserve(key, at, 76, 1, 450)
    for held in (first, second, third):
        await meters[1].settle(key, held, 10, 1)
    assert await left(meters[0], key, at) == 970


async def test_the_tightest_budget_is_named(meters: tuple[Meter, Meter]) -> None:
    month = Budget(1e-6, "month")
    key, at = key_of(Terms(budgets=(Budget(1.0, "hour"), month, Budget(2.0, "ever")))), time.time()
    found = await meters[0].begin(key, at)
    assert found is not None
    assert (found.nanos, found.budget) == (1000, month)


async def test_a_charge_that_is_tried_again_is_made_once(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(budgets=(Budget(1e-6, "day"),))), time.time()
    held = await meters[0].reserve(key, at, 100, 1)
    await meters[0].settle(key, held, 70, 1)
    await meters[0].settle(key, held, 70, 1, again=True)
    assert await left(meters[1], key, at) == 930
    lost = await meters[0].reserve(key, at, 100, 1)
    await meters[0].settle(key, lost, 70, 1, again=True)
    assert await left(meters[1], key, at) == 860


async def test_requests_and_tokens_of_a_minute_are_counted_over_both(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(requests_per_minute=4, tokens_per_minute=100)), time.time()
    for i in range(4):
        assert await meters[i % 2].begin(key, at) is None
    with pytest.raises(RequestError, match="4 requests per minute"):
        await meters[0].begin(key, at)
    await meters[0].begin(key, at + 60)
    held = await meters[1].reserve(key, at + 60, 0, 90)
    with pytest.raises(RequestError, match="100 tokens per minute"):
        await meters[0].reserve(key, at + 60, 0, 11)
    await meters[1].settle(key, held, 0, 20)
    await meters[0].reserve(key, at + 60, 0, 11)


async def test_budgets_of_one_period_are_charged_once(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(budgets=(Budget(1.0, "day"), Budget(2.0, "day")))), time.time()
    held = await meters[0].reserve(key, at, 10, 0)
    await meters[1].settle(key, held, 7, 0)
    assert await meters[0].spent(key, key.terms.budgets[0], at) == 7


async def test_what_is_spent_while_a_budget_is_lifted_counts_once_it_is_back(
    meters: tuple[Meter, Meter],
) -> None:
    key, at = key_of(Terms(budgets=(Budget(1.0, "month"),))), time.time()
    assert await left(meters[0], key, at) == 10**9
    lifted = key_of(Terms(), key.key_id)
    held = await meters[0].reserve(lifted, at, 0, 0)
    await meters[0].settle(lifted, held, 7, 0)
    assert await meters[1].spent(key, key.terms.budgets[0], at) == 7


async def test_a_budget_that_is_set_later_finds_what_no_ledger_holds_yet(meters: tuple[Meter, Meter]) -> None:
    at, bare = time.time(), key_of(Terms())
    await meters[0].begin(bare, at)
    for meter, nanos in zip(meters, (7, 9), strict=True):
        await meter.settle(bare, await meter.reserve(bare, at, 0, 0), nanos, 0)
    for period in PERIODS:
        key = key_of(Terms(budgets=(Budget(1.0, period),)), bare.key_id)
        assert await meters[1].spent(key, key.terms.budgets[0], at) == 16
        assert await left(meters[1], key, at) == 10**9 - 16


async def test_a_key_without_budgets_needs_no_ledger_and_one_with_budgets_does(redis_url: str) -> None:
    async def away(key_id: str, since: float) -> int:
        raise OperationalError("select", {}, Exception("gone"))

    at = time.time()
    for meter in (LocalMeter(away), RedisMeter(redis_url, away)):
        bare = key_of(Terms(requests_per_minute=9))
        assert await meter.begin(bare, at) is None
        await meter.settle(bare, await meter.reserve(bare, at, 0, 1), 7, 1)
        with pytest.raises(OperationalError):
            await meter.begin(key_of(Terms(budgets=(Budget(1.0, "day"),)), bare.key_id), at)
        await meter.close()


async def test_a_key_without_budgets_does_not_wait_for_a_ledger_that_hangs(redis_url: str) -> None:
    read: list[float] = []

    async def hanging(key_id: str, since: float) -> int:
        del key_id
        read.append(since)
        await asyncio.Event().wait()
        return 0

    at = time.time()
    for meter in (LocalMeter(hanging), RedisMeter(redis_url, hanging)):
        read.clear()
        async with asyncio.timeout(60):
            # One with budgets, which waits for it, holds up nobody else.
            other = key_of(Terms(budgets=(Budget(1.0, "day"),)))
            waiting = asyncio.create_task(meter.begin(other, at))
            for _ in range(40):
                bare = key_of(Terms(requests_per_minute=9))
                assert await meter.begin(bare, at) is None
                await meter.settle(bare, await meter.reserve(bare, at, 0, 1), 7, 1)
        assert not waiting.done()
        waiting.cancel()
        assert len(read) <= 2  # not once for each
        await meter.close()


async def test_a_period_that_begins_while_a_lone_gateway_runs_needs_no_ledger() -> None:
    read: list[float] = []

    async def ledger(key_id: str, since: float) -> int:
        del key_id
        read.append(since)
        return 100

    meter, start = LocalMeter(ledger), 1_708_000_000.0
    key = key_of(Terms(budgets=(Budget(1.0, "hour"), Budget(1.0, "ever"))))
    await meter.settle(key, await meter.reserve(key, start, 5, 0), 5, 0)
    n_read = len(read)
    assert await meter.spent(key, key.terms.budgets[0], start + 3600) == 0
    assert await meter.spent(key, key.terms.budgets[1], start + 3600) == 105
    assert len(read) == n_read == 4


async def test_what_nobody_settles_is_held_for_an_hour_and_no_longer(meters: tuple[Meter, Meter]) -> None:
    key, at = key_of(Terms(budgets=(Budget(1.0, "ever"),))), time.time()
    await meters[0].reserve(key, at, 400, 0)
    assert await left(meters[1], key, at + HOLD_S - 1) == 10**9 - 400
    assert await left(meters[1], key, at + HOLD_S) == 10**9


async def test_a_worker_in_the_place_of_another_lets_go_of_what_that_one_held(redis_url: str) -> None:
    prefix = f"t-{uuid.uuid4().hex}"
    died, lives, heir = (RedisMeter(redis_url, nothing, prefix, owner) for owner in ("f-0-", "f-1-", "f-0-"))
    keys, at = [key_of(Terms(budgets=(Budget(1.0, "day"),))) for _ in range(3)], time.time()
    for key in keys:
        await died.reserve(key, at, 100, 0)
        await lives.reserve(key, at, 30, 0)
    assert await heir.inherit() == 3
    assert [await left(heir, key, at) for key in keys] == [10**9 - 30] * 3
    for meter in (died, lives, heir):
        await meter.close()


async def test_a_budget_given_while_two_gateways_serve_counts_all_that_they_have_charged(
    endpoint: Any, postgres_ledger: str, redis_url: str
) -> None:
    from herdwise.core.money import Price

    admin = {"authorization": "Bearer admin-secret"}
    shared = {
        "candidates": (Candidate("cheap", quality=0.5, price=Price(1, 1), latency_s=1.0),),
        "admin_key": "admin-secret",
        "state_url": redis_url,
        "ledger_url": postgres_ledger,
    }
    both = await endpoint(**shared), await endpoint(**shared)
    made = (await both[0].send("POST", "/admin/v1/keys", {"name": "team"}, admin)).json
    key = {"authorization": f"Bearer {made['key']}"}
    for _ in range(3):
        replies = await asyncio.gather(*(e.chat(headers=key) for e in both * 4))
        assert {reply.status for reply in replies} == {200}
    place, terms = f"/admin/v1/keys/{made['key_id']}", {"budgets": [{"usd": 1, "period": "day"}]}
    assert (await both[0].send("PATCH", place, {"terms": terms}, admin)).status == 200
    for e in both:  # at once: their last decisions are not on the disk yet
        told = (await e.send("GET", place, headers=admin)).json
        assert told["spending"][0]["spent_usd"] == pytest.approx(24 * 3e-6, abs=1e-12)


async def test_an_emptied_redis_is_filled_from_the_ledger(redis_url: str) -> None:
    async def ledger(key_id: str, since: float) -> int:
        del key_id, since
        return 700

    meter = RedisMeter(redis_url, ledger)
    key, at = key_of(Terms(budgets=(Budget(1e-6, "month"),))), time.time()
    assert await left(meter, key, at) == 300
    await meter.close()


async def test_what_a_gateway_could_not_count_before_it_ended_is_counted_when_another_starts(
    redis_url: str,
) -> None:
    in_ledger = 0

    async def ledger(key_id: str, since: float) -> int:
        del key_id, since
        return in_ledger

    meter = RedisMeter(redis_url, ledger)
    key, at = key_of(Terms(budgets=(Budget(1e-6, "month"), Budget(1.0, "ever")))), time.time()
    await meter.settle(key, await meter.reserve(key, at, 100, 1), 100, 1)
    in_ledger = 700
    assert await meter.reconcile([key], settled_s=0) == 600
    assert await left(meter, key, at) == 300
    in_ledger = 400  # not all of it is on the disk yet
    assert await meter.reconcile([key], settled_s=0) == 0
    assert await left(meter, key, at) == 300
    await meter.close()


async def test_without_its_state_a_gateway_refuses_rather_than_overspends(closed_port: int) -> None:
    meter = RedisMeter(f"redis://127.0.0.1:{closed_port}/0", nothing)
    with pytest.raises(RequestError) as refused:
        await meter.begin(key_of(Terms(requests_per_minute=1)), time.time())
    assert (refused.value.status, refused.value.code) == (503, "state_unavailable")
    await meter.close()


async def test_two_gateways_on_one_postgres_and_one_redis_keep_one_budget_exactly(
    endpoint: Any, postgres_ledger: str, redis_url: str
) -> None:
    from herdwise.core.money import Price
    from herdwise.core.query import Query

    cheap = Candidate("cheap", quality=0.5, price=Price(1, 1), latency_s=1.0)
    admin = {"authorization": "Bearer admin-secret"}
    shared = {
        "candidates": (cheap,),
        "admin_key": "admin-secret",
        "state_url": redis_url,
        "ledger_url": postgres_ledger,
    }
    first, second = await endpoint(**shared), await endpoint(**shared)
    each = float(first.service.ranker.estimate_one(Query("Hello")).cost_usd[0])
    budget = 5.5 * each
    made = await first.send(
        "POST",
        "/admin/v1/keys",
        {"name": "team", "terms": {"budgets": [{"usd": budget, "period": "ever"}]}},
        admin,
    )
    key = {"authorization": f"Bearer {made.json['key']}"}
    refused = 0

    async def ask(e: Any) -> Any:
        nonlocal refused
        reply = await e.chat(headers=key)
        refused += reply.status == 429
        return reply

    for e in (first, second):
        e.upstreams["cheap"].behave("ok", until=lambda: refused == 19)
    replies = await asyncio.gather(*(ask((first, second)[i % 2]) for i in range(24)))
    assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 19
    shown = [
        await e.send("GET", f"/admin/v1/keys/{made.json['key_id']}", headers=admin) for e in (first, second)
    ]
    assert [s.json["spending"][0]["spent_usd"] for s in shown] == [1.5e-5, 1.5e-5]
    engine = create_engine(postgres_ledger)
    async with asyncio.timeout(60):
        while True:
            with engine.connect() as connection:
                total = connection.execute(text("SELECT sum(charged_usd) FROM decisions")).scalar() or 0.0
            if round(total * 1e9) == 15_000:
                break
            await asyncio.sleep(0.05)
    engine.dispose()
    revoked = await second.send("DELETE", f"/admin/v1/keys/{made.json['key_id']}", headers=admin)
    assert revoked.status == 200
    async with asyncio.timeout(60):
        while (await first.chat(headers=key)).status != 401:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


WRITER = """
import asyncio, sys, time
from herdwise.core.candidate import Candidate, Herd
from herdwise.serving.ledger import Ledger
from herdwise.serving.records import DecisionRecord, FeedbackRecord

async def main():
    ledger = Ledger(sys.argv[1], flush_s=0.01)
    ledger.start(Herd([Candidate("a"), Candidate("b")]))
    for i in range(40):
        name = f"{sys.argv[2]}-{i}"
        ledger.record(DecisionRecord(name, time.time(), "auto", "single", "router", "answered"))
        await ledger.feedback(FeedbackRecord(name, time.time(), 1.0))
    ledger.close()

asyncio.run(main())
"""


def test_several_processes_write_one_sqlite_ledger_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_engine(str(path), create=True).dispose()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)]) for n in range(3)]
    try:
        assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(20)
    with sqlite3.connect(path) as connection:
        counts = connection.execute(
            "select (select count(*) from decisions), (select count(*) from feedback)"
        ).fetchone()
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert counts == (120, 120)


def test_a_key_made_elsewhere_is_found(tmp_path: Path) -> None:
    one, two = Ledger(str(tmp_path / "l.db")), Ledger(str(tmp_path / "l.db"))
    one.start(HERD)
    two.start(HERD)
    rings: tuple[Keyring, Keyring] = (one.keyring(), two.keyring())
    key, secret = rings[0].create("team", Terms())
    assert rings[1].known(secret.encode()) is None
    rings[1].refresh()
    found = rings[1].known(secret.encode())
    assert found is not None
    assert found.key_id == key.key_id
    one.close()
    two.close()
