"""Averages as weights."""

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.evaluation.averages import Average, groups, mean, query_weights


def test_micro_counts_every_query_the_same() -> None:
    assert query_weights(["a", "a", "a", "b"], "micro").tolist() == [0.25] * 4


def test_macro_counts_every_benchmark_the_same() -> None:
    weights = query_weights(["a", "b", "a", "a"], "macro")
    assert weights == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6])
    # The mean of the benchmarks' means: (1 + 0 + 0) / 3 for a, 1 for b.
    assert weights @ np.array([1.0, 1.0, 0.0, 0.0]) == pytest.approx((1 / 3 + 1) / 2)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_means_agree_with_the_weights_and_a_mean_of_ones_is_one(average: Average) -> None:
    benchmarks = ["a", "b", "a", "a", "c", "c"] * 7
    values = np.random.default_rng(0).random((42, 3))
    assert mean(values, benchmarks, average) == pytest.approx(query_weights(benchmarks, average) @ values)
    assert mean(np.ones(42), benchmarks, average) == 1.0


def test_an_average_over_nothing_or_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError):
        query_weights([], "micro")
    with pytest.raises(InputError, match="median"):
        query_weights(["a"], "median")  # type: ignore[arg-type]


def test_groups_name_each_benchmark_with_its_rows() -> None:
    assert [(name, rows.tolist()) for name, rows in groups(["b", "a", "b"])] == [("a", [1]), ("b", [0, 2])]
