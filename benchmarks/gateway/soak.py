"""Whether memory stands still under load that goes on: what is resident, and the slope of its last half."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.contenders import ours
from gateway.load import check, run_load
from gateway.processes import OTHER_CORE, Memory
from gateway.upstream import nginx_upstream

#: So often memory is looked at; a line is printed for every so many requests.
_LEG_S, _TOLD_EVERY = 5.0, 20_000
#: Student's t for a two-sided interval of 95%, by degrees of freedom; past the last, the normal's.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 8: 2.31, 10: 2.23, 15: 2.13, 20: 2.09, 30: 2.04}
#: A cache that is full after some 15,000 answers, so that they come and go.
_CACHE = "cache: {kind: exact, max_mb: 16}"


@dataclass(frozen=True, slots=True)
class Soak:
    """One kind of load.

    Args:
        name: for people.
        requests: how many.
        stream: whether answers are streamed.
        extra: further lines of the config.
    """

    name: str
    requests: int
    stream: bool = False
    extra: str = ""


def soaks(requests: int) -> list[Soak]:
    """Whole answers; then fewer of them streamed, and with a cache that every answer enters."""
    return [
        Soak("whole answers", requests),
        Soak("streams", requests // 4, stream=True),
        Soak("whole answers, all kept by a cache of 16 MB", requests // 4, extra=_CACHE),
    ]


def run_soak(kind: Soak, folder: Path, router: Path) -> dict[str, Any]:
    """Ask on 32 connections until so many requests are answered.

    Returns:
        ``samples``: after each leg the requests so far and the MiB of ``Memory``; ``slope``: of the last half
        (see ``slope``); ``range_mb``: most less least resident in it.
    """
    upstream, port = nginx_upstream(folder / "upstream", stream=kind.stream, core=OTHER_CORE)
    with upstream:
        upstream.wait_for(f"http://127.0.0.1:{port}/health", 30)
        running, target = ours(folder / "ours", router, port, kind.extra)
        with running:
            running.wait_for(f"http://127.0.0.1:{target.port}/readyz", 120)
            check(target, stream=kind.stream)
            answered = 0.0
            samples = [_sample(answered, running.memory())]
            while answered < kind.requests:
                load = run_load(target, connections=32, seconds=_LEG_S, stream=kind.stream)
                if load.errors:
                    raise SystemExit(f"{load.errors} requests failed: {running.last_words()}")
                answered += load.n
                samples.append(_sample(answered, running.memory()))
    last = [one for one in samples if one["requests"] >= answered / 2]
    told = [one["resident_mb"] for one in last]
    return {
        "name": kind.name,
        "samples": samples,
        "slope": slope([one["requests"] for one in last], told),
        "range_mb": max(told) - min(told),
    }


def _sample(requests: float, memory: Memory) -> dict[str, float]:
    return {"requests": requests, **asdict(memory)}


def slope(requests: list[float], resident_mb: list[float]) -> dict[str, float]:
    """MiB per 100,000 requests by least squares, with its interval of 95%; NaN with fewer than three.

    The interval takes what is off the line for independent; steps are not, so that it is rather too narrow.
    """
    n, x, y = len(requests), np.array(requests) / 100_000, np.array(resident_mb)
    if n < 3:
        return {"mb_per_100k": math.nan, "low": math.nan, "high": math.nan}
    away = x - x.mean()
    found = float(away @ y / (away @ away))
    off = y - y.mean() - found * away
    error = math.sqrt(float(off @ off) / (n - 2) / float(away @ away))
    t = next((_T[df] for df in sorted(_T, reverse=True) if df <= n - 2), 1.96)
    return {"mb_per_100k": found, "low": found - t * error, "high": found + t * error}


def draw_soak(told: dict[str, Any]) -> None:
    """The table."""
    print(f"\nmemory: {told['name']} (MiB)")
    print(f"{'requests':>12}{'resident':>10}{'PSS':>10}{'anonymous':>11}")
    due = 0.0
    for one in told["samples"]:
        if one["requests"] >= due or one is told["samples"][-1]:
            due = (one["requests"] // _TOLD_EVERY + 1) * _TOLD_EVERY
            print(
                f"{one['requests']:12,.0f}{one['resident_mb']:10.1f}"
                f"{one['proportional_mb']:10.1f}{one['anonymous_mb']:11.1f}"
            )
    found = told["slope"]
    print(
        f"slope of the last half: {found['mb_per_100k']:+.2f} MiB per 100,000 requests"
        f" ({found['low']:+.2f} to {found['high']:+.2f}); most less least in it {told['range_mb']:.1f}"
    )
