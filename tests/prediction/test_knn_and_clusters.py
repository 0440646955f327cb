from __future__ import annotations

import numpy as np

from herdwise.prediction.clusters import ClusterPredictor
from herdwise.prediction.knn import KNNPredictor
from herdwise.prediction.mf import MatrixFactorisationPredictor
from herdwise.prediction.neighbours import k_means


def _two_clouds(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    side = np.arange(n) % 2
    X = (rng.normal(size=(n, 4)) * 0.1 + side[:, None] * 4.0 - 2.0).astype(np.float32)
    Y = np.stack([side, 1 - side], axis=1).astype(np.float32)
    return X, Y


def test_a_neighbour_that_a_candidate_did_not_run_does_not_count_for_it() -> None:
    X, Y = _two_clouds()
    Y[1::2][:90, 0] = np.nan  # candidate 0 keeps ten outcomes on its good side
    predicted = KNNPredictor(k=60, prior=1.0).fit(X, Y).predict(X[1::2])
    assert float(predicted[:, 0].min()) > 0.65


def test_more_neighbours_than_queries_are_no_error() -> None:
    X, Y = _two_clouds(6)
    assert KNNPredictor(k=100).fit(X, Y).predict(X).shape == (6, 2)


def test_a_larger_prior_pulls_clusters_to_the_mean() -> None:
    X, Y = _two_clouds()
    firm = ClusterPredictor(sizes=(2,), prior=1.0).fit(X, Y).predict(X)
    timid = ClusterPredictor(sizes=(2,), prior=1000.0).fit(X, Y).predict(X)
    assert firm.std() > 0.4
    assert timid.std() < 0.1


def test_left_out_cluster_means_equal_those_counted_without_the_row() -> None:
    X, Y = _two_clouds(20)
    Y[:, 0] = np.random.default_rng(3).random(20)
    predictor = ClusterPredictor(sizes=(2,), prior=2.0).fit(X, Y)
    others = [i for i in range(0, 20, 2) if i != 4]
    by_hand = (Y[others].sum(axis=0) + 2.0 * predictor.means_) / (len(others) + 2.0)
    assert predictor.left_out_ is not None
    np.testing.assert_allclose(predictor.left_out_[4], by_hand, atol=1e-5)


def test_fewer_distinct_queries_than_clusters_become_the_clusters() -> None:
    X = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    assert len(k_means(X, 10, np.random.default_rng(0))) == 3


def test_one_planted_trait_gives_a_factorisation_of_rank_one() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(1500, 8)).astype(np.float32)
    ability = np.array([0.25, -0.25, 0.1, 0.0, -0.1])
    truth = 0.5 + np.tanh(X[:, :1]) * ability
    Y = (rng.random(truth.shape) < truth).astype(np.float32)
    predictor = MatrixFactorisationPredictor().fit(X, Y)
    assert 1 <= predictor.abilities_.shape[0] <= 2
    direction = predictor.abilities_[0] / np.linalg.norm(predictor.abilities_[0])
    assert abs(float(direction @ ability) / np.linalg.norm(ability)) > 0.95
