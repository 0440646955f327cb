"""A request's own goals: what they change, and what they leave."""

from __future__ import annotations

import datetime as dt

import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Constraints, Goals, Preferences
from herdwise.core.errors import RequestError
from herdwise.serving.wire.goals import merged, read_goals, read_headers

HERD = Herd([Candidate("a"), Candidate("b")])
BASE = Goals(cost_weight=2.0, constraints=Constraints(max_params_b=10, tags=frozenset({"x"})))


def test_what_a_request_does_not_say_stays_as_the_config_has_it() -> None:
    goals, told, policy = merged(BASE, HERD, read_goals({"max_cost_usd": 0.5}))
    assert goals.constraints == Constraints(max_params_b=10, tags=frozenset({"x"}), max_cost_usd=0.5)
    assert goals.cost_weight == 2.0
    assert told == {"max_cost_usd": 0.5}
    assert policy is None


def test_every_key_reaches_its_place() -> None:
    given = {
        "cost_weight": 1,
        "cost_kind": "latency",
        "min_quality": 0.5,
        "min_quality_probability": 0.9,
        "generalist": "a",
        "limit_probability": 0.95,
        "max_calls": 3,
        "max_seconds": 9,
        "max_total_usd": 1,
        "max_cost_usd": 0.1,
        "max_params_b": 70,
        "max_active_params_b": 20,
        "max_latency_s": 5,
        "max_output_tokens": 100,
        "open_weights_only": True,
        "licences": ["MIT"],
        "released_after": "2024-05-01",
        "tags": ["on-premises"],
        "candidates": ["a", "b"],
        "prefer": {"quality": 2, "cost": 1, "size": 1, "latency": 1, "recency": 1, "brevity": 0.5},
        "policy": "single",
    }
    goals, told, policy = merged(Goals(), HERD, read_goals(given))
    assert policy == "single"
    assert goals == Goals(
        cost_weight=1,
        cost_kind="latency",
        min_quality=0.5,
        min_quality_probability=0.9,
        generalist="a",
        limit_probability=0.95,
        max_calls=3,
        max_seconds=9,
        max_total_usd=1,
        constraints=Constraints(
            max_cost_usd=0.1,
            max_params_b=70,
            max_active_params_b=20,
            max_latency_s=5,
            max_output_tokens=100,
            open_weights_only=True,
            licences=frozenset({"MIT"}),
            released_after=dt.date(2024, 5, 1),
            tags=frozenset({"on-premises"}),
            candidates=frozenset({"a", "b"}),
        ),
        preferences=Preferences(quality=2, cost=1, size=1, latency=1, recency=1, brevity=0.5),
    )
    assert told.keys() == given.keys() - {"policy"}


def test_null_lifts_a_limit() -> None:
    goals, _, _ = merged(BASE, HERD, read_goals({"max_params_b": None}))
    assert goals.constraints.max_params_b is None
    goals, _, _ = merged(BASE, HERD, read_goals({"limit_probability": None}))
    assert goals.limit_probability is None


def test_a_later_source_wins_and_preferences_are_joined() -> None:
    first = read_headers({"max-params-b": "5", "prefer": "cost=1, size=0.5", "open-weights-only": "true"})
    goals, told, _ = merged(BASE, HERD, first, read_goals({"max_params_b": 7, "prefer": {"size": 2}}))
    assert goals.constraints.max_params_b == 7
    assert goals.constraints.open_weights_only is True
    assert (goals.preferences.cost, goals.preferences.size) == (1, 2)
    assert told["prefer"] == {"cost": 1, "size": 2}


def test_lists_in_headers_are_separated_by_commas() -> None:
    goals, _, _ = merged(BASE, HERD, read_headers({"candidates": "a , b,", "tags": ""}))
    assert goals.constraints.candidates == frozenset({"a", "b"})
    assert goals.constraints.tags == frozenset()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("max-cost", "1"),
        ("cost-weight", "much"),
        ("prefer", "speed=1"),
        ("prefer", "cost"),
        ("max-calls", "0"),
        ("limit-probability", "1"),
        ("min-quality-probability", "0"),
    ],
)
def test_a_header_at_fault_is_named(header: str, value: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_headers({header: value})
    assert (refused.value.param or "").startswith(f"herdwise.{header.replace('-', '_')}")
