"""The protocol of docs/decisions/0005 on tables computed by hand."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from herdwise.core.decision import Constraints, Goals
from herdwise.core.errors import (
    ConfigError,
    HerdMismatchError,
    InputError,
    NoCandidateError,
    UnknownCostError,
    UnknownNameError,
)
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.evaluate import evaluate
from herdwise.evaluation.figures import Evaluation
from herdwise.routing.base import Ask, Finish, Policy, Situation, Step, Wait
from herdwise.routing.router import Router

Make = Callable[..., OutcomeTable]


class AsTold(Policy):
    """Asks the candidates that the query's text names, in that order; returns the last answer."""

    name: ClassVar[str] = "as_told"

    def step(self, situation: Situation) -> Step:
        wanted = [situation.herd.index(w) for w in situation.query.text.split() if w in situation.herd]
        if situation.in_flight:
            return Wait()
        if len(situation.answers) < len(wanted):
            return Ask((wanted[len(situation.answers)],))
        return Finish(situation.answers[-1].ask, "as told") if wanted else Finish(None, "told nobody")


def run(table: OutcomeTable, **options: Any) -> Evaluation:
    chosen: dict[str, Any] = {"policy": AsTold(), "predictor": "mean", **options}
    return evaluate(table, **chosen)


@pytest.fixture
def table(make_outcomes: Make) -> OutcomeTable:
    """Four training and four test queries on two benchmarks; a is best in training, b in test.

    The texts tell the policy: b, a, b, then a and b both.
    """
    return make_outcomes(
        {
            "a": [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            "b": [0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0],
            "c": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        },
        split=["train"] * 4 + ["test"] * 4,
        benchmark=["x", "x", "y", "y", "x", "y", "y", "y"],
        text=["one", "two", "three", "four", "ask b", "ask a", "ask b again", "ask a b"],
        candidates={
            "a": {"active_params_b": 1.0, "params_b": 10.0},
            "b": {"active_params_b": 3.0, "params_b": 30.0},
            "c": {"params_b": 2.0, "open_weights": True},
        },
    )


def test_the_figures_are_those_computed_by_hand(table: OutcomeTable) -> None:
    found = run(table)
    assert (found.n_train, found.n_test, found.n_candidates, found.n_test_left_out) == (4, 4, 3, 0)
    assert (found.best_single.candidate, found.best_single.quality) == ("a", 0.25)
    assert found.oracle.quality == 1.0
    assert found.random.quality == pytest.approx(5 / 12)
    router = found.router
    assert (router.quality, router.gain) == (0.75, 0.5)
    assert router.gap_recovered == pytest.approx(0.5 / 0.75)
    assert router.calls_per_query == 1.25
    assert router.effective_params_b == pytest.approx((3 + 1 + 3 + 4) / 4)
    assert router.picked == {"b": 0.75, "a": 0.25}
    assert router.low <= 0.75 <= router.high
    assert router.gain_low <= 0.5 <= router.gain_high
    assert router.cost_usd is None
    # The mean predictor says 0.75, 0.25, 0 of a, b, c; in test they reach 0.25, 0.75, 0.25.
    assert router.ece == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert 0 < router.decision_us_p50 <= router.decision_us_p99


def test_json_has_the_promised_keys_and_null_for_what_is_unknown(table: OutcomeTable) -> None:
    value = run(table).as_json()
    assert value["best_single"].keys() == {"candidate", "quality", "low", "high"}
    assert value["oracle"].keys() == value["random"].keys() == {"quality"}
    assert value["router"].keys() == {
        *("quality", "low", "high", "gain", "gain_low", "gain_high", "gap_recovered", "effective_params_b"),
        *("calls_per_query", "cost_usd", "aiq", "ece", "decision_us_p50", "decision_us_p99", "picked"),
        *("auroc", "accuracy_at_half_coverage", "confidence_ece", "reference_misses_rescued"),
    }
    assert value["zero_router"] == {"aiq": None}
    assert value["router"]["cost_usd"] is None
    assert value["benchmarks"]["y"] == {
        "n": 3,
        "router": pytest.approx(2 / 3),
        "best_single": pytest.approx(1 / 3),
        "oracle": pytest.approx(1.0),
    }
    assert value["micro"].keys() == value["macro"].keys() == {"router", "best_single", "oracle"}
    assert (value["excluded"], value["average"], value["cost_kind"]) == ({}, "micro", "calls")


def test_headlines_follow_the_average_and_both_averages_are_of_the_same_picks(table: OutcomeTable) -> None:
    micro, macro = run(table), run(table, average="macro")
    assert micro.macro == macro.macro
    assert micro.micro == macro.micro
    assert macro.router.quality == macro.macro.router == pytest.approx((1 + 2 / 3) / 2)
    assert macro.best_single.quality == pytest.approx((0 + 1 / 3) / 2)
    assert macro.router.gain == pytest.approx((1 + 1 / 3) / 2)
    assert macro.random.quality == pytest.approx((1 / 3 + 4 / 9) / 2)


def test_best_single_is_chosen_by_the_same_average(make_outcomes: Make) -> None:
    two = make_outcomes(
        {"often": [1.0, 1.0, 1.0, 0.0, 1.0], "evenly": [0.5, 0.5, 0.5, 1.0, 1.0]},
        split=["train"] * 4 + ["test"],
        benchmark=["x", "x", "x", "y", "x"],
        text=["1", "2", "3", "4", "often"],
    )
    assert run(two).best_single.candidate == "often"
    assert run(two, average="macro").best_single.candidate == "evenly"


def test_a_candidate_below_95_percent_of_either_split_is_left_out_by_name(make_outcomes: Make) -> None:
    # 20 queries a split: 19 are 95% and enough, 18 are not.
    ran: list[float | None] = [1.0] * 40
    thin_train, thin_test, enough = list(ran), list(ran), list(ran)
    thin_train[0] = thin_train[1] = None
    thin_test[38] = thin_test[39] = None
    enough[0] = enough[39] = None
    found = run(
        make_outcomes(
            {"whole": [0.0] * 40, "thin_train": thin_train, "thin_test": thin_test, "enough": enough},
            split=["train"] * 20 + ["test"] * 20,
            text=["enough"] * 40,
        )
    )
    assert found.excluded == {
        "thin_train": "covers 90.0% of split 'train', less than 95%",
        "thin_test": "covers 90.0% of split 'test', less than 95%",
    }
    # Test row 39 lacks "enough": it is left out, said, and not scored as a miss.
    assert (found.n_test, found.n_test_left_out, found.router.quality) == (19, 1, 1.0)
    assert any("1 of 20 test queries are left out" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("limits", "left", "reasons"),
    [
        (Constraints(max_params_b=10.0), ["a", "c"], {"b": "params_b 30 > 10"}),
        (
            Constraints(max_active_params_b=2.0),
            ["a"],
            {"b": "active_params_b 3 > 2", "c": "active_params_b unknown"},
        ),
        (
            Constraints(open_weights_only=True),
            ["c"],
            {"a": "open_weights unknown", "b": "open_weights unknown"},
        ),
        (
            Constraints(candidates=frozenset({"a", "b"})),
            ["a", "b"],
            {"c": "not among the allowed candidates"},
        ),
    ],
)
def test_limits_remove_candidates_up_front_and_unknown_values_do_not_meet_them(
    table: OutcomeTable, limits: Constraints, left: list[str], reasons: dict[str, str]
) -> None:
    found = run(table, policy="single", goals=Goals(constraints=limits))
    assert [c.candidate for c in found.candidates] == left
    assert found.excluded == reasons


def test_limits_that_nobody_meets_are_refused_with_the_reasons(table: OutcomeTable) -> None:
    with pytest.raises(NoCandidateError, match="a: params_b 10 > 1") as refused:
        run(table, goals=Goals(constraints=Constraints(max_params_b=1.0)))
    assert refused.value.removed.keys() == {"a", "b", "c"}


def test_the_effective_size_is_unknown_only_where_a_candidate_of_unknown_size_was_asked(
    make_outcomes: Make, table: OutcomeTable
) -> None:
    assert run(table).router.effective_params_b is not None  # c's size is unknown, but nobody asks c
    asked = make_outcomes(
        {"a": [1.0, 1.0], "c": [0.0, 0.0]},
        split=["train", "test"],
        text=["a", "a c"],
        candidates={"a": {"active_params_b": 1.0}},
    )
    assert run(asked).router.effective_params_b is None


@pytest.fixture
def priced(make_outcomes: Make) -> OutcomeTable:
    """Three candidates at 1, 2 and 4 USD; their test qualities are 0.25, 0.75 and 0.5."""
    test = {"a": [0.0, 0.0, 0.0, 1.0], "b": [1.0, 1.0, 1.0, 0.0], "c": [1.0, 1.0, 0.0, 0.0]}
    return make_outcomes(
        {name: [0.5, 0.5, *quality] for name, quality in test.items()},
        split=["train"] * 2 + ["test"] * 4,
        text=["1", "2", "a b", "b", "b", "c"],
        cost_usd={"a": [1.0] * 6, "b": [2.0] * 6, "c": [4.0] * 6},
        latency_s={"a": [1.0] * 6, "b": [2.0] * 6},
    )


def test_costs_are_summed_over_asks_and_the_zero_router_is_the_hull_of_the_fixed(
    priced: OutcomeTable,
) -> None:
    found = run(priced)
    assert found.cost_kind == "usd"
    assert found.router.cost_usd == pytest.approx((3 + 2 + 2 + 4) / 4)
    # From (1, 0.25) up to (2, 0.75), flat to 4: 0.5 + 2 * 0.75, over a range of 3.
    assert found.zero_router.aiq == pytest.approx(2.0 / 3)
    # AsTold does as it is told under every weight: one point (2.75, 0.75). Left of it a share goes
    # unanswered: from 0.75 / 2.75 at 1 up to 0.75, then flat to 4.
    assert found.router.quality == 0.75
    expected = (0.75 / 2.75 + 0.75) / 2 * 1.75 + 0.75 * 1.25
    assert found.router.aiq == pytest.approx(expected / 3)
    assert found.cheapest is not None
    assert (found.cheapest.candidate, found.cheapest.cost) == ("a", 1.0)


def test_single_under_a_heavy_weight_buys_the_cheapest(priced: OutcomeTable) -> None:
    found = run(priced, policy="single")
    first, *_, last = found.curves.router
    assert first.cost_weight == 0.0
    assert (last.cost, last.quality) == (1.0, 0.25)
    assert run(priced, policy="single", goals=Goals(cost_weight=100.0)).router.picked == {"a": 1.0}


def test_an_explicit_cost_that_some_candidate_lacks_is_refused(priced: OutcomeTable) -> None:
    with pytest.raises(UnknownCostError, match="'latency' is unknown for c"):
        run(priced, cost="latency")
    without_c = Goals(constraints=Constraints(candidates=frozenset({"a", "b"})))
    two = run(priced, cost="latency", goals=without_c, policy="single")
    assert two.cost_kind == "latency"
    assert two.zero_router.aiq == pytest.approx(0.5)


def test_with_calls_every_single_costs_the_same_so_that_aiq_is_undefined(priced: OutcomeTable) -> None:
    found = run(priced, cost="calls")
    assert (found.cost_kind, found.router.aiq, found.zero_router.aiq) == ("calls", None, None)


def test_a_weight_on_cost_is_refused_where_no_cost_is_known(table: OutcomeTable) -> None:
    with pytest.raises(UnknownCostError, match="no cost is known") as refused:
        run(table, goals=Goals(cost_weight=0.1))
    assert "active_params_b" in refused.value.remedy


def test_the_quality_column_governs_learning_and_measuring(make_outcomes: Make) -> None:
    both = make_outcomes(
        {"a": [0.9, 0.9, 0.9], "b": [0.1, 0.1, 0.1]},
        split=["train", "train", "test"],
        text=["1", "2", "b"],
        correct={"a": [0.0, 0.0, 0.0], "b": [1.0, 1.0, 1.0]},
    )
    by_quality, by_correct = run(both), run(both, quality_column="correct")
    assert (by_quality.best_single.candidate, by_quality.router.quality) == ("a", pytest.approx(0.1))
    assert (by_correct.best_single.candidate, by_correct.router.quality) == ("b", 1.0)
    assert by_correct.router.ece == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ConfigError, match="cost_usd"):
        run(both, quality_column="cost_usd")


def test_where_best_single_is_the_oracle_no_gap_can_be_recovered(make_outcomes: Make) -> None:
    one = make_outcomes({"a": [1.0, 1.0]}, split=["train", "test"], text=["1", "a"])
    assert run(one).router.gap_recovered is None


def test_unanswered_queries_are_in_no_figure_and_are_said(make_outcomes: Make) -> None:
    some = make_outcomes(
        {"a": [1.0, 1.0, 0.0], "b": [0.0, 0.0, 1.0]},
        split=["train", "test", "test"],
        text=["1", "a", "nobody"],
        cost_usd={"a": [1.0] * 3, "b": [2.0] * 3},
    )
    found = run(some)
    assert (found.n_test, found.n_test_unanswered, found.router.quality) == (2, 1, 1.0)
    assert any("unanswered" in warning for warning in found.warnings)
    assert found.benchmarks["b"].n == 1
    # On the answered query a is right at 1 USD: the hull is flat over the range.
    assert found.router.aiq == 1.0
    with pytest.raises(InputError, match="answered none"):
        run(make_outcomes({"a": [1.0, 1.0]}, split=["train", "test"], text=["1", "nobody"]))


def test_a_router_brings_the_training_facts_so_that_the_test_split_is_enough(
    table: OutcomeTable, tmp_path: Any
) -> None:
    trained = Router.fit(table.split("train"), predictor="mean")
    trained.save(tmp_path / "router")
    here, there = run(table), run(table.split("test"), router=Router.load(tmp_path / "router"))
    for found in (here, there):
        assert (found.n_train, found.best_single.candidate) == (4, "a")
    assert there.router.quality == here.router.quality
    assert there.router.ece == pytest.approx(here.router.ece)
    assert there.best_single == here.best_single


def test_a_folder_without_splits_is_measured_whole_with_a_router(
    make_outcomes: Make, table: OutcomeTable
) -> None:
    trained = Router.fit(table.split("train"), predictor="mean")
    served = make_outcomes({"a": [1.0, 0.0], "b": [0.0, 0.0], "c": [0.0, 0.0]}, split=[None, None])
    found = run(served, router=trained, policy="single", test_split="all")
    assert (found.n_test, found.router.quality) == (2, 0.5)


def test_limits_on_what_is_predicted_leave_queries_unanswered_and_keep_the_curve(
    priced: OutcomeTable,
) -> None:
    affordable = Goals(constraints=Constraints(max_cost_usd=3.0))
    found = run(priced, policy="single", goals=affordable)
    assert found.n_candidates == 3
    assert "c" not in found.router.picked
    with pytest.raises(InputError, match="answered none"):
        run(priced, policy="single", goals=Goals(constraints=Constraints(max_cost_usd=0.5)))


def test_a_router_serves_a_subset_of_its_herd(table: OutcomeTable) -> None:
    trained = Router.fit(table.split("train"), predictor="mean")
    only = Goals(constraints=Constraints(candidates=frozenset({"b", "c"})))
    found = run(table, router=trained, goals=only, policy="single")
    assert (found.best_single.candidate, found.n_candidates) == ("b", 2)
    smaller = table.split("test").restrict(["b", "c"])
    assert run(smaller, router=trained, policy="single").best_single == found.best_single


def test_a_candidate_that_the_router_does_not_know_is_refused_with_the_remedy(table: OutcomeTable) -> None:
    trained = Router.fit(table.split("train").restrict(["a", "b"]), predictor="mean")
    with pytest.raises(HerdMismatchError, match="not trained with c") as refused:
        run(table, router=trained)
    assert "--candidates" in refused.value.remedy
    with pytest.raises(HerdMismatchError, match="not trained with c"):
        run(table, router=trained, goals=Goals(constraints=Constraints(candidates=frozenset({"a", "c"}))))
    known = Goals(constraints=Constraints(candidates=frozenset({"a", "b"})))
    assert run(table, router=trained, goals=known).n_candidates == 2


def test_names_that_are_not_in_the_folder_are_refused(table: OutcomeTable) -> None:
    with pytest.raises(UnknownNameError, match="nobody"):
        run(table, goals=Goals(constraints=Constraints(candidates=frozenset({"nobody"}))))
    with pytest.raises(UnknownNameError, match="nobody"):
        run(table, reference="nobody")
    with pytest.raises(InputError, match="dev"):
        run(table, test_split="dev")
    with pytest.raises(ConfigError, match="held out"):
        run(table, test_split="train")


def test_a_router_of_another_column_is_refused(table: OutcomeTable) -> None:
    trained = Router.fit(table.split("train"), predictor="mean")
    with pytest.raises(ConfigError, match="learned column 'quality'"):
        run(table, router=trained, quality_column="correct")


def test_a_reference_may_be_left_out_of_the_herd(table: OutcomeTable) -> None:
    small = Goals(constraints=Constraints(max_params_b=10.0))
    found = run(table, policy="single", goals=small, reference="b")
    assert "b" in found.excluded
    assert found.reference is not None
    # Single picks a always: as well as b on queries 2 and 3 of 4.
    assert found.reference.as_well == 0.5
    # b misses query 3, where c is right and a is not.
    assert (found.reference.missed_some_candidate, found.reference.missed_router) == (1.0, 0.0)
    assert found.reference.size_ratio == 3.0


def test_a_herd_of_two_has_the_pair_figures_and_others_do_not(table: OutcomeTable) -> None:
    two = Goals(constraints=Constraints(candidates=frozenset({"a", "b"})))
    pair = run(table, goals=two).pair
    assert pair is not None
    assert (pair.strong, pair.weak, pair.pgr) == ("a", "b", None)
    assert run(table).pair is None


def test_texts_that_stand_in_both_splits_are_counted(make_outcomes: Make) -> None:
    leaky = make_outcomes({"a": [1.0, 1.0, 1.0]}, split=["train", "test", "test"], text=["a", "a", "a too"])
    found = run(leaky)
    assert found.n_test_texts_in_train == 1
    assert any("also stand in the training split" in warning for warning in found.warnings)


def test_the_same_seed_gives_the_same_figures(table: OutcomeTable) -> None:
    first, again = run(table, seed=5), run(table, seed=5)
    assert (first.router.low, first.router.gain_high) == (again.router.low, again.router.gain_high)
    assert np.isfinite([first.router.low, first.best_single.high]).all()
