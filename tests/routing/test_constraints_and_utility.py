"""Who may be asked, and what each is worth."""

import datetime as dt

import numpy as np
import pytest

from herdwise import Candidate, Constraints, Goals, Herd, Preferences, Query
from herdwise.core.decision import Estimates
from herdwise.core.errors import InputError, NoCandidateError, UnknownCostError, UnknownNameError
from herdwise.core.money import FREE, Price
from herdwise.routing.base import Answer, Ask, Failure, Finish, InFlight, Spent, Wait
from herdwise.routing.constraints import HerdFacts
from herdwise.routing.explain import explain
from herdwise.routing.ranker import scene
from herdwise.routing.single import Single, ranking

HERD = Herd(
    [
        Candidate(
            "small",
            params_b=7,
            active_params_b=7,
            open_weights=True,
            price=FREE,
            context_tokens=8192,
            modalities=frozenset({"text"}),
            tools=False,
            licence="apache-2.0",
            released=dt.date(2023, 9, 27),
            tags=frozenset({"on-premises"}),
        ),
        Candidate(
            "moe", params_b=47, active_params_b=13, open_weights=True, tools=True, context_tokens=32768
        ),
        Candidate(
            "big",
            open_weights=False,
            price=Price(5, 15),
            tools=True,
            json_schema=True,
            modalities=frozenset({"text", "image"}),
            released=dt.date(2024, 5, 13),
            context_tokens=128000,
        ),
        Candidate("mystery"),
    ]
)


def situation(
    goals=None, query=None, quality=(0.5, 0.6, 0.9, 0.7), cost=(0.0, np.nan, 0.01, np.nan), **events
):
    m = len(quality)
    estimates = Estimates(
        quality=np.array(quality),
        quality_std=None,
        cost_usd=np.array(cost),
        latency_s=np.array([1.0, 2.0, np.nan, 4.0])[:m],
        output_tokens=np.array([100.0, 200.0, 50.0, np.nan])[:m],
    )
    got = scene(HerdFacts(HERD), query or Query("hello"), goals or Goals(), estimates)
    import dataclasses

    return dataclasses.replace(got, **events)


def admitted(**limits):
    goals = Goals(constraints=Constraints(**limits))
    got = situation(goals)
    return [n for n, a in zip(HERD.names, got.admitted, strict=True) if a], got.removed


@pytest.mark.parametrize(
    ("limits", "left", "reasons"),
    [
        ({"max_params_b": 13}, ["small"], {"moe": "params_b 47 > 13", "mystery": "params_b unknown"}),
        ({"max_active_params_b": 13}, ["small", "moe"], {"big": "active_params_b unknown"}),
        ({"open_weights_only": True}, ["small", "moe"], {"big": "weights are not open"}),
        ({"licences": frozenset({"apache-2.0"})}, ["small"], {"big": "licence unknown"}),
        ({"released_after": dt.date(2024, 1, 1)}, ["big"], {"moe": "release date unknown"}),
        ({"tags": frozenset({"on-premises"})}, ["small"], {"big": "lacks tag on-premises"}),
        ({"max_cost_usd": 0.005}, ["small"], {"big": "predicted cost_usd 0.01 > 0.005"}),
        ({"max_latency_s": 2}, ["small", "moe"], {"big": "predicted latency_s unknown"}),
        ({"max_output_tokens": 100}, ["small", "big"], {"moe": "predicted output_tokens 200 > 100"}),
        ({"candidates": frozenset({"big"})}, ["big"], {"small": "not among the allowed candidates"}),
    ],
)
def test_a_constraint_removes_who_misses_it_and_whose_value_is_unknown(limits, left, reasons):
    names, removed = admitted(**limits)
    assert names == left
    assert set(removed) == set(HERD.names) - set(left)
    assert reasons.items() <= removed.items()


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (Query("x", tools=({"type": "function"},)), ["moe", "big"]),
        (Query("x", modalities=frozenset({"image"})), ["big"]),
        (Query("x", json_schema=True), ["big"]),
        (Query("x" * 4 * 7000), ["small", "moe", "big"]),
        (Query("x" * 4 * 20000), ["moe", "big"]),
        (Query("x", max_output_tokens=10000), ["moe", "big"]),
        (Query("x", chars=4 * 20000), ["moe", "big"]),
    ],
)
def test_what_the_query_needs_is_a_constraint(query, left):
    got = situation(query=query)
    assert [n for n, a in zip(HERD.names, got.admitted, strict=True) if a] == left


def test_a_requirement_that_nobody_is_known_to_meet_names_the_key_that_would_state_it():
    query = Query("x", json_schema=True)
    goals = Goals(constraints=Constraints(candidates=frozenset({"small", "moe"})))
    with pytest.raises(NoCandidateError, match="json_schema unknown") as caught:
        situation(query=query, goals=goals)
    assert "state the unknown values of your candidates in the config: json_schema." in caught.value.remedy


def test_constraints_that_nobody_meets_name_who_was_removed_by_what():
    with pytest.raises(NoCandidateError, match="big: params_b unknown") as caught:
        situation(Goals(constraints=Constraints(max_params_b=1)))
    assert set(caught.value.removed) == set(HERD.names)


def test_a_constraint_on_an_unknown_name_is_refused():
    with pytest.raises(UnknownNameError, match="'ghost'"):
        situation(Goals(constraints=Constraints(candidates=frozenset({"ghost"}))))


def test_utility_is_quality_less_weighted_cost_and_unknown_cost_is_never_zero():
    got = situation(Goals(cost_weight=50.0))
    assert got.utility[0] == pytest.approx(0.5)
    assert got.utility[2] == pytest.approx(0.9 - 50 * 0.01)
    assert got.utility[1] == -np.inf
    assert got.removed["mystery"] == "cost (usd) unknown"


def test_a_cost_that_nobody_knows_is_refused_with_the_remedy():
    with pytest.raises(UnknownCostError, match=r"cost_weight is 1.*price"):
        situation(Goals(cost_weight=1.0), cost=(np.nan,) * 4)


def test_other_costs_can_be_weighed():
    got = situation(Goals(cost_weight=0.1, cost_kind="active_params"))
    assert got.utility[1] == pytest.approx(0.6 - 1.3)
    got = situation(Goals(cost_weight=0.1, cost_kind="calls"))
    assert got.utility == pytest.approx(np.array([0.4, 0.5, 0.8, 0.6]))


@pytest.mark.parametrize(
    ("wish", "first"),
    [
        (Preferences(), "big"),
        (Preferences(size=1.0), "small"),
        (Preferences(recency=1.0), "big"),
        (Preferences(latency=1.0), "small"),
        (Preferences(brevity=1.0, quality=0.1), "big"),
        (Preferences(cost=1.0), "small"),
    ],
)
def test_a_preference_moves_the_pick_and_unknown_counts_as_worst(wish, first):
    order, _ = ranking(situation(Goals(preferences=wish)))
    assert HERD.names[order[0]] == first


def test_single_asks_the_best_delivers_it_and_finishes_with_its_answer():
    step = Single().step(situation())
    assert step == Ask((2,), deliver=True)
    assert Single().step(situation(in_flight=(InFlight(0, 2, 0.0, True),))) == Wait()
    done = Single().step(situation(answers=(Answer(0, 2, "hi"),)))
    assert isinstance(done, Finish)
    assert done.answer == 0


def test_a_failure_is_followed_by_the_next_of_the_ranking_until_nobody_is_left():
    failed, order = [], []
    while True:
        step = Single().step(situation(failures=tuple(failed)))
        if isinstance(step, Finish):
            break
        order.append(HERD.names[step.candidates[0]])
        failed.append(Failure(len(failed), step.candidates[0], "connect_error"))
    assert order == ["big", "mystery", "moe", "small"]
    assert step.answer is None
    assert "every admitted candidate failed" in step.reason


def test_a_budget_of_calls_ends_the_fallbacks():
    step = Single().step(
        situation(Goals(max_calls=1), failures=(Failure(0, 2, "timeout"),), spent=Spent(calls=1))
    )
    assert isinstance(step, Finish)
    assert step.answer is None


def test_text_already_delivered_is_not_followed_by_another_answer_where_it_must_not_be():
    step = Single("stop").step(situation(failures=(Failure(0, 2, "connect_error", delivered="Once upon"),)))
    assert isinstance(step, Finish)
    assert step.answer is None


def test_the_generalist_answers_when_no_expert_is_good_enough():
    goals = Goals(min_quality=0.95, generalist="small")
    order, reason = ranking(situation(goals))
    assert HERD.names[order[0]] == "small"
    assert "generalist" in reason
    order, reason = ranking(situation(goals.replace(min_quality=0.65)))
    assert [HERD.names[i] for i in order[:2]] == ["big", "mystery"]


def test_among_the_good_enough_the_cheapest_wins():
    goals = Goals(min_quality=0.45, generalist="big", cost_weight=1000.0)
    order, _ = ranking(situation(goals))
    assert HERD.names[order[0]] == "small"


def test_a_min_quality_without_generalist_is_refused():
    with pytest.raises(InputError, match="no generalist"):
        ranking(situation(Goals(min_quality=0.5)))


def test_unhealthy_candidates_come_last_but_are_not_lost():
    order, reason = ranking(situation(healthy=np.array([True, True, False, True])))
    assert [HERD.names[i] for i in order] == ["mystery", "moe", "small", "big"]
    assert "unhealthy" in reason


def test_an_explanation_names_scores_and_who_was_removed():
    got = explain(situation(Goals(constraints=Constraints(open_weights_only=True))))
    assert [s.candidate for s in got.scores] == ["moe", "small", "big", "mystery"]
    assert got.scores[0].cost_usd is None
    assert got.scores[2].removed == "weights are not open"
    assert got.scores[2].utility is None


def held_back(**goals):
    """Utility where the best single is dear and the other a hair below it, and cheap."""
    herd = HERD.subset(["small", "big"])
    estimates = Estimates(
        quality=np.array([0.8999, 0.9]),
        quality_std=None,
        cost_usd=np.array([0.0, 0.01]),
        latency_s=np.array([1.0, 1.0]),
        output_tokens=np.array([100.0, 100.0]),
        best_single=1,
    )
    return scene(HerdFacts(herd), Query(text="2 + 2?"), Goals(**goals), estimates).utility


def test_a_small_weight_on_cost_does_not_overturn_the_best_single() -> None:
    assert held_back(cost_weight=1.0).argmax() == 1
    assert held_back(cost_weight=1.0, leave_margin=0.0).argmax() == 0
    assert held_back(cost_weight=3.0).argmax() == 0  # what it costs more is worth more than the margin


def test_preferences_must_overcome_the_margin_too() -> None:
    assert held_back(preferences=Preferences(cost=0.01)).argmax() == 1
    assert held_back(preferences=Preferences(cost=0.05)).argmax() == 0


def test_where_quality_alone_counts_no_margin_is_taken() -> None:
    np.testing.assert_allclose(held_back(), [0.8999, 0.9])


def test_nobody_owes_a_margin_to_a_best_single_that_is_not_admitted() -> None:
    utility = held_back(cost_weight=1.0, constraints=Constraints(candidates=frozenset({"small"})))
    np.testing.assert_allclose(utility[0], 0.8999)


def test_a_small_context_keeps_half_of_itself_for_an_answer_of_unstated_length():
    herd = Herd([Candidate("nano", context_tokens=192), Candidate("large", context_tokens=8192)])
    nothing = np.full(2, np.nan)
    estimates = Estimates(np.array([0.9, 0.5]), None, nothing, nothing, nothing)

    def admitted(query):
        return scene(HerdFacts(herd), query, Goals(), estimates).admitted.tolist()

    assert admitted(Query("x" * 4 * 90)) == [True, True]
    assert admitted(Query("x" * 4 * 100)) == [False, True]
    assert admitted(Query("x" * 4 * 90, max_output_tokens=120)) == [False, True]
    assert admitted(Query("x" * 4 * 100, max_output_tokens=80)) == [True, True]
