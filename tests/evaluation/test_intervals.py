"""Paired bootstrap."""

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.evaluation.intervals import interval, resampled_means


def test_a_constant_difference_has_an_interval_without_width() -> None:
    single = np.random.default_rng(1).random(200)
    draws = resampled_means(np.stack([single + 0.1, single], axis=1), ["b"] * 200)
    assert interval(draws[:, 0] - draws[:, 1]) == pytest.approx((0.1, 0.1))
    assert np.ptp(interval(draws[:, 1])) > 0.02


def test_the_interval_of_a_fair_coin_is_that_of_theory() -> None:
    values = np.tile([0.0, 1.0], 200)[:, None]
    low, high = interval(resampled_means(values, ["b"] * 400)[:, 0])
    # Standard error 0.5 / sqrt(400) = 0.025, times 1.96.
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_the_macro_interval_resamples_within_benchmarks() -> None:
    values = np.array([[1.0]] * 3 + [[0.0]] * 7)
    benchmarks = ["easy"] * 3 + ["hard"] * 7
    macro = resampled_means(values, benchmarks, "macro")
    assert macro == pytest.approx(0.5)
    assert np.ptp(resampled_means(values, benchmarks, "micro")) > 0.3


def test_the_same_seed_draws_the_same() -> None:
    values = np.random.default_rng(0).random((30, 2))
    first, again, other = (resampled_means(values, ["b"] * 30, seed=s) for s in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_values_that_are_not_known_are_refused() -> None:
    with pytest.raises(InputError):
        resampled_means(np.array([[np.nan]]), ["b"])
    with pytest.raises(InputError):
        resampled_means(np.zeros((0, 1)), [])
