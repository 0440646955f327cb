"""k-means and distances."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from herdwise.prediction.neighbours import k_means, squared_distances


def clouds(n: int, k: int = 6, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    middles = (rng.normal(size=(k, d)) * 10).astype(np.float32)
    return middles[rng.integers(0, k, n)] + rng.normal(size=(n, d)).astype(np.float32) * 0.1, middles


def test_k_means_finds_planted_clouds() -> None:
    X, middles = clouds(600)
    centres = k_means(X, 6, np.random.default_rng(1))
    assert centres.shape == (6, 8)
    assert centres.dtype == np.float32
    assert float(squared_distances(middles, centres).min(axis=1).max()) < 0.02


def test_k_means_serves_a_sample_of_many_rows() -> None:
    X, middles = clouds(3000)
    centres = k_means(X, 6, np.random.default_rng(1), n_rows=500)
    assert float(squared_distances(middles, centres).min(axis=1).max()) < 0.02


def test_fewer_distinct_rows_than_clusters_are_their_own_centres() -> None:
    X = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    assert len(k_means(X, 5, np.random.default_rng(0))) == 3
    assert len(k_means(X, 3, np.random.default_rng(0))) == 3
    assert len(k_means(X, 2, np.random.default_rng(0))) == 2


def test_many_centres_are_distinct_and_nearer_than_a_random_choice_of_rows() -> None:
    X = np.random.default_rng(3).normal(size=(1500, 10)).astype(np.float32)
    centres = k_means(X, 150, np.random.default_rng(4))
    assert len(np.unique(centres, axis=0)) == len(centres) <= 150
    drawn = X[np.random.default_rng(4).choice(len(X), 150, replace=False)]
    assert squared_distances(X, centres).min(axis=1).mean() < squared_distances(X, drawn).min(axis=1).mean()


def test_the_same_seed_gives_the_same_centres() -> None:
    X, _ = clouds(200)
    first, again = (k_means(X, 9, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_default_predictor_is_trained_without_scikit_learn_or_scipy() -> None:
    script = (
        "import sys, numpy as np\n"
        "from herdwise.prediction.base import PREDICTORS\n"
        "rng = np.random.default_rng(0)\n"
        "X = rng.normal(size=(400, 12)).astype('float32')\n"
        "PREDICTORS.create('stack').fit(X, rng.random((400, 3)) < 0.5)\n"
        "print([m for m in ('sklearn', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
