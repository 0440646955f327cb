"""Clusters: k-means over query vectors, each candidate's mean per cluster (Avengers, arXiv 2505.19797)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.neighbours import k_means, squared_distances
from herdwise.prediction.option_checks import positive, several, whole

#: Rows that are looked at together.
_BLOCK = 2**13


class ClusterPredictor(FittedArrays):
    """Mean quality per cluster, at several granularities that are averaged.

    Each cluster's mean is shrunk towards the candidate's mean as if that were ``prior`` outcomes. Coarse
    clusters are safe, fine ones sharp; their average routes better than either (docs/experiments).

    Args:
        sizes: numbers of clusters; fewer where there are fewer distinct queries.
        prior: outcomes that the candidate's overall mean counts for.
    """

    name: ClassVar[str] = "clusters"
    arrays: ClassVar[tuple[str, ...]] = ("centres_", "starts_", "table_")
    options: ClassVar[tuple[str, ...]] = ("sizes", "prior")

    def __init__(self, sizes: Sequence[int] = (4, 6, 8, 12, 16, 32, 64), prior: float = 10.0) -> None:
        self.sizes = tuple(whole(self.name, "sizes", size) for size in several(self.name, "sizes", sizes))
        self.prior = positive(self.name, "prior", prior)

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        share = np.float32(1.0 / len(self.sizes))
        found = [k_means(X, size, rng) for size in self.sizes]
        totals = [np.tile(np.float32(self.prior) * self.means_, (len(centres), 1)) for centres in found]
        counts = [np.full_like(total, self.prior) for total in totals]
        members = np.empty((len(found), len(X)), dtype=np.int16)
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(X), _BLOCK)]
        for rows in blocks:
            known = np.isfinite(Y[rows])
            filled, run = np.where(known, Y[rows], np.float32(0.0)), known.astype(np.float32)
            for centres, total, count, member in zip(found, totals, counts, members, strict=True):
                member[rows] = squared_distances(X[rows], centres).argmin(axis=1)
                belongs = np.zeros((len(run), len(centres)), dtype=np.float32)
                belongs[np.arange(len(run)), member[rows]] = 1.0
                np.add(total, belongs.T @ filled, out=total)
                np.add(count, belongs.T @ run, out=count)
        left_out = np.zeros(Y.shape, dtype=np.float32)
        for rows in blocks:
            known = np.isfinite(Y[rows])
            filled, run = np.where(known, Y[rows], np.float32(0.0)), known.astype(np.float32)
            for total, count, member in zip(totals, counts, members, strict=True):
                left_out[rows] += share * (total[member[rows]] - filled) / (count[member[rows]] - run)
        tables = [share * total / count for total, count in zip(totals, counts, strict=True)]
        self.centres_ = np.concatenate(found)
        self.table_ = np.concatenate(tables).astype(np.float32)
        self.starts_ = np.cumsum([0, *(len(centres) for centres in found)])
        self.left_out_ = left_out
        self._prepare()

    def _prepare(self) -> None:
        self._halves = (0.5 * np.einsum("ij,ij->i", self.centres_, self.centres_)).astype(np.float32)
        bounds = self.starts_.tolist()
        self._spans = list(pairwise(bounds))
        # One row per granularity, filled up with the place after the last centre, which is never the nearest.
        widest = max(b - a for a, b in self._spans)
        self._places = np.full((len(self._spans), widest), bounds[-1], dtype=np.intp)
        for row, (a, b) in zip(self._places, self._spans, strict=True):
            row[: b - a] = np.arange(a, b)
        self._firsts = np.array(bounds[:-1], dtype=np.intp)
        self._ones = np.ones(len(self._spans), dtype=np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        # The nearest centre has the largest x.c - |c|^2 / 2.
        nearness = X @ self.centres_.T - self._halves
        total: np.ndarray = np.sum(
            [self.table_[a + nearness[:, a:b].argmax(axis=1)] for a, b in self._spans], axis=0
        )
        return total

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        nearness = np.empty(len(self._halves) + 1, dtype=np.float32)
        np.subtract(self.centres_.dot(x), self._halves, nearness[:-1])
        nearness[-1] = -np.inf
        rows = nearness.take(self._places).argmax(axis=1)
        rows += self._firsts
        predicted: np.ndarray = self._ones.dot(self.table_.take(rows, axis=0))
        return predicted
