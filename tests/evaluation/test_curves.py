"""Hulls and AIQ, computed by hand (docs/decisions/0004)."""

import numpy as np
import pytest

from herdwise.evaluation.curves import aiq, sweep_weights, upper_hull

# Four fixed candidates: (cost, quality). The third buys nothing; the hull is the other three.
COST = np.array([1.0, 2.0, 3.0, 4.0])
QUALITY = np.array([0.4, 0.7, 0.5, 0.8])


def test_the_hull_leaves_out_what_a_cheaper_mix_beats() -> None:
    hull = upper_hull(COST, QUALITY)
    assert hull.cost.tolist() == [1.0, 2.0, 4.0]
    assert hull.quality.tolist() == [0.4, 0.7, 0.8]


def test_the_hull_is_convex_and_never_falls() -> None:
    # (2, 0.45) lies under the line from (1, 0.4) to (3, 0.8); (5, 0.6) costs more and is worse.
    hull = upper_hull(np.array([3.0, 5.0, 1.0, 2.0, 1.0]), np.array([0.8, 0.6, 0.4, 0.45, 0.3]))
    assert hull.cost.tolist() == [1.0, 3.0]
    assert hull.at(np.array([1.0, 2.0, 3.0, 5.0])) == pytest.approx([0.4, 0.6, 0.8, 0.8])


def test_aiq_is_the_area_under_the_hull_over_the_cost_range() -> None:
    # From 1 to 2: (0.4 + 0.7) / 2 = 0.55. From 2 to 4: 2 * (0.7 + 0.8) / 2 = 1.5. Range 3.
    assert aiq(upper_hull(COST, QUALITY), 1.0, 4.0) == pytest.approx(2.05 / 3)


def test_a_router_whose_costs_lie_inside_the_range_is_extended_on_both_sides() -> None:
    # One point (2, 0.6) over [1, 4]: to the left a share of the queries goes unanswered, so that quality
    # rises from 0.3 to 0.6; to the right it stays at 0.6.
    assert aiq(upper_hull(np.array([2.0]), np.array([0.6])), 1.0, 4.0) == pytest.approx((0.45 + 1.2) / 3)


def test_what_lies_outside_the_range_counts_only_by_the_line_it_holds_up() -> None:
    hull = upper_hull(np.array([0.0, 4.0]), np.array([0.2, 0.6]))
    assert aiq(hull, 1.0, 3.0) == pytest.approx((0.3 + 0.5) / 2)


def test_without_a_cost_range_aiq_is_undefined() -> None:
    assert aiq(upper_hull(np.ones(3), QUALITY[:3]), 1.0, 1.0) is None


def test_the_sweep_begins_without_a_weight_and_scales_with_the_cost_range() -> None:
    weights = sweep_weights(1.0, 3.0)
    assert weights[0] == 0.0
    assert (np.diff(weights) > 0).all()
    assert sweep_weights(10.0, 30.0) == pytest.approx(weights / 10)
