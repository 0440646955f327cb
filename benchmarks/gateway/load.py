"""wrk: so many connections for so long, each request another question."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from gateway.processes import OTHER_CORE, Running
from gateway.upstream import N_CHUNKS

_SCRIPT = Path(__file__).with_name("chat.lua")


@dataclass(frozen=True, slots=True)
class Target:
    """Where load goes.

    Args:
        name: for people.
        port: of 127.0.0.1.
        model: as requests name it.
        key: sent as a bearer token.
        process: what is measured; None = nobody.
    """

    name: str
    port: int
    model: str = "bench"
    key: str = "none"
    process: Running | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk found.

    Args:
        n: requests (or whole streams).
        per_s: of them per second.
        p50_ms, p99_ms: of one.
        errors: connections that failed, and answers that are no 2xx.
        cpu_us: processor time of the gateway for one; NaN where nobody was measured.
    """

    n: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float


def run_load(target: Target, *, connections: int, seconds: float, stream: bool = False) -> Load:
    """Ask as fast as so many connections can."""
    env = {
        **os.environ,
        "GATEWAY_MODEL": target.model,
        "GATEWAY_KEY": target.key,
        "GATEWAY_STREAM": "true" if stream else "false",
    }
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    command = ["taskset", "-c", str(OTHER_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    cpu_s = 0.0 if target.process is None else target.process.cpu_s()
    done = subprocess.run(
        [*command, "--timeout", "20s", "-s", str(_SCRIPT), url],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    used_s = float("nan") if target.process is None else target.process.cpu_s() - cpu_s
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    told = json.loads(line.removeprefix("RESULT "))
    return Load(
        n=told["requests"],
        per_s=told["requests"] / (told["duration_us"] / 1e6),
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        errors=told["errors"],
        cpu_us=used_s / max(told["requests"], 1) * 1e6,
    )


def check(target: Target, *, stream: bool) -> None:
    """One request, whose answer is looked at.

    Raises:
        ValueError: when it is not the upstream's.
    """
    body = {
        "model": target.model,
        "messages": [{"role": "user", "content": "Is it there?"}],
        "stream": stream,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {target.key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        text = response.read().decode()
    if not stream:
        if "gateway adds a little" not in json.loads(text)["choices"][0]["message"]["content"]:
            raise ValueError(f"{target.name} answered {text[:300]}")
        return
    events = [line for line in text.splitlines() if line.startswith("data: ")]
    # A gateway keeps usage that nobody asked for to itself, and may leave out what says nothing.
    if len(events) < N_CHUNKS - 3 or events[-1] != "data: [DONE]":
        raise ValueError(f"{target.name} streamed {len(events)} events, the last {events[-1:]}")
