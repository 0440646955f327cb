"""The operating point: how much cost can be saved at a quality, chosen on training rows alone."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, OutcomeTable
from herdwise.core.errors import InputError
from herdwise.evaluation.operating import LeftOut, choose, operating_point


def rows(n: int = 2000, told: bool = True, seed: int = 0) -> LeftOut:
    """Candidate 0 is dear and right 90%. Candidate 1 is nearly as good on half of the queries, bad elsewhere.

    ``told`` says whether the predictions know which half; else they are noise about the mean.
    """
    rng = np.random.default_rng(seed)
    easy = rng.random(n) < 0.5
    chance = np.stack([np.full(n, 0.9), np.where(easy, 0.895, 0.3)], axis=1)
    foretold = chance if told else np.stack([chance[:, 0], 0.6 + rng.normal(0, 0.15, n)], axis=1)
    cost = np.tile([10.0, 1.0], (n, 1))
    return LeftOut(foretold, cost, (rng.random((n, 2)) < chance).astype(np.float64), cost, best_single=0)


def test_cost_is_saved_where_the_cheap_candidate_is_known_to_be_as_good() -> None:
    point = choose(rows(), "usd", max_loss=0.02)
    assert point.saving == pytest.approx(0.45, abs=0.05)
    assert point.loss <= 0.02


def test_what_was_chosen_does_on_fresh_rows_what_it_promised() -> None:
    point = choose(rows(), "usd", max_loss=0.02)
    fresh = rows(seed=1)
    pick = fresh.picks(point.cost_weight, point.leave_margin)
    at = np.arange(len(pick))
    loss = fresh.quality[:, 0].mean() - fresh.quality[at, pick].mean()
    assert loss == pytest.approx(point.loss, abs=0.02)
    assert 1 - fresh.cost[at, pick].mean() / 10.0 == pytest.approx(point.saving, abs=0.05)


def test_where_predictions_are_noise_little_is_saved() -> None:
    assert choose(rows(told=False), "usd", max_loss=0.01).saving < 0.06


def test_more_may_be_saved_at_a_greater_loss() -> None:
    hard = rows(told=False)
    assert choose(hard, "usd", max_loss=0.1).saving > choose(hard, "usd", max_loss=0.01).saving


def test_goals_take_the_weight_and_the_margin_over() -> None:
    point = choose(rows(), "usd", max_loss=0.02)
    goals = point.goals(Goals(max_calls=3))
    assert (goals.cost_kind, goals.cost_weight, goals.leave_margin, goals.max_calls) == (
        "usd",
        point.cost_weight,
        point.leave_margin,
        3,
    )


def outcome_table(n: int = 400, seed: int = 0) -> OutcomeTable:
    """Two candidates on easy and hard questions; the cheap one fails the hard ones."""
    rng = np.random.default_rng(seed)
    easy = rng.random(n) < 0.5
    chance = np.stack([np.full(n, 0.95), np.where(easy, 0.95, 0.1)], axis=1)
    words = [["add", "two", "small", "numbers"], ["prove", "the", "deep", "theorem"]]
    return OutcomeTable(
        herd=Herd([Candidate("dear"), Candidate("cheap")]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"{' '.join(rng.choice(words[int(not e)], 5))} {i}" for i, e in enumerate(easy)],
        benchmarks=["made"] * n,
        splits=["train"] * n,
        query_index=np.repeat(np.arange(n, dtype=np.int32), 2),
        candidate_index=np.tile(np.arange(2, dtype=np.int32), n),
        sample=np.zeros(2 * n, dtype=np.int32),
        values={
            "quality": (rng.random((n, 2)) < chance).astype(np.float64).ravel(),
            "cost_usd": np.tile([0.01, 0.001], n),
        },
        name="made",
    )


def test_a_table_gives_a_point_by_routers_that_have_not_seen_its_rows() -> None:
    point = operating_point(outcome_table(), max_loss=0.02)
    assert point.saving > 0.25
    assert point.cost_weight > 0


def test_costs_that_are_not_on_record_are_named() -> None:
    with pytest.raises(InputError, match="0 queries have quality and latency"):
        operating_point(outcome_table(), max_loss=0.02, kind="latency")
