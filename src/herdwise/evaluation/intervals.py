"""Paired bootstrap intervals of a mean and of differences of means.

Both averages resample queries with replacement. The micro average resamples all of them; the macro
average resamples within each benchmark and averages the benchmarks' means, so that its interval is that
of the same benchmarks with other questions (the benchmarks themselves are not resampled).
Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), percentile interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from herdwise.core.errors import InputError
from herdwise.evaluation.averages import Average, groups

LEVEL = 0.95
N_RESAMPLES = 2000
# Indices drawn at once: bounds the memory of the draw at about 32 MB.
_DRAWS_AT_ONCE = 4_000_000


def resampled_means(
    values: np.ndarray,
    benchmarks: Sequence[str],
    average: Average = "micro",
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """Bootstrap means of several paired series: the same queries are drawn for each.

    Args:
        values: ``(n, k)`` one column per series, finite.
        benchmarks: ``(n,)`` names, used by the macro average.

    Returns:
        ``(n_resamples, k)`` means.

    Raises:
        InputError: when there is no query or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0 or not np.isfinite(values).all():
        raise InputError(f"bootstrap needs finite (n, k) values with n > 0, not {values.shape}.")
    rng = np.random.default_rng(seed)
    parts = [np.arange(len(values))] if average == "micro" else [rows for _, rows in groups(benchmarks)]
    total = np.zeros((n_resamples, values.shape[1]))
    for rows in parts:
        total += _means(values[rows], n_resamples, rng)
    return total / len(parts)


def interval(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Low and high end of the central ``level`` of bootstrap draws ``(n_resamples,)``."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _means(values: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    n, width = values.shape
    means = np.empty((n_resamples, width))
    chunk = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, n_resamples, chunk):
        stop = min(start + chunk, n_resamples)
        drawn = rng.integers(0, n, size=(stop - start, n), dtype=np.int32)
        for column in range(width):
            means[start:stop, column] = values[:, column][drawn].mean(axis=1)
    return means
