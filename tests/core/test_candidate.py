"""Candidate, Herd, Price: unknown stays unknown."""

import numpy as np
import pytest

from herdwise import Candidate, Herd
from herdwise.core.errors import ConfigError
from herdwise.core.money import Price


def test_a_candidate_that_stands_twice_is_refused():
    with pytest.raises(ConfigError, match="'a' stands twice"):
        Herd([Candidate("a"), Candidate("a")])


def test_an_unknown_property_is_nan_in_the_column():
    column = Herd([Candidate("a", params_b=7), Candidate("b")]).column(lambda c: c.params_b)
    assert column[0] == 7
    assert np.isnan(column[1])


@pytest.mark.parametrize(
    ("price", "tokens", "expected"),
    [
        (Price(1.0, 2.0), (1e6, 1e6), 3.0),
        (Price(0.0, 0.0), (1e6, 1e6), 0.0),
        (Price(1.0, None), (1e6, 1e6), None),
        (Price(1.0, 2.0), (None, 5), None),
        (Price(0.0, 0.0), (None, None), 0.0),
        (Price(0.0, 2.0), (None, 1e6), 2.0),
    ],
)
def test_a_cost_is_known_only_when_price_and_tokens_are(price, tokens, expected):
    assert price.cost_usd(*tokens) == expected


def test_a_subset_keeps_the_order_of_the_herd():
    herd = Herd([Candidate("a"), Candidate("b"), Candidate("c")])
    assert herd.subset(["c", "a"]).names == ["a", "c"]
