"""Distances and clusters that several predictors share."""

from __future__ import annotations

import numpy as np


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
    """At most ``n_clusters`` distinct centres ``(k, d)`` float32; on a sample beyond ``n_rows`` rows."""
    from sklearn.cluster import KMeans

    rows = np.unique(X, axis=0)
    if len(rows) <= n_clusters:
        return np.ascontiguousarray(rows, dtype=np.float32)
    if len(X) > n_rows:
        X = X[rng.choice(len(X), n_rows, replace=False)]
    # Careful seeding costs more than it gives where centres are many.
    init = "k-means++" if n_clusters <= 100 else "random"
    model = KMeans(n_clusters, init=init, n_init=1, max_iter=n_rounds, random_state=int(rng.integers(2**31)))
    return np.asarray(model.fit(X).cluster_centers_, dtype=np.float32)
