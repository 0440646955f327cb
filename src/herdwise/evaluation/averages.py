"""Two averages: micro (every query counts the same) and macro (every benchmark does)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from herdwise.core.errors import InputError

Average = Literal["micro", "macro"]
AVERAGES: tuple[Average, ...] = ("micro", "macro")


def mean(values: np.ndarray, benchmarks: Sequence[str], average: Average) -> np.ndarray:
    """Average over the queries, the first axis of ``values`` ``(n, ...)``.

    Agrees with ``query_weights`` but for rounding: a mean of ones is 1, never a bit more.

    >>> float(mean(np.array([1.0, 1.0, 0.0, 1.0]), ["a", "a", "a", "b"], "macro")).__round__(3)
    0.833

    Raises:
        InputError: when there is no query, or the average is unknown.
    """
    _check(benchmarks, average)
    if average == "micro":
        return np.asarray(values.mean(axis=0, dtype=np.float64))
    return np.asarray(
        np.mean([values[rows].mean(axis=0, dtype=np.float64) for _, rows in groups(benchmarks)], axis=0)
    )


def query_weights(benchmarks: Sequence[str], average: Average) -> np.ndarray:
    """What each query counts in the average, ``(n,)``, together 1.

    >>> query_weights(["a", "a", "a", "b"], "macro").round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]

    Raises:
        InputError: when there is no query, or the average is unknown.
    """
    _check(benchmarks, average)
    if average == "micro":
        return np.full(len(benchmarks), 1.0 / len(benchmarks))
    _, group, count = np.unique(np.asarray(benchmarks), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(count) * count[group]))


def groups(benchmarks: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Each benchmark's name with the positions of its queries, sorted by name."""
    names = np.asarray(benchmarks)
    return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]


def _check(benchmarks: Sequence[str], average: Average) -> None:
    if average not in AVERAGES:
        raise InputError(f"there is no average {average!r}.", remedy=f"Known: {', '.join(AVERAGES)}.")
    if len(benchmarks) == 0:
        raise InputError("there is no query to average over.")
