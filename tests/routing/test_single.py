"""The first candidate asked, found without sorting, is the first of the ranking."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.candidate import Candidate, Herd
from herdwise.core.decision import Estimates, Goals
from herdwise.core.query import Query
from herdwise.routing.base import Ask, Finish, Situation, Thread
from herdwise.routing.single import Single, ranking

HERD = Herd(Candidate(name=f"c{i}") for i in range(6))
UNKNOWN = np.full(6, np.nan)


def _situation(seed: int, **more: object) -> Situation:
    rng = np.random.default_rng(seed)
    quality = rng.integers(0, 4, 6) / 4  # with ties
    admitted = rng.random(6) < 0.7
    return Situation(
        query=Query(text="?"),
        herd=HERD,
        estimates=Estimates(quality, None, UNKNOWN, UNKNOWN, UNKNOWN),
        goals=Goals(),
        admitted=admitted,
        removed={},
        utility=np.where(admitted, quality, -np.inf),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_first_asked_is_the_first_of_the_ranking(seed: int) -> None:
    healthy = np.random.default_rng(seed + 100).random(6) < 0.5
    for more in ({}, {"healthy": healthy}, {"thread": Thread(candidate=seed % 6)}):
        situation = _situation(seed, **more)
        order, _ = ranking(situation)
        step = Single().step(situation)
        assert step.candidates == (order[0],) if isinstance(step, Ask) else not order


def test_nobody_is_asked_where_nobody_is_admitted() -> None:
    situation = _situation(0)
    nobody = Situation(
        query=situation.query,
        herd=HERD,
        estimates=situation.estimates,
        goals=Goals(),
        admitted=np.zeros(6, dtype=bool),
        removed={},
        utility=np.full(6, -np.inf),
    )
    assert isinstance(Single().step(nobody), Finish)
