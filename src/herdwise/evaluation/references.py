"""What a router is held against: random, cheapest, best single, zero router, oracle.

Hindsight and fixed choices, not policies. Every function takes the measured rows only: ``quality`` is
``(n, m)`` without NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from herdwise.core.errors import InputError
from herdwise.evaluation.averages import Average, mean
from herdwise.evaluation.curves import Hull, upper_hull


def oracle(quality: np.ndarray) -> np.ndarray:
    """Best quality per query in hindsight, ``(n,)``."""
    return np.asarray(quality.max(axis=1))


def random_pick(quality: np.ndarray) -> np.ndarray:
    """Expected quality per query of a uniformly random candidate, ``(n,)``; exact, nothing is drawn."""
    return np.asarray(quality.mean(axis=1))


def cheapest(cost: np.ndarray) -> int:
    """Column of the candidate with the lowest mean cost, the first among equals."""
    return int(np.argmin(cost.mean(axis=0)))


def training_means(
    quality: np.ndarray, benchmarks: Sequence[str], average: Average
) -> tuple[np.ndarray, int]:
    """Mean quality per candidate ``(m,)`` over the queries that every candidate ran, and their number.

    Args:
        quality: ``(n, m)``, NaN = not run.

    Raises:
        InputError: when no query was run by all.
    """
    common = np.isfinite(quality).all(axis=1)
    if not common.any():
        raise InputError(
            "no training query was run by every candidate, so none can be called the best single one.",
            remedy="Name candidates that share queries with --candidates.",
        )
    shared = [b for b, whole in zip(benchmarks, common, strict=True) if whole]
    return mean(quality[common], shared, average), int(common.sum())


def best_single(names: Sequence[str], means: Mapping[str, float]) -> str:
    """The candidate with the best training mean, the first among equals.

    Raises:
        InputError: when no candidate has one.
    """
    known = [name for name in names if np.isfinite(means.get(name, np.nan))]
    if not known:
        raise InputError(
            "no candidate has a training mean, so none can be called the best single one.",
            remedy="Train the router on queries that its candidates share.",
        )
    return max(known, key=lambda name: means[name])


def zero_router(mean_cost: np.ndarray, mean_quality: np.ndarray) -> Hull:
    """The non-decreasing convex hull of the fixed candidates ``(m,)``: what mixing them blindly buys."""
    return upper_hull(mean_cost, mean_quality)
