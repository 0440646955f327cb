from __future__ import annotations

import logging
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from herdwise.prediction.knn import KNNPredictor
from herdwise.prediction.neighbour_index import ExactIndex, InvertedIndex, neighbour_index

needs_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="the index's extra is not installed")


def _units(n: int, seed: int = 0, d: int = 16) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_exact_index_gives_the_nearest_first_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = _units(1000), _units(30, seed=1)
    monkeypatch.setattr("herdwise.prediction.neighbour_index._ROWS", 128)
    monkeypatch.setattr("herdwise.prediction.neighbour_index._QUERIES", 7)
    found, near = ExactIndex(rows).nearest(queries, 9)
    whole = queries @ rows.T
    np.testing.assert_array_equal(found, np.argsort(-whole, axis=1)[:, :9])
    np.testing.assert_allclose(near, -np.sort(-whole, axis=1)[:, :9], atol=1e-6)


@needs_faiss
def test_the_approximate_index_finds_nearly_all_of_the_nearest() -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(60, 16))
    rows = (centres[rng.integers(0, 60, 6000)] + 0.5 * rng.normal(size=(6000, 16))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = rows[:50]
    true, _ = ExactIndex(rows).nearest(queries, 20)
    found, near = InvertedIndex(rows).nearest(queries, 20)
    assert np.mean([len(set(f) & set(t)) / 20 for f, t in zip(found, true, strict=True)]) > 0.9
    np.testing.assert_allclose(near[:, 0], 1.0, atol=1e-5)


@needs_faiss
def test_places_that_the_approximate_index_cannot_fill_are_marked_and_count_for_nothing() -> None:
    rows = _units(400)
    found, near = InvertedIndex(rows, n_probes=1).nearest(rows[:5], 300)
    assert (found[:, -1] == -1).all()
    assert np.isneginf(near[found < 0]).all()
    Y = np.random.default_rng(0).integers(0, 2, (400, 3)).astype(np.float32)
    assert np.isfinite(KNNPredictor(k=300, prior=0.0, many=100).fit(rows, Y).predict(rows[:5])).all()


@needs_faiss
def test_beyond_the_limit_predictions_stay_near_the_exact_ones_and_survive_saving() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 6)).astype(np.float32)
    Y = (rng.random((3000, 4)) < 0.5 + 0.4 * np.tanh(X[:, :1])).astype(np.float32)
    exact = KNNPredictor(k=50, prior=5.0).fit(X, Y)
    rough = KNNPredictor(k=50, prior=5.0, many=1000).fit(X, Y)
    assert float(np.abs(exact.predict(X[:200]) - rough.predict(X[:200])).mean()) < 0.02
    back = KNNPredictor.from_state(*rough.state())
    np.testing.assert_allclose(back.predict(X[:50]), rough.predict(X[:50]), atol=1e-6)


def test_without_the_extra_many_rows_are_searched_exactly_and_the_log_names_it() -> None:
    # A None in sys.modules is Python's own mark of a module that cannot be imported.
    code = """
import sys, logging
import numpy as np
logging.basicConfig(level=logging.INFO)
sys.modules["faiss"] = None
from herdwise.prediction.neighbour_index import neighbour_index
print(type(neighbour_index(np.eye(5, dtype=np.float32), many=4)).__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "ExactIndex"
    assert "herdwise[index]" in run.stderr


def test_few_rows_are_searched_exactly_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert isinstance(neighbour_index(_units(50)), ExactIndex)
    assert not caplog.records


def test_left_out_neighbours_are_those_of_a_fit_without_the_row() -> None:
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 2, (60, 3)).astype(np.float32)
    whole = KNNPredictor(k=10, prior=2.0).fit(X, Y)
    assert whole.left_out_ is not None
    rest = np.arange(60) != 7
    without = KNNPredictor(k=10, prior=2.0).fit(X[rest], Y[rest])
    without.centre_, without.means_ = whole.centre_, whole.means_
    without.units_ = whole.units_[rest]
    without._prepare()
    np.testing.assert_allclose(whole.left_out_[7], without.predict_one(X[7]), atol=1e-5)


def test_noise_is_shrunk_to_the_means_and_signal_is_not() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    noise = (rng.random((600, 3)) < 0.5).astype(np.float32)
    signal = (rng.random((600, 3)) < 0.5 + 0.45 * np.sign(X[:, :1])).astype(np.float32)
    assert KNNPredictor().fit(X, noise).chosen_[1] >= 100
    assert KNNPredictor().fit(X, signal).chosen_[1] <= 10
