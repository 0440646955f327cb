"""What a served answer tells of the decision: parts that add up, the interval, quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.outcomes import OutcomeTable
from herdwise.routing.router import Router


@pytest.fixture(scope="module")
def router() -> Router:
    """Learned for the endpoint's two candidates; their latencies vary."""
    rng, n = np.random.default_rng(0), 120
    sums = rng.random(n) < 0.5
    right = rng.random((n, 2)) < np.where(sums[:, None], [0.3, 0.9], [0.9, 0.3])
    query, candidate = np.divmod(np.arange(2 * n), 2)
    return Router.fit(
        OutcomeTable(
            herd=Herd([Candidate("large"), Candidate("small")]),
            query_ids=[str(i) for i in range(n)],
            texts=[f"the sum of {i} and {i + 1}" if s else f"a poem on lake {i}" for i, s in enumerate(sums)],
            benchmarks=["t"] * n,
            splits=[None] * n,
            query_index=query.astype(np.int32),
            candidate_index=candidate.astype(np.int32),
            sample=np.zeros(2 * n, dtype=np.int32),
            values={
                "quality": right.reshape(-1).astype(np.float64),
                "latency_s": rng.lognormal(0.0, 0.5, 2 * n),
            },
        )
    )


async def test_the_explanation_of_an_answer_adds_up(endpoint: Any, router: Router) -> None:
    e = await endpoint(ranker=router)
    reply = await e.chat(
        "the sum of 3 and 4",
        headers={"x-herdwise-explain": "1", "x-herdwise-limit-probability": "0.9"},
        herdwise={"max_latency_s": 60},
    )
    told = reply.json["herdwise"]
    assert told["limit_probability"] == 0.9
    assert told["neighbours"]
    for score in told["scores"]:
        assert sum(score["parts"].values()) == pytest.approx(score["quality"], abs=1e-5)
        low, high = score["quality_interval"]
        assert low <= score["quality"] <= high
        levels = score["at_most"]["latency_s"]
        assert levels["0.1"] < levels["0.5"] < levels["0.9"]


async def test_a_limit_that_nobody_keeps_with_the_stated_probability_is_refused(
    endpoint: Any, router: Router
) -> None:
    e = await endpoint(ranker=router)
    refused = await e.chat("a poem", herdwise={"max_latency_s": 0.01, "limit_probability": 0.95})
    assert refused.status == 422
    assert "predicted latency_s (0.95 quantile)" in refused.json["error"]["message"]
