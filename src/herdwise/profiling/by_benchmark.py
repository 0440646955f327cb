"""Figures per benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from herdwise.core.outcomes import OutcomeTable


@dataclass(frozen=True, slots=True)
class Quality:
    """A candidate's quality on a benchmark.

    Args:
        candidate: its name.
        n: items with a grade.
        quality: mean over items (samples of one item averaged first).
        low, high: 95% Wilson interval of it, over items.
    """

    candidate: str
    n: int
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BenchmarkFigures:
    """One benchmark's figures.

    Args:
        benchmark: its name.
        n_items: items.
        candidates: those with a grade, in the herd's order.
        oracle: mean of each item's best quality, over the items that every candidate has a grade on: what
            routing could reach at most; None where there is none.
        n_oracle: those items.
    """

    benchmark: str
    n_items: int
    candidates: list[Quality]
    oracle: float | None
    n_oracle: int


def wilson(mean: float, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a mean of n values in [0, 1] (E. B. Wilson, JASA 22, 1927).

    Exact in form for 0/1 values, wider than needed for fractions.

    >>> tuple(round(v, 3) for v in wilson(0.5, 100))
    (0.404, 0.596)
    """
    spread = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    middle, scale = mean + z * z / (2 * n), 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def by_benchmark(table: OutcomeTable) -> list[BenchmarkFigures]:
    """One each, in the order of first appearance."""
    quality = table.matrix("quality")
    names = np.array([str(b) for b in table.benchmarks], dtype=object)
    figures = []
    for name in dict.fromkeys(names.tolist()):
        rows = quality[names == name]
        whole = rows[np.isfinite(rows).all(axis=1)]
        figures.append(
            BenchmarkFigures(
                benchmark=name,
                n_items=len(rows),
                candidates=[
                    _quality(candidate, column[np.isfinite(column)])
                    for candidate, column in zip(table.herd.names, rows.T, strict=True)
                    if np.isfinite(column).any()
                ],
                oracle=float(whole.max(axis=1).mean(dtype=np.float64)) if len(whole) else None,
                n_oracle=len(whole),
            )
        )
    return figures


def _quality(candidate: str, graded: np.ndarray) -> Quality:
    mean = float(graded.mean(dtype=np.float64))
    return Quality(candidate, len(graded), mean, *wilson(mean, len(graded)))
