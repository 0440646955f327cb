"""Without a trained router, what the config declares decides."""

import numpy as np
import pytest

from herdwise import Candidate, Goals, Herd, Query, read_outcomes
from herdwise.core.errors import UnknownNameError
from herdwise.core.money import Price
from herdwise.routing.declared import PRIOR_QUALITY, DeclaredRouter, known_quality
from herdwise.routing.single import ranking


def test_declared_quality_comes_first_then_likeness_then_a_stated_prior():
    router = DeclaredRouter(
        Herd([Candidate("a", quality=0.8), Candidate("b", like="gpt-4o-2024-05"), Candidate("c")])
    )
    got = router.estimate_one(Query("x"))
    assert got.quality.tolist() == [0.8, known_quality()["gpt-4o-2024-05"], PRIOR_QUALITY]
    assert got.origin == "declared"
    order, _ = ranking(router.situation(Query("x"), Goals()))
    assert order == [0, 1, 2]


def test_an_unknown_likeness_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'b'.*'gpt-9'.*mathstral-7B"):
        DeclaredRouter(Herd([Candidate("b", like="gpt-9")]))


def test_cost_is_known_only_where_a_price_is_declared():
    herd = Herd([Candidate("a", price=Price(1, 2)), Candidate("b")])
    got = DeclaredRouter(herd).estimate_one(Query("x" * 4000, max_output_tokens=500))
    assert got.cost_usd[0] == pytest.approx((1000 * 1 + 500 * 2) / 1e6)
    assert np.isnan(got.cost_usd[1])


def test_the_table_of_known_candidates_is_what_the_shipped_outcomes_say():
    table = read_outcomes("mmlu_pro")
    quality = table.matrix()
    common = np.isfinite(quality).all(axis=1)
    for name, mean in zip(table.herd.names, quality[common].mean(axis=0), strict=True):
        assert known_quality()[name] == pytest.approx(float(mean), abs=1e-4)
