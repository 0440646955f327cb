"""How long one decision takes: encode, predict, set the scene, first Step; nothing is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise.core.decision import Goals
from herdwise.core.query import Query
from herdwise.routing.base import Policy
from herdwise.routing.ranker import Ranker, opening

#: Queries timed at most, spread evenly over those given.
MAX_TIMED = 500
_WARM_UP = 20


def decision_times_us(
    ranker: Ranker, policy: Policy, queries: Sequence[Query], goals: Goals
) -> tuple[float, float]:
    """Median and 99th percentile in microseconds over single queries, one by one, after a warm-up.

    On one core: numpy's threads cost more than they bring for one query, and tell of the machine's load.
    """
    chosen = np.unique(np.linspace(0, len(queries) - 1, min(len(queries), MAX_TIMED)).astype(int))
    timed = [queries[i] for i in chosen.tolist()]

    def decide(query: Query) -> None:
        policy.step(opening(ranker, policy, query, goals, ranker.estimate_one(query)))

    taken: list[float] = []
    with threadpool_limits(limits=1):
        for query in timed[:_WARM_UP]:
            decide(query)
        for query in timed:
            started = time.perf_counter_ns()
            decide(query)
            taken.append((time.perf_counter_ns() - started) / 1e3)
    p50, p99 = np.percentile(taken, [50, 99])
    return float(p50), float(p99)
