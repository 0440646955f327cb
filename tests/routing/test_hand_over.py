"""The hand-over to the generalist, with a stated probability."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, Query
from herdwise.core.decision import Estimates
from herdwise.routing.constraints import HerdFacts
from herdwise.routing.hand_over import good_enough
from herdwise.routing.ranker import scene
from herdwise.routing.single import ranking

HERD = Herd([Candidate("unsure"), Candidate("sure"), Candidate("general")])
NAN = np.full(3, np.nan)


def estimates(*std: float) -> Estimates:
    return Estimates(np.array([0.8, 0.75, 0.7]), np.array(std) if std else None, NAN, NAN, NAN)


def first(goals: Goals, given: Estimates) -> tuple[str, str]:
    order, reason = ranking(scene(HerdFacts(HERD), Query("hello"), goals, given))
    return HERD.names[order[0]], reason


def test_who_may_well_be_worse_than_asked_is_passed_over() -> None:
    goals = Goals(min_quality=0.7, generalist="general")
    assert first(goals, estimates(0.2, 0.01, 0.1))[0] == "unsure"
    who, reason = first(goals.replace(min_quality_probability=0.9), estimates(0.2, 0.01, 0.1))
    assert who == "sure"
    assert "0.7 or more with probability 0.9" in reason


def test_where_nobody_is_sure_enough_the_generalist_answers() -> None:
    goals = Goals(min_quality=0.7, generalist="general", min_quality_probability=0.9)
    who, reason = first(goals, estimates(0.2, 0.2, 0.2))
    assert who == "general"
    assert "handed to the generalist" in reason


def test_without_a_stated_error_the_expectation_is_compared() -> None:
    assert good_enough(estimates(), 0.75, 0.99).tolist() == [True, True, False]
    assert good_enough(estimates(0.2, 0.2, 0.2), 0.75, None).tolist() == [True, True, False]


def test_the_error_is_taken_to_be_normal() -> None:
    # 0.8 lies one standard error above 0.7, and P(normal > -1) = 0.841.
    one = estimates(0.1, 0.1, 0.1)
    assert good_enough(one, 0.7, 0.84)[0]
    assert not good_enough(one, 0.7, 0.85)[0]


@pytest.mark.parametrize("unknown", [np.nan])
def test_an_unknown_error_leaves_the_expectation(unknown: float) -> None:
    assert good_enough(estimates(unknown, 0.3, 0.3), 0.75, 0.9).tolist() == [True, False, False]
