"""Replay of several samples of one candidate, of signals, and of what no record can answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.core.query import Query
from herdwise.evaluation.evaluate import evaluate
from herdwise.evaluation.recorded import records_of
from herdwise.evaluation.replay import Records, replay
from herdwise.routing.base import Situation
from herdwise.routing.cascade import Cascade
from herdwise.routing.merge import Merge
from herdwise.routing.router import Router
from herdwise.routing.self_consistency import SelfConsistency
from herdwise.routing.single import Single


def sampled(n: int = 60, samples: int = 5) -> OutcomeTable:
    """Two candidates, several samples each: ``ant`` says "A" in three of five, and A is right."""
    from herdwise.core.candidate import Candidate, Herd

    said = {"ant": ["B", "A", "A", "C", "A"], "bee": ["D", "D", "A", "D", "D"]}
    rows = [(i, j, s) for i in range(n) for j in range(2) for s in range(samples)]
    answers = [said[("ant", "bee")[j]][s] for _, j, s in rows]
    return OutcomeTable(
        herd=Herd([Candidate("ant", active_params_b=7.0), Candidate("bee", active_params_b=1.0)]),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"question number {i}" for i in range(n)],
        benchmarks=["b"] * n,
        splits=["train" if i % 2 else "test" for i in range(n)],
        query_index=np.array([i for i, _, _ in rows], dtype=np.int32),
        candidate_index=np.array([j for _, j, _ in rows], dtype=np.int32),
        sample=np.array([s for _, _, s in rows], dtype=np.int32),
        values={"quality": np.array([float(a == "A") for a in answers])},
        answers=np.array(answers, dtype=object),
        name="samples",
    )


def test_the_samples_of_a_candidate_are_heard_in_turn_and_the_commonest_is_returned() -> None:
    found = evaluate(sampled(), policy=SelfConsistency(samples=5, candidate="ant"), predictor="mean")
    assert found.micro.router == 1.0, "its own samples' quality, not the mean of all five"
    assert found.router.calls_per_query == 5.0
    assert found.router.effective_params_b == 35.0
    assert found.best_single.quality == pytest.approx(0.6)


def test_of_fewer_samples_the_first_ones_count() -> None:
    assert (
        evaluate(sampled(), policy=SelfConsistency(1, candidate="ant"), predictor="mean").micro.router == 0.0
    )
    assert (
        evaluate(sampled(), policy=SelfConsistency(3, candidate="ant"), predictor="mean").micro.router == 1.0
    )
    assert evaluate(sampled(), policy=Single(), predictor="mean").micro.router == 0.0


def test_samples_that_were_not_recorded_are_said_to_be_missing(make_outcomes: Callable[..., Any]) -> None:
    once = sampled(samples=1)
    with pytest.raises(InputError, match="--samples 5"):
        evaluate(once, policy=SelfConsistency(), predictor="mean")


def test_a_sample_that_a_pair_lacks_was_not_run() -> None:
    table = sampled(n=4)
    router = Router.fit(table, predictor="mean", keep_texts=False)
    unknown = np.full((4, 2), np.nan)
    records = records_of(table.take(np.array([0])), router, "quality", unknown[:1], unknown[:1])
    assert len(records.again) == 4
    records.again[3].ran[:] = False
    policy = SelfConsistency(samples=5, candidate="ant")
    course = replay(policy, lambda _row: router.situation(Query("question number 0"), _goals()), records)
    assert course.calls.tolist() == [5]
    assert course.quality(table.matrix()).tolist() == [1.0]
    assert records.of_ask(5) is None


def test_a_policy_that_asks_with_messages_of_its_own_cannot_be_replayed() -> None:
    with pytest.raises(InputError, match="cannot be replayed"):
        evaluate(sampled(), policy=Merge("ant"), predictor="mean")


def test_evidence_of_signals_decides_in_replay_as_it_does_live(make_outcomes: Callable[..., Any]) -> None:
    table = make_outcomes({"ant": [1.0], "bee": [1.0]}, answers={"ant": ["A"], "bee": ["A"]})
    router = Router.fit(table, predictor="mean", keep_texts=False)
    opening = _opening(router, (0.75, 0.9))
    unknown = np.full((1, 2), np.nan)

    def calls(evidence: float) -> float:
        answers = np.array([["A", "A"]], dtype=object)
        told = Records(np.ones((1, 2), bool), answers, unknown, unknown, np.array([[0.0, evidence]]))
        return float(replay(Cascade(0.7, "utility"), lambda _row: opening, told).calls[0])

    assert calls(0.0) == 1.0
    assert calls(-1.5) == 2.0


def _goals() -> Any:
    from herdwise.core.decision import Goals

    return Goals()


def _opening(router: Router, quality: tuple[float, float]) -> Situation:
    from dataclasses import replace

    situation = router.situation(Query("q"), _goals())
    q = np.array(quality)
    return replace(situation, estimates=replace(situation.estimates, quality=q), utility=q)
