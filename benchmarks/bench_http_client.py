"""What reaching a candidate costs: our client (aiohttp) and a bare httpx, against a real local server.

    python benchmarks/bench_http_client.py [--seconds 3] [--json]

Server and clients share the machine, so take the ratios, and CPU per call, rather than calls per second.
The server is tests/faulty_upstream.py in a process of its own, behaving well; the loop is uvloop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import uvloop

from herdwise.backends.openai_compatible import OpenAICompatible

UPSTREAM = Path(__file__).parent.parent / "tests" / "faulty_upstream.py"
BODY = {"model": "m", "messages": [{"role": "user", "content": "word " * 50}]}


async def measure(call: Callable[[], Awaitable[None]], connections: int, seconds: float) -> dict[str, float]:
    """Calls per second, median seconds and CPU seconds per call, after a warm-up of a fifth of the time."""
    taken: list[float] = []

    async def worker(until: float) -> None:
        while time.perf_counter() < until:
            started = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - started)

    async def run(duration: float) -> None:
        until = time.perf_counter() + duration
        await asyncio.gather(*(worker(until) for _ in range(connections)))

    await run(seconds / 5)
    taken.clear()
    started, cpu = time.perf_counter(), time.process_time()
    await run(seconds)
    return {
        "calls_per_s": len(taken) / (time.perf_counter() - started),
        "p50_ms": statistics.median(taken) * 1e3,
        "cpu_us_per_call": (time.process_time() - cpu) / len(taken) * 1e6,
    }


async def bench(base_url: str, seconds: float) -> dict[str, dict[str, float]]:
    """All rows, by name."""
    ours = OpenAICompatible("c", base_url, "m")
    theirs = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=64))

    async def whole() -> None:
        await ours.complete(BODY)

    async def stream() -> None:
        async for _ in ours.stream(BODY):
            pass

    async def bare() -> None:
        content = json.dumps(BODY)
        headers = {"Content-Type": "application/json"}
        (await theirs.post(f"{base_url}/chat/completions", content=content, headers=headers)).json()

    plan: list[tuple[str, Callable[[], Awaitable[None]], int]] = [
        ("ours, whole, 1 connection", whole, 1),
        ("ours, whole, 32 connections", whole, 32),
        ("ours, stream of 55 events, 16 connections", stream, 16),
        ("httpx, whole, 1 connection", bare, 1),
        ("httpx, whole, 32 connections", bare, 32),
    ]
    try:
        return {name: await measure(call, n, seconds) for name, call, n in plan}
    finally:
        await ours.close()
        await theirs.aclose()


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="per row")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    command = [sys.executable, str(UPSTREAM), "--model", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream:
        try:
            assert upstream.stdout is not None  # noqa: S101 - it is a pipe
            base_url = upstream.stdout.readline().split()[1]
            rows: dict[str, Any] = uvloop.run(bench(base_url, options.seconds))
        finally:
            upstream.terminate()
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'':44}{'calls/s':>10}{'p50 ms':>10}{'CPU us/call':>14}")
    for name, row in rows.items():
        print(f"{name:44}{row['calls_per_s']:10.0f}{row['p50_ms']:10.2f}{row['cpu_us_per_call']:14.0f}")


if __name__ == "__main__":
    main()
