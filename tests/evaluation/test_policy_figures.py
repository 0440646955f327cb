"""Figures of policies that look at answers, on folders with answers and on those with qualities alone."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.evaluate import evaluate
from herdwise.evaluation.report import render
from herdwise.routing.router import Router

SIZES = {"ant": 2.0, "bee": 8.0, "cat": 30.0, "owl": 70.0}
CONSULTING = ("single", "cascade", "vote", "consult")


def table(*, answers: bool, n: int = 240) -> OutcomeTable:
    """Four candidates, the larger the better; wrong answers are spread over three letters."""
    draw_from = np.random.default_rng(1)
    right = draw_from.random((n, 4)) < np.array([0.4, 0.5, 0.6, 0.75])
    truth = draw_from.choice(list("ABCD"), n)
    said = np.where(right, truth[:, None], draw_from.choice(list("ABCD"), (n, 4)))
    quality = (said == truth[:, None]).astype(float)
    m = len(SIZES)
    return OutcomeTable(
        herd=Herd(Candidate(name, params_b=b, active_params_b=b) for name, b in SIZES.items()),
        query_ids=[f"q{i}" for i in range(n)],
        texts=[f"Question {i} of {'sums' if i % 3 else 'words'}?" for i in range(n)],
        benchmarks=["sums" if i % 3 else "words" for i in range(n)],
        splits=["train" if i % 5 < 3 else "test" for i in range(n)],
        query_index=np.repeat(np.arange(n), m),
        candidate_index=np.tile(np.arange(m), n),
        sample=np.zeros(n * m, dtype=np.int64),
        values={"quality": quality.ravel()},
        answers=said.astype(object).ravel() if answers else None,
        name="letters",
    )


@pytest.fixture(scope="module")
def learned() -> Router:
    """Of the training half, answers and all."""
    return Router.fit(table(answers=True).split("train"), predictor="mean", keep_texts=False)


@pytest.fixture(scope="module")
def blind() -> Router:
    """Of the qualities alone."""
    return Router.fit(table(answers=False).split("train"), predictor="mean", keep_texts=False)


@pytest.mark.parametrize("policy", ["cascade", "vote", "consult", "route_then_check"])
def test_with_answers_every_key_is_there_and_costs_are_summed_over_those_asked(
    learned: Router, policy: str
) -> None:
    found = evaluate(
        table(answers=True), router=learned, policy=policy, reference="owl", cost="active_params"
    )
    router = found.router
    assert router.calls_per_query >= 1
    assert router.effective_params_b is not None
    assert 2.0 <= router.effective_params_b <= sum(SIZES.values())
    assert router.auroc is not None
    assert router.accuracy_at_half_coverage is not None
    if policy == "vote":  # the others may stop at one answer of one candidate, all equally sure
        assert router.auroc > 0.5
        assert router.accuracy_at_half_coverage > found.micro.router
    assert router.reference_misses_rescued is not None
    assert 0 <= router.reference_misses_rescued <= 1


@pytest.mark.parametrize("policy", ["cascade", "vote", "route_then_check"])
def test_with_qualities_alone_policies_go_by_the_predictors_confidence(blind: Router, policy: str) -> None:
    found = evaluate(table(answers=False), router=blind, policy=policy, reference="owl")
    assert found.router.calls_per_query >= 1
    assert found.router.effective_params_b is not None
    assert found.router.auroc is not None
    assert found.micro.router > 0.3


def test_consult_on_qualities_alone_is_refused_with_the_remedy(blind: Router) -> None:
    with pytest.raises(InputError, match="cascade, vote"):
        evaluate(table(answers=False), router=blind, policy="consult")


@pytest.mark.parametrize(
    ("answers", "policies"), [(True, CONSULTING), (False, ("single", "cascade", "vote"))]
)
def test_trade_offs_of_several_policies_stand_in_one_picture(
    learned: Router, blind: Router, answers: bool, policies: tuple[str, ...]
) -> None:
    router = learned if answers else blind
    found = evaluate(table(answers=answers), router=router, policies=policies, cost="active_params")
    curves = {curve.policy: curve.points for curve in found.policies}
    assert set(curves) == set(policies)
    for name, points in curves.items():
        assert points, name
        assert all(point.calls >= 1 and point.active_params_b is not None for point in points)
    if answers:
        assert max(p.quality for p in curves["vote"]) > max(p.quality for p in curves["single"]) - 0.1
        assert max(p.calls for p in curves["vote"]) == 4.0
    page = render(found)
    assert all(name in page for name in policies)
