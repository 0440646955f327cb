"""Fixed choices and hindsight."""

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.evaluation.references import (
    best_single,
    cheapest,
    oracle,
    random_pick,
    training_means,
    zero_router,
)

QUALITY = np.array([[1.0, 0.0], [0.0, 0.5], [0.2, 0.4]])


def test_oracle_is_the_best_and_random_the_mean_of_each_query() -> None:
    assert oracle(QUALITY).tolist() == [1.0, 0.5, 0.4]
    assert random_pick(QUALITY) == pytest.approx([0.5, 0.25, 0.3])


def test_training_means_count_only_queries_that_every_candidate_ran() -> None:
    quality = np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 1.0], [0.0, 1.0]])
    means, n_common = training_means(quality, ["b"] * 4, "micro")
    assert n_common == 3
    assert means == pytest.approx([1 / 3, 2 / 3])


def test_training_means_under_macro_are_means_of_benchmark_means() -> None:
    quality = np.array([[1.0, 0.0], [0.0, 0.6], [0.0, 0.6], [0.0, 0.6]])
    micro, _ = training_means(quality, ["a", "b", "b", "b"], "micro")
    macro, _ = training_means(quality, ["a", "b", "b", "b"], "macro")
    assert micro == pytest.approx([0.25, 0.45])
    assert macro == pytest.approx([0.5, 0.3])


def test_without_a_common_query_nobody_is_the_best_single() -> None:
    with pytest.raises(InputError, match="no training query"):
        training_means(np.array([[1.0, np.nan], [np.nan, 1.0]]), ["b", "b"], "micro")
    with pytest.raises(InputError, match="training mean"):
        best_single(["a"], {})


def test_ties_go_to_the_earlier_candidate() -> None:
    assert best_single(["a", "b", "c"], {"a": 0.5, "b": 0.7, "c": 0.7}) == "b"
    assert cheapest(np.array([[2.0, 1.0, 1.0]])) == 1


def test_the_zero_router_is_the_hull_of_the_fixed_candidates() -> None:
    hull = zero_router(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.3, 0.8]))
    assert hull.cost.tolist() == [1.0, 3.0]
