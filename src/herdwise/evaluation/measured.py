"""Recorded qualities beside a replay's picks, and the figures that need nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from herdwise.evaluation.averages import Average, groups, mean, query_weights
from herdwise.evaluation.figures import BenchmarkFigures, FixedCandidate, Means
from herdwise.evaluation.intervals import interval, resampled_means

#: A mean with the low and high end of its interval.
Interval = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured rows that were answered.

    Args:
        names: candidates, in column order.
        benchmarks: ``(n,)``.
        quality: ``(n, m)`` recorded, finite.
        picked: ``(n,)`` recorded quality of the returned answers, finite.
        answered: ``(n,)`` column of who answered.
        best: column of the best single candidate.
        average: of the headline figures.
    """

    names: list[str]
    benchmarks: Sequence[str]
    quality: np.ndarray
    picked: np.ndarray
    answered: np.ndarray
    best: int
    average: Average

    @property
    def weights(self) -> np.ndarray:
        """What each query counts in the headline average, ``(n,)``."""
        return query_weights(self.benchmarks, self.average)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Headline average of ``(n, ...)`` values over the queries."""
        return mean(values, self.benchmarks, self.average)

    def intervals(self, seed: int) -> tuple[Interval, Interval, Interval]:
        """Router, best single and gain, each with its paired 95% interval."""
        series = np.stack([self.picked, self.quality[:, self.best]], axis=1)
        router, best = (float(value) for value in self.mean(series))
        draws = resampled_means(series, self.benchmarks, self.average, seed=seed)
        return (
            (router, *interval(draws[:, 0])),
            (best, *interval(draws[:, 1])),
            (router - best, *interval(draws[:, 0] - draws[:, 1])),
        )

    def means(self, average: Average) -> Means:
        """The same picks under one average."""
        return Means(*(float(mean(series, self.benchmarks, average)) for series in self._series()))

    def per_benchmark(self) -> dict[str, BenchmarkFigures]:
        """The same picks on each benchmark."""
        return {
            name: BenchmarkFigures(len(at), *(float(series[at].mean()) for series in self._series()))
            for name, at in groups(self.benchmarks)
        }

    def fixed(self, cost: np.ndarray) -> list[FixedCandidate]:
        """Every candidate asked always; ``cost`` is ``(n, m)``, NaN = unknown."""
        quality, spent = self.mean(self.quality), self.mean(cost)
        return [
            FixedCandidate(name, float(q), float(c) if np.isfinite(c) else None)
            for name, q, c in zip(self.names, quality, spent, strict=True)
        ]

    def shares(self) -> dict[str, float]:
        """Candidate -> share of the queries that it answered, the largest first; only those picked."""
        count = np.bincount(self.answered, minlength=len(self.names))
        order = [int(i) for i in np.argsort(-count, kind="stable") if count[i]]
        return {self.names[i]: float(count[i] / len(self.answered)) for i in order}

    def _series(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.picked, self.quality[:, self.best], self.quality.max(axis=1)
