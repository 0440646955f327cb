"""The nearest of many vectors: exactly, or by an inverted file where they are very many (extra ``index``)."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any, Protocol

import numpy as np

_LOG = logging.getLogger(__name__)
#: From here on an exact search takes many milliseconds a query.
MANY = 100_000
_QUERIES, _ROWS = 512, 65_536
#: Lists that are looked through for one query: of 2 sqrt(n), found by measuring (docs/decisions/0014).
_PROBES = 16


class NeighbourIndex(Protocol):
    """Finds the rows whose inner product with a query is largest."""

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``(n, k)`` int64 and their similarity ``(n, k)`` float32, the nearest first.

        ``k`` is at most the number of rows. Where fewer are found, -1 and -inf fill the places.
        """


class ExactIndex:
    """Looks at every row, in blocks that bound memory.

    Args:
        units: ``(n, d)`` float32 rows of length one.
    """

    def __init__(self, units: np.ndarray) -> None:
        self.units = units

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``NeighbourIndex``."""
        parts = [self._block(queries[i : i + _QUERIES], k) for i in range(0, len(queries), _QUERIES)]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([near for _, near in parts])

    def _block(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        kept_rows, kept = [], []
        for first in range(0, len(self.units), _ROWS):
            near = queries @ self.units[first : first + _ROWS].T
            count = min(k, near.shape[1])
            part = np.argpartition(-near, count - 1, axis=1)[:, :count]
            kept_rows.append(part + first)
            kept.append(np.take_along_axis(near, part, axis=1))
        rows, near = np.concatenate(kept_rows, axis=1), np.concatenate(kept, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)


class InvertedIndex:
    """faiss's inverted file (Sivic and Zisserman 2003): k-means lists, the nearest few looked through.

    Built anew from the rows at each load, in seconds: a graph that takes minutes to build would have to be
    saved in the library's own binary form, which must not be trusted from a stranger.

    Args:
        units: ``(n, d)`` float32 rows of length one.
        n_probes: lists looked through per query; more finds more.

    Raises:
        ImportError: faiss is not installed.
    """

    def __init__(self, units: np.ndarray, n_probes: int = _PROBES) -> None:
        faiss: Any = import_module("faiss")
        n, d = units.shape
        units = np.ascontiguousarray(units, dtype=np.float32)
        n_lists = max(min(2 * int(np.sqrt(n)), n // 40), 1)
        faiss.omp_set_num_threads(1)
        self._lists: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, n_lists, faiss.METRIC_INNER_PRODUCT)
        self._lists.cp.niter, self._lists.cp.max_points_per_centroid = 8, 64
        self._lists.train(units)
        self._lists.add(units)
        self._lists.nprobe = min(n_probes, n_lists)

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See ``NeighbourIndex``."""
        near, rows = self._lists.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        return rows, np.where(rows < 0, np.float32(-np.inf), near)


def neighbour_index(units: np.ndarray, *, many: int = MANY) -> NeighbourIndex:
    """An exact index for up to ``many`` rows; beyond, an approximate one, where the extra is installed."""
    if len(units) > many:
        try:
            return InvertedIndex(units)
        except ImportError:
            _LOG.warning(
                "%d rows are searched exactly, which is slow: pip install 'herdwise[index]' for an index.",
                len(units),
            )
    return ExactIndex(units)
