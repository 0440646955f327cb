"""Averages as weights: micro (every query counts the same) and macro (every benchmark does)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from herdwise.core.errors import InputError

Average = Literal["micro", "macro"]
AVERAGES: tuple[Average, ...] = ("micro", "macro")


def query_weights(benchmarks: Sequence[str], average: Average) -> np.ndarray:
    """Weights ``(n,)`` that sum to 1, so that every average is ``weights @ values``.

    >>> query_weights(["a", "a", "a", "b"], "macro").round(3).tolist()
    [0.167, 0.167, 0.167, 0.5]

    Raises:
        InputError: when there is no query, or the average is unknown.
    """
    if average not in AVERAGES:
        raise InputError(f"there is no average {average!r}.", remedy=f"Known: {', '.join(AVERAGES)}.")
    if len(benchmarks) == 0:
        raise InputError("there is no query to average over.")
    if average == "micro":
        return np.full(len(benchmarks), 1.0 / len(benchmarks))
    _, group, count = np.unique(np.asarray(benchmarks), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(count) * count[group]))


def groups(benchmarks: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Each benchmark's name with the positions of its queries, sorted by name."""
    names = np.asarray(benchmarks)
    return [(str(name), np.flatnonzero(names == name)) for name in np.unique(names)]
