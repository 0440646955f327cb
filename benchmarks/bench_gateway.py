"""Gateways side by side: what each adds to a call, on one core.

    python benchmarks/bench_gateway.py [--quick] [--soak] [--requests N] [--json]
        [--only chat,stream,paced,soak]

The gateway is pinned to one core (taskset -c 0), wrk and an nginx upstream that answers at once to another;
a different question in every request. Ours routes by what was learned from the shipped outcomes of 33
candidates, with ledger, metrics and key check on and no cache; LiteLLM's proxy and sglang-router come from
PyPI, each in an environment of its own under --cache. All stand at the same time and are asked in turns, so
take the ratios. Linux with two cores or more, wrk and nginx (Debian: apt install wrk nginx-light).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.contenders import OURS, cores, install, ours, standing, train
from gateway.load import Load, Target, check, run_load
from gateway.paced import Paced, paced_upstream, run_paced
from gateway.processes import OTHER_CORE
from gateway.soak import draw_soak, run_soak, soaks
from gateway.upstream import N_CHUNKS, nginx_upstream

PARTS = ("chat", "stream", "paced")
DIRECT = "upstream itself"
SOAK_REQUESTS = 400_000


def side_by_side(
    folder: Path,
    cache: Path,
    router: Path,
    missing: dict[str, str],
    *,
    stream: bool,
    rounds: int,
    seconds: float,
) -> dict[str, dict[str, Any]]:
    """Name -> medians over rounds in which all were asked in turns."""
    upstream, port = nginx_upstream(folder / f"upstream-{stream}", stream=stream, core=OTHER_CORE)
    plans = {"load": 16} if stream else {"alone": 1, "load": 32}
    found: dict[str, dict[str, list[Load]]] = {}
    rows: dict[str, dict[str, Any]] = {}
    with upstream:
        upstream.wait_for(f"http://127.0.0.1:{port}/health", 10)
        with standing(folder / f"gateways-{stream}", cache, router, port, missing) as targets:
            everybody = [Target(DIRECT, port), *targets]
            for target in everybody:
                check(target, stream=stream)
                rows[target.name] = {"start_mb": target.process.memory_mb() if target.process else math.nan}
                run_load(target, connections=16, seconds=min(seconds, 2.0), stream=stream)  # warm
            for _ in range(rounds):
                for target in everybody:
                    for plan, connections in plans.items():
                        load = run_load(target, connections=connections, seconds=seconds, stream=stream)
                        found.setdefault(target.name, {}).setdefault(plan, []).append(load)
            for target in everybody:
                row = rows[target.name]
                row["end_mb"] = target.process.memory_mb() if target.process else math.nan
                for plan, loads in found[target.name].items():
                    row[plan] = _median(loads)
    for row in rows.values():
        if "alone" in row:
            row["added_p50_ms"] = row["alone"]["p50_ms"] - rows[DIRECT]["alone"]["p50_ms"]
    return rows


def _median(loads: list[Load]) -> dict[str, float]:
    told = [asdict(load) for load in loads]
    found = {name: statistics.median(one[name] for one in told) for name in told[0]}
    return found | {"errors": sum(one["errors"] for one in told)}


def paced(folder: Path, router: Path, rates: list[float], streams: int, seconds: float) -> list[Paced]:
    """Streams at rising rates, straight at the upstream and through ours, until some are late or dropped."""
    upstream, port = paced_upstream(folder)
    found: list[Paced] = []
    with upstream:
        upstream.wait_for(f"http://127.0.0.1:{port}/", 10)
        running, target = ours(folder / "paced", router, port)
        with running:
            running.wait_for(f"http://127.0.0.1:{target.port}/readyz", 60)
            for rate in rates:
                found += [
                    run_paced(one, streams=streams, per_s=rate, seconds=seconds)
                    for one in (Target(DIRECT, port), target)
                ]
                if found[-1].dropped or found[-1].gap_p99_ms > 20:
                    break
    return found


def draw(told: dict[str, Any]) -> None:
    """The tables."""
    for part, title in (
        ("chat", "whole answers"),
        ("stream", f"streams of {N_CHUNKS} chunks, 16 connections"),
    ):
        rows = told.get(part)
        if not rows:
            continue
        print(f"\n{title}")
        heads = ["req/s at 32", "p99 ms", "p50 added ms at 1"] if part == "chat" else ["streams/s", "p99 ms"]
        peers = [name for name in ("litellm", "sglang-router") if name in rows]
        heads += ["CPU us each", "MB start", "MB end", *(f"x {name}" for name in peers), "errors"]
        print("".join([f"{'':17}", *(f"{head:>{len(head) + 3}}" for head in heads)]))
        for name, row in rows.items():
            load = row["load"]
            numbers = [f"{load['per_s']:.0f}", f"{load['p99_ms']:.1f}"]
            numbers += [f"{row['added_p50_ms']:.3f}"] if part == "chat" else []
            numbers += [f"{load['cpu_us']:.0f}", f"{row['start_mb']:.0f}", f"{row['end_mb']:.0f}"]
            numbers += [f"{load['per_s'] / rows[peer]['load']['per_s']:.2f}" for peer in peers]
            numbers += [f"{sum(one['errors'] for one in row.values() if isinstance(one, dict)):.0f}"]
            print(f"{name:17}" + "".join(f"{n:>{len(h) + 3}}" for n, h in zip(numbers, heads, strict=True)))
    for name, why in told["left_out"].items():
        print(f"left out: {name}: {why}")
    if told.get("paced"):
        print(f"\n{told['paced'][0]['streams']} open streams")
        heads = ["chunks/s", "dropped", "gap p50", "gap p99", "way p50", "way p99", "CPU us"]
        print(f"{'':17}" + "".join(f"{head:>9}" for head in heads) + "   (ms; of one chunk)")
        for one in told["paced"]:
            print(
                f"{one['name']:17}{one['chunks_per_s']:9.0f}{one['dropped']:9}{one['gap_p50_ms']:9.2f}"
                f"{one['gap_p99_ms']:9.2f}{one['way_p50_ms']:9.2f}{one['way_p99_ms']:9.2f}{one['cpu_us']:9.0f}"
            )
    for one in told.get("soak", []):
        draw_soak(one)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--soak", action="store_true", help="memory under load that goes on too")
    parser.add_argument("--requests", type=int, default=SOAK_REQUESTS, help="of the soak's first part")
    parser.add_argument("--only", default="", help="some of chat, stream, paced, soak; comma-separated")
    parser.add_argument("--without", default="", help="gateways to leave out; comma-separated")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "herdwise-bench-gateway")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    absent = [program for program in ("wrk", "nginx", "taskset") if shutil.which(program) is None]
    if absent or cores() < 2:
        raise SystemExit(
            f"needs two cores and {', '.join(absent) or 'no more'} (apt install wrk nginx-light)."
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    parts = [part for part in options.only.split(",") if part] or [
        *PARTS,
        *(["soak"] if options.soak else []),
    ]
    rounds, seconds = (1, 2.0) if options.quick else (3, 4.0)
    options.cache.mkdir(parents=True, exist_ok=True)
    left_out = {name: "--without" for name in options.without.split(",") if name}
    if {"chat", "stream"} & set(parts):
        left_out |= {k: v for k, v in install(options.cache).items() if k not in left_out}
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        router = train(folder)
        for part in ("chat", "stream"):
            if part in parts:
                told[part] = side_by_side(
                    folder,
                    options.cache,
                    router,
                    left_out,
                    stream=part == "stream",
                    rounds=rounds,
                    seconds=seconds,
                )
        if "paced" in parts:
            rates = [5_000.0] if options.quick else [5_000.0, 7_500.0, 10_000.0, 15_000.0]
            seconds = 4.0 if options.quick else 8.0
            told["paced"] = [asdict(one) for one in paced(folder, router, rates, 1_000, seconds)]
        if "soak" in parts:
            told["soak"] = [
                run_soak(kind, folder / f"soak-{i}", router) for i, kind in enumerate(soaks(options.requests))
            ]
    told["left_out"] = left_out
    if options.json:
        print(json.dumps({"ours": OURS, **told}))
    else:
        draw(told)


if __name__ == "__main__":
    main()
