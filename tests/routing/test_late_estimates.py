"""What a call takes is worked out when somebody asks for it, and comes to what a batch says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, OutcomeTable, Query, Router
from herdwise.core.decision import TAKEN
from herdwise.core.money import FREE, UNKNOWN_PRICE, Price
from herdwise.prediction.resources import ResourcePredictor

QUERY = Query("which poem of the twelve is about the prime numbers", chars=700)
NAMES = ("ant", "bee", "cat", "dog")


def make_table(kinds: tuple[str, ...]) -> OutcomeTable:
    rng, n, m = np.random.default_rng(0), 120, len(NAMES)
    query, candidate = np.divmod(np.arange(m * n), m)
    values = {"quality": rng.integers(0, 2, m * n).astype(np.float64)}
    values |= {kind: rng.lognormal(1.0, 0.5, m * n) for kind in kinds}
    return OutcomeTable(
        herd=Herd(
            Candidate(name, price=Price(0.5 + i, 2.0 * i)) if i < 3 else Candidate(name)
            for i, name in enumerate(NAMES)
        ),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[" ".join(rng.choice(["poem", "prime", "sum", "rhyme"], 4)) + f" {i}" for i in range(n)],
        benchmarks=["made"] * n,
        splits=["train"] * n,
        query_index=query.astype(np.int32),
        candidate_index=candidate.astype(np.int32),
        sample=np.zeros(m * n, dtype=np.int32),
        values=values,
        name="made",
    )


def as_learned(herd: Herd) -> Herd:
    return herd


def repriced(herd: Herd) -> Herd:
    return Herd(c.replace(price=Price(0.1 + i, 0.2 * i)) for i, c in enumerate(herd))


def partly(herd: Herd) -> Herd:
    prices = (FREE, Price(3.0, 1.0), None, UNKNOWN_PRICE)
    return Herd(c if p is None else c.replace(price=p) for c, p in zip(herd, prices, strict=True))


def turned(herd: Herd) -> Herd:
    return Herd([*herd][::-1])


@pytest.mark.parametrize("kinds", [(), ("output_tokens",), ("cost_usd", "output_tokens", "latency_s")])
@pytest.mark.parametrize("change", [as_learned, repriced, partly, turned])
def test_one_candidates_cost_is_that_of_everybodys_and_of_a_batch(
    kinds: tuple[str, ...], change: Callable[[Herd], Herd]
) -> None:
    router = Router.fit(make_table(kinds), predictor="mean")
    router = router.adapt(change(router.herd))
    alone = [router.estimate_one(QUERY).cost_usd_of(place) for place in range(len(NAMES))]
    one, batch = router.estimate_one(QUERY), router.estimate([QUERY]).row(0)
    np.testing.assert_allclose(alone, one.cost_usd, rtol=1e-5)
    for kind in TAKEN:
        np.testing.assert_allclose(getattr(one, kind), getattr(batch, kind), rtol=1e-5)
    assert one.cost_usd_of(1) == one.cost_usd[1] or np.isnan(one.cost_usd[1])


def test_where_only_quality_counts_nobodys_cost_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router.fit(make_table(TAKEN), predictor="mean")
    asked: list[Any] = []
    plain = ResourcePredictor.predict_one

    def counted(self: ResourcePredictor, *args: Any) -> Any:
        asked.append(args)
        return plain(self, *args)

    monkeypatch.setattr(ResourcePredictor, "predict_one", counted)
    situation = router.situation(QUERY, Goals())
    assert situation.estimates.cost_usd_of(0) > 0
    assert not asked
    router.situation(QUERY, Goals(cost_weight=1.0))
    assert len(asked) == 1
    late = situation.estimates
    assert (late.latency_s > 0).all()
    assert (late.output_tokens > 0).all()
    assert len(asked) == 2


def test_late_estimates_are_values_like_others() -> None:
    late = Router.fit(make_table(TAKEN), predictor="mean").estimate_one(QUERY)
    other = dataclasses.replace(late, quality=np.zeros(len(NAMES)))
    assert np.array_equal(other.cost_usd, late.cost_usd)
    assert "cost_usd=array" in repr(late)
    with pytest.raises(AttributeError):
        _ = late.nothing  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        late.cost_usd = late.quality  # type: ignore[misc]
