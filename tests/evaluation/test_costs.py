"""Costs by kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from herdwise.core.decision import COST_KINDS
from herdwise.core.errors import UnknownCostError
from herdwise.core.money import Price
from herdwise.evaluation.costs import cost_matrix, first_known_kind, require_known


def test_usd_is_recorded_or_price_times_tokens_or_unknown(make_outcomes: Callable[..., Any]) -> None:
    table = make_outcomes(
        {"recorded": [1.0], "priced": [1.0], "unknown": [1.0]},
        candidates={"priced": {"price": Price(1.0, 3.0)}, "recorded": {"price": Price(9.0, 9.0)}},
        cost_usd={"recorded": [0.5]},
        input_tokens={"priced": [1e6], "recorded": [1e6]},
        output_tokens={"priced": [2e6], "recorded": [1e6]},
    )
    cost = cost_matrix(table, "usd")
    assert cost[0, :2] == pytest.approx([0.5, 7.0])
    assert np.isnan(cost[0, 2])


def test_the_first_kind_known_for_every_pair_is_taken(make_outcomes: Callable[..., Any]) -> None:
    def kind(**options: Any) -> str:
        table = make_outcomes({"a": [1.0, 0.0], "b": [0.0, 1.0]}, **options)
        return first_known_kind({each: cost_matrix(table, each) for each in COST_KINDS})

    sizes = {"a": {"active_params_b": 7.0}, "b": {"active_params_b": 70.0}}
    latency = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    assert kind(candidates=sizes, cost_usd={"a": [1.0, 1.0], "b": [0.0, 2.0]}) == "usd"
    assert kind(candidates=sizes, cost_usd={"a": [1.0, 1.0], "b": [None, 2.0]}) == "active_params"
    assert kind(latency_s=latency, candidates={"a": {"active_params_b": 7.0}}) == "latency"
    assert kind() == "calls"


def test_an_unknown_cost_is_refused_with_the_candidates_and_the_remedy(
    make_outcomes: Callable[..., Any],
) -> None:
    table = make_outcomes({"a": [1.0], "b": [0.0]}, latency_s={"a": [1.0]})
    with pytest.raises(UnknownCostError, match="unknown for b") as refused:
        require_known("latency", cost_matrix(table, "latency"), table.herd.names)
    assert "latency_s" in refused.value.remedy
    require_known("calls", cost_matrix(table, "calls"), table.herd.names)
