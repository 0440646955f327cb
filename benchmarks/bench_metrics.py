"""What counting costs a request, and what a scrape costs: ``python benchmarks/bench_metrics.py``.

Three figures in microseconds: one request with one ask as ``Metrics.ended`` counts it; the same with one
object per time series of prometheus-client, labels looked up beforehand (needs prometheus-client); and the
text of GET /metrics for a herd of 33 that has served all policies.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Usage
from herdwise.core.decision import Goals
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.declared import DeclaredRouter
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.health import State
from herdwise.serving.metrics import ANSWER_BOUNDS_S, Metrics, breaker_values

_N_CANDIDATES = 33
_POLICIES = ("single", "hedge", "cascade", "vote", "direct")
_API = "/v1/chat/completions"


def _course(policy: str, position: int) -> Course:
    herd = Herd(Candidate(f"c{i}", quality=0.5, price=Price(1.0, 2.0)) for i in range(_N_CANDIDATES))
    situation = DeclaredRouter(herd).situation(Query("Hello"), Goals())
    now = time.perf_counter()
    course = Course("id", situation, policy, "auto", {}, True, {}, "declared", now)
    ask = LiveAsk(0, position, herd[position].name, {}, usage=Usage(120, 80))
    ask.status, ask.latency_s, ask.first_token_s = "answered", 0.8, 0.1
    course.asks.append(ask)
    course.finish("answered", "best", ask)
    return course


def _microseconds(work: Callable[[], object], repeats: int) -> float:
    """Median over 9 rounds."""
    rounds = []
    for _ in range(9):
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        rounds.append((time.perf_counter() - started) / repeats * 1e6)
    return statistics.median(rounds)


def _library() -> Callable[[], None]:
    """The same three counters of requests, asks and cost, two of tokens, and four histograms."""
    import prometheus_client as prometheus

    registry = prometheus.CollectorRegistry()
    counters = [
        prometheus.Counter(f"c{i}", "-", ["a", "b"], registry=registry).labels("x", "y") for i in range(5)
    ]
    histograms = [
        prometheus.Histogram(f"h{i}", "-", ["a"], buckets=ANSWER_BOUNDS_S, registry=registry).labels("x")
        for i in range(4)
    ]

    def count() -> None:
        for counter in counters:
            counter.inc(2)
        for histogram in histograms:
            histogram.observe(0.8)

    return count


def main() -> None:
    """Print the figures."""
    metrics = Metrics()
    metrics.gauge("herdwise_breaker_state", "-", ("candidate", "state"), lambda: breaker_values(states))
    states: list[tuple[str, State]] = [(f"c{i}", "closed") for i in range(_N_CANDIDATES)]
    for position in range(_N_CANDIDATES):
        for policy in _POLICIES:
            metrics.ended(_API, _course(policy, position), 200)
    course = _course("single", 3)
    print(f"count one request      {_microseconds(lambda: metrics.ended(_API, course, 200), 20_000):8.2f} us")
    print(f"the same, by library   {_microseconds(_library(), 20_000):8.2f} us")
    whole = asyncio.run(metrics.text())
    told = _microseconds(lambda: asyncio.run(metrics.text()), 20)
    print(f"text of GET /metrics   {told:8.0f} us, {len(whole)} bytes, {len(whole.splitlines())} lines")


if __name__ == "__main__":
    main()
