"""The run: chaos at load, a kill in the midst, and all that must hold afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

import aiohttp

from .endpoint import STATIC, Endpoint
from .herd import Herd
from .load import Ended, Load

OPEN = "herdwise_open_requests"
PENDING = "herdwise_ledger_pending_decisions"
#: How often the config is read anew.
RELOAD_EVERY_S = 4.0


@dataclass
class Report:
    """What came of it: checks (name, whether it holds, what was found) and figures."""

    checks: list[tuple[str, bool, str]] = field(default_factory=list)
    figures: dict[str, float | str] = field(default_factory=dict)

    def check(self, name: str, holds: object, found: object = "") -> None:
        """Note one."""
        self.checks.append((name, bool(holds), str(found)))

    @property
    def failed(self) -> list[str]:
        """Names of the checks that do not hold."""
        return [name for name, holds, _ in self.checks if not holds]


async def run(
    folder: Path,
    seconds: float,
    clients: int,
    seed: int,
    kill_s: float,
    workers: int = 1,
    written_s: float = 1.0,
) -> Report:
    """Chaos for so many seconds, then a kill under load.

    Args:
        folder: for config, ledger and log.
        seconds: how long.
        clients: at a time.
        seed: of everything that is drawn.
        kill_s: how long the load lasts until the process is killed; 0 = it is not.
        workers: processes of the endpoint.
        written_s: a decision is on the disk within so many seconds of its end, whatever happens.
    """
    report = Report()
    period_s, overlap_s = (1.5, 2.0) if seconds < 60 else (4.0, 4.0)
    async with Herd(period_s, overlap_s, seed) as herd:
        reach = {name: server.base_url for name, server in herd.servers.items()}
        endpoint = Endpoint(folder, reach, workers)
        endpoint.write()
        await endpoint.start()
        try:
            await _storm(endpoint, herd, report, seconds, clients, seed)
            if kill_s:
                await _kill(endpoint, herd, report, kill_s, clients, seed + 1, written_s)
            report.check("SIGTERM ends it with 0", await endpoint.end() == 0)
            report.check("the ledger's file is sound", endpoint.rows("pragma integrity_check") == [("ok",)])
            _check_log(endpoint, report)
        finally:
            if endpoint.process is not None and endpoint.process.returncode is None:
                await endpoint.end(Signals.SIGKILL)
    return report


async def _storm(
    endpoint: Endpoint, herd: Herd, report: Report, seconds: float, clients: int, seed: int
) -> None:
    keys, ids = {"static": STATIC}, dict[str, str]()
    terms_of: dict[str, dict[str, Any]] = {
        "rich": {"budgets": [{"usd": 1_000_000, "period": "ever"}, {"usd": 900_000, "period": "day"}]},
        "poor": {"budgets": [{"usd": 0.02, "period": "ever"}]},
        "slow": {"requests_per_minute": 60, "tokens_per_minute": 5_000_000},
    }
    for name, terms in terms_of.items():
        ids[name], keys[name] = await endpoint.make_key(name, terms)
    await _quiet(endpoint, herd)
    sockets, tasks = await _sockets(endpoint, herd), await endpoint.metric("herdwise_tasks")
    load = Load(endpoint.url, keys, seed)
    memory: list[float] = []
    beside = [
        asyncio.create_task(herd.rotate()),
        asyncio.create_task(_reload(endpoint, seed)),
        asyncio.create_task(_weigh(endpoint, memory, seconds)),
    ]
    running = asyncio.create_task(load.run(clients))
    await asyncio.sleep(seconds / 3)
    herd.huge = False
    await asyncio.sleep(2 * seconds / 3)
    load.stopping = True
    await running
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await herd.calm()
    await _quiet(endpoint, herd)
    left = await _sockets(endpoint, herd, sockets)
    report.check("no connection is left", left <= sockets, f"{left} of {sockets}")
    _check_ends(load, report, seconds)
    report.check("no open request is left", await endpoint.metric(OPEN) == 0)
    running_tasks = await _tasks(endpoint, tasks)
    report.check("no task is left", running_tasks <= tasks, f"{running_tasks:g} of {tasks:g}")
    report.check("no upstream is still asked", not any(herd.in_flight()), list(herd.in_flight()))
    _check_memory(memory, seconds, report)
    await _check_ledger(endpoint, load, herd, report)
    await _check_money(endpoint, ids, report)
    report.figures |= {f"fault {name}": n for name, n in sorted(herd.truth.served.items())}


async def _quiet(endpoint: Endpoint, herd: Herd) -> None:
    """Until nothing is under way and no connection is kept."""
    async with asyncio.timeout(120):
        while any(herd.in_flight()) or await endpoint.metric(OPEN):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    herd.hang_up()
    await asyncio.sleep(1.5)  # a ledger's batch, a probe's round, a generation's last breath


async def _sockets(endpoint: Endpoint, herd: Herd, target: int = 0) -> int:
    """What the process holds open between two probes, which come every second."""
    fewest = endpoint.sockets()
    for _ in range(20):
        if fewest <= target:
            break
        herd.hang_up()
        await asyncio.sleep(0.15)
        fewest = min(fewest, endpoint.sockets())
    return fewest


async def _tasks(endpoint: Endpoint, target: float) -> float:
    """What its loop runs between two probes."""
    fewest = await endpoint.metric("herdwise_tasks")
    for _ in range(20):
        if fewest <= target:
            break
        await asyncio.sleep(0.15)
        fewest = min(fewest, await endpoint.metric("herdwise_tasks"))
    return fewest


async def _reload(endpoint: Endpoint, seed: int) -> None:
    draw = random.Random(seed)
    while True:
        await asyncio.sleep(RELOAD_EVERY_S)
        endpoint.write(first=draw.choice(("alpha", "beta", "gamma", "delta")), bad=draw.random() < 0.2)
        endpoint.send(Signals.SIGHUP)


async def _weigh(endpoint: Endpoint, memory: list[float], seconds: float) -> None:
    while True:
        memory.append(endpoint.resident_mb())
        await asyncio.sleep(max(0.5, seconds / 100))


def _check_memory(memory: Sequence[float], seconds: float, report: Report) -> None:
    """The median of the last sixth against that of the sixth past the middle.

    Bodies of 64 MiB come in the first third only: what the allocator keeps of them is no growth.
    """
    sixth = max(1, len(memory) // 6)
    early, late = (sorted(part)[len(part) // 2] for part in (memory[3 * sixth : 4 * sixth], memory[-sixth:]))
    report.figures["memory_mb"] = " ".join(f"{mb:.0f}" for mb in memory[:: max(1, len(memory) // 12)])
    report.figures["memory_peak_mb"] = round(max(memory))
    allowed = 1.05 * early + (30.0 if seconds < 60 else 5.0)  # a short run is all warming up
    report.check(
        "memory is flat", late <= allowed, f"{early:.0f} MB past the middle, {late:.0f} MB at the end"
    )


def _check_ends(load: Load, report: Report, seconds: float) -> None:
    bad = [ended for ended in load.ended if ended.how == "failed"]
    report.figures |= {"requests": len(load.ended), **load.counts}
    report.figures["requests_per_s"] = round(len(load.ended) / seconds, 1)
    owed = [e for e in load.ended if e.how in {"answered", "failed"}]
    share = f"{sum(e.how == 'answered' for e in owed)} of {len(owed)} that nothing entitles to an error"
    report.check("every request ends well", owed and not bad, share)
    for why, n in Counter(f"{e.question} -> {e.why}" for e in bad).most_common(12):
        report.figures[f"bad: {why}"] = n
    streams = sum(e.how == "answered" and e.question.stream for e in load.ended)
    report.figures["streams read strictly"] = streams
    report.check("streams, calls, feedback and leavers were among them", streams and load.feedback)


async def _check_ledger(endpoint: Endpoint, load: Load, herd: Herd, report: Report) -> None:
    """A row for each answer; its tokens are what the upstream that answered stated."""
    async with asyncio.timeout(60):
        while await endpoint.metric(PENDING):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    rows = {
        row[0]: row[1:]
        for row in endpoint.rows(
            "select query_id, status, candidate, returned_ask, input_tokens, output_tokens from decisions"
        )
    }
    asks: dict[str, dict[int, tuple[str, str, int | None, int | None]]] = {}
    for query_id, ask, *told in endpoint.rows(
        "select query_id, ask, candidate, status, input_tokens, output_tokens from asks"
    ):
        asks.setdefault(query_id, {})[ask] = tuple(told)
    answered = [e for e in load.ended if e.how == "answered"]
    missing = [e.decision_id for e in answered if e.decision_id not in rows]
    report.check(
        "the ledger has a row for each answer", not missing, f"{len(missing)} of {len(answered)} missing"
    )
    wrong: list[str] = []
    stated = herd.truth.stated
    for ended in answered:
        row = rows.get(ended.decision_id or "")
        if row is None or ended.said is None:
            continue
        status, candidate, returned, n_in, n_out = row
        theirs = asks[ended.decision_id or ""]
        about = f"{ended.question}: {ended.said.usage}, {row}, {theirs}"
        if status != "answered" or candidate is None or returned is None:
            wrong.append(f"status: {about}")
            continue
        for asked, how, a_in, a_out in theirs.values():
            told = a_in is not None and a_out is not None
            if how == "answered" and told and (asked, a_in, a_out) not in stated[ended.question.number]:
                wrong.append(f"an ask's tokens: {about}, {stated[ended.question.number]}")
        own = theirs[returned][2:]
        whole = (n_in, n_out) if n_in is not None and n_out is not None else own
        if ended.question.counted and ended.said.usage is None and None not in own:
            wrong.append(f"no usage, though it was stated: {about}")
        if ended.said.usage is not None and ended.said.usage not in {whole, own}:
            wrong.append(f"usage: {about}")
        if ended.said.model != candidate and not any(ended.said.model == one[0] for one in theirs.values()):
            wrong.append(f"model: {about}")
    report.figures["answers whose usage was compared"] = sum(
        e.said is not None and e.said.usage is not None for e in answered
    )
    report.check("usage is what the upstream stated", not wrong, f"{len(wrong)} of {len(answered)} are not")
    for one in wrong[:5]:
        report.figures[f"wrong: {one}"] = 1
    open_rows = sum(row[0] == "open" for row in rows.values())
    report.check("no decision stays open in the ledger", not open_rows, open_rows)
    retried = sum(len({a[0] for a in one.values()}) < len(one) for one in asks.values())
    report.figures["decisions in which a candidate was asked again"] = retried
    report.figures["decisions with a fallback"] = sum(
        len({a[0] for a in one.values()}) > 1 for one in asks.values()
    )
    _check_feedback(endpoint, load.feedback, report)


def _check_feedback(endpoint: Endpoint, given: Sequence[tuple[str, float]], report: Report) -> None:
    kept = Counter(
        (name, round(score, 6)) for name, score in endpoint.rows("select query_id, score from feedback")
    )
    lost = [one for one in given if not kept[one]]
    report.check("no acknowledged feedback is lost", not lost, f"{len(lost)} of {len(given)}")


async def _check_money(endpoint: Endpoint, ids: Mapping[str, str], report: Report) -> None:
    """What a key has spent is what the ledger says it was charged, to the billionth of a USD."""
    for name in ("rich", "poor"):
        told = await endpoint.admin("GET", f"/admin/v1/keys/{ids[name]}")
        charged = endpoint.rows("select charged_usd from decisions where key_id = ?", (ids[name],))
        total = sum(round(usd * 1e9) for (usd,) in charged if usd is not None)
        spent = {round(one["spent_usd"] * 1e9) for one in told["spending"]}
        report.check(f"the {name} key's budget is exact", spent == {total}, f"{spent} nanos, charged {total}")


async def _kill(
    endpoint: Endpoint,
    herd: Herd,
    report: Report,
    after_s: float,
    clients: int,
    seed: int,
    written_s: float,
) -> None:
    """kill -9 under load and chaos; then a new process on the same ledger."""
    load = Load(endpoint.url, {"static": STATIC, "a": STATIC, "b": STATIC, "c": STATIC}, seed)
    load.number = 10_000_000
    storm = asyncio.create_task(herd.rotate())
    running = asyncio.create_task(load.run(clients))
    await asyncio.sleep(after_s)
    killed_at = time.time()
    await endpoint.end(Signals.SIGKILL)
    load.stopping = True
    storm.cancel()
    with contextlib.suppress(aiohttp.ClientError):
        await running
    await asyncio.gather(storm, return_exceptions=True)
    await herd.calm()
    endpoint.write()
    await endpoint.start()
    kept = {row[0] for row in endpoint.rows("select query_id from decisions where status = 'answered'")}
    due = [e for e in load.ended if e.how == "answered" and e.at < killed_at - written_s]
    lost = [e for e in due if e.decision_id not in kept]
    told = f"{len(lost)} of {len(due)}"
    report.check(f"kill -9: no decision older than {written_s:g} s is lost", due and not lost, told)
    late = [e for e in load.ended if e.how == "answered" and e not in due and e.decision_id not in kept]
    report.figures["later decisions lost by kill -9"] = len(late)
    bad: list[Ended] = [e for e in load.ended if e.how == "failed" and e.at < killed_at]
    report.check("until the kill every request ends well", not bad, len(bad))
    for ended in bad[:5]:
        report.figures[f"bad: {ended.question} -> {ended.why}"] = 1
    _check_feedback(endpoint, load.feedback, report)
    after = Load(endpoint.url, {"static": STATIC, "a": STATIC, "b": STATIC, "c": STATIC}, seed)
    after.number = 20_000_000
    running = asyncio.create_task(after.run(4))
    await asyncio.sleep(1.0)
    after.stopping = True
    await running
    report.check(
        "a new process goes on with the ledger", after.counts["answered"] and not after.counts["failed"]
    )


def _check_log(endpoint: Endpoint, report: Report) -> None:
    lines = endpoint.log().splitlines()
    broken = [line for line in lines if "Traceback" in line or '"a request failed' in line]
    report.check("the log tells of no error of our own", not broken, len(broken))
    for line in broken[:3]:
        report.figures[f"log: {line[-1500:]}"] = 1
