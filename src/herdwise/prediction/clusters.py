"""Clusters: k-means over query vectors, each candidate's mean per cluster (Avengers, arXiv 2505.19797)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np

from herdwise.prediction.fitted import FittedArrays
from herdwise.prediction.neighbours import k_means, squared_distances


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
        self.sizes, self.prior = tuple(sizes), prior

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        known = np.isfinite(Y)
        filled = np.where(known, Y, 0.0).astype(np.float32)
        share = np.float32(1.0 / len(self.sizes))
        centres, tables, starts = [], [], [0]
        left_out = np.zeros_like(filled)
        for size in self.sizes:
            found = k_means(X, size, rng)
            member = squared_distances(X, found).argmin(axis=1)
            belongs = np.zeros((len(X), len(found)), dtype=np.float32)
            belongs[np.arange(len(X)), member] = 1.0
            total = belongs.T @ filled + self.prior * self.means_
            count = belongs.T @ known.astype(np.float32) + self.prior
            tables.append(share * total / count)
            left_out += share * (total[member] - filled) / (count[member] - known)
            centres.append(found)
            starts.append(starts[-1] + len(found))
        self.centres_ = np.concatenate(centres)
        self.table_ = np.concatenate(tables).astype(np.float32)
        self.starts_ = np.array(starts)
        self.left_out_ = left_out
        self._prepare()

    def _prepare(self) -> None:
        self._halves = (0.5 * np.einsum("ij,ij->i", self.centres_, self.centres_)).astype(np.float32)
        bounds = self.starts_.tolist()
        self._spans = list(pairwise(bounds))

    def _predict(self, X: np.ndarray) -> np.ndarray:
        # The nearest centre has the largest x.c - |c|^2 / 2.
        nearness = X @ self.centres_.T - self._halves
        total: np.ndarray = np.sum(
            [self.table_[a + nearness[:, a:b].argmax(axis=1)] for a, b in self._spans], axis=0
        )
        return total

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        nearness = self.centres_ @ x - self._halves
        rows = [a + int(nearness[a:b].argmax()) for a, b in self._spans]
        predicted: np.ndarray = self.table_[rows].sum(axis=0)
        return predicted
