"""Distances and clusters that several predictors share."""

from __future__ import annotations

import numpy as np

#: Most centres that are seeded with care, and rows that seeding looks at.
_CAREFUL = 100
_SEED_ROWS = 4000


def squared_distances(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of each of ``(n, d)`` to each of ``(k, d)``: ``(n, k)``, never negative."""
    found: np.ndarray = -2.0 * (X @ centres.T)
    found += np.einsum("ij,ij->i", X, X)[:, None]
    found += np.einsum("ij,ij->i", centres, centres)
    np.maximum(found, 0.0, out=found)
    return found


def k_means(
    X: np.ndarray, n_clusters: int, rng: np.random.Generator, *, n_rows: int = 50_000, n_rounds: int = 20
) -> np.ndarray:
    """At most ``n_clusters`` distinct centres ``(k, d)`` float32, by Lloyd's rounds on ``n_rows`` at most.

    Written out because scikit-learn takes seconds to import, which every fresh process that trains would pay.
    """
    X = np.ascontiguousarray(X, dtype=np.float32)
    # Rows with different shadows are different: the exact comparison is needed only where shadows are few.
    shadows = X @ rng.standard_normal(X.shape[1], dtype=np.float32)
    if len(np.unique(shadows)) <= n_clusters:
        rows = np.unique(X, axis=0)
        if len(rows) <= n_clusters:
            return np.ascontiguousarray(rows)
    if len(X) > n_rows:
        X = X[rng.choice(len(X), n_rows, replace=False)]
    # Careful seeding costs more than it gives where centres are many.
    if n_clusters <= _CAREFUL:
        centres = _seeds(X, n_clusters, rng)
    else:
        centres = X[rng.choice(len(X), n_clusters, replace=False)]
    nearest: np.ndarray | None = None
    for _ in range(n_rounds):
        found = _nearest(X, centres)
        if nearest is not None and np.array_equal(found, nearest):
            break
        nearest = found
        # Small integers are sorted by radix, ten times as fast.
        small = nearest.astype(np.int16) if len(centres) < 2**15 else nearest
        order = np.argsort(small, kind="stable")
        grouped = nearest[order]
        first = np.flatnonzero(np.append(True, grouped[1:] != grouped[:-1]))
        held = grouped[first]
        sizes = np.diff(np.append(first, len(X)))
        # A centre that lost all its rows is dropped.
        centres = np.add.reduceat(X[order], first, axis=0) / sizes[:, None].astype(np.float32)
        nearest = np.searchsorted(held, nearest)
    return np.ascontiguousarray(centres)


def _nearest(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    nearness = X @ centres.T
    nearness -= 0.5 * np.einsum("ij,ij->i", centres, centres)
    found: np.ndarray = nearness.argmax(axis=1)
    return found


def _seeds(X: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007): each seed the best of a few likely ones."""
    n_draws = 2 + int(np.log(n_clusters))
    if len(X) > _SEED_ROWS:
        X = X[rng.choice(len(X), _SEED_ROWS, replace=False)]
    seeds = [int(rng.integers(len(X)))]
    distance = squared_distances(X, X[seeds])[:, 0]
    for _ in range(n_clusters - 1):
        mass = np.cumsum(distance, dtype=np.float64)
        if mass[-1] <= 0.0:
            break
        drawn = np.minimum(np.searchsorted(mass, rng.random(n_draws) * mass[-1]), len(X) - 1)
        after = np.minimum(squared_distances(X, X[drawn]), distance[:, None])
        best = int(after.sum(axis=0).argmin())
        seeds.append(int(drawn[best]))
        distance = after[:, best]
    return X[seeds]
