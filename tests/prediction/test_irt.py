from __future__ import annotations

import numpy as np

from herdwise.prediction.irt import ItemResponsePredictor
from herdwise.prediction.logistic import sigmoid


def _planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes from one dimension of ability and a difficulty, both linear in the vector."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8)).astype(np.float32)
    ability = np.array([1.5, -1.5, 0.5, -0.5, 0.0])
    truth = sigmoid(X[:, :1] * ability - X[:, 1:2] + np.array([0.5, 0.0, 0.2, -0.3, 0.1]))
    return X, (rng.random(truth.shape) < truth).astype(np.float32), truth


def test_one_planted_dimension_is_found_with_the_difficulty_beside_it() -> None:
    X, Y, truth = _planted(3000, 0)
    predictor = ItemResponsePredictor().fit(X, Y)
    assert 1 <= len(predictor.abilities_) <= 2
    assert abs(float(predictor.abilities_[0] @ [1.5, -1.5, 0.5, -0.5, 0.0]) / np.sqrt(5.0)) > 0.97
    np.testing.assert_allclose(predictor.difficulty_[1], 1.0, atol=0.15)
    assert abs(predictor.difficulty_[[0, 2, 3, 4, 5, 6, 7]]).max() < 0.15
    assert float(np.mean((predictor.predict(X) - truth) ** 2)) < 0.001


def test_abilities_sum_to_zero_so_that_difficulty_is_told_apart() -> None:
    X, Y, _ = _planted(500, 1)
    Y[::3, 2] = np.nan
    predictor = ItemResponsePredictor().fit(X, Y)
    np.testing.assert_allclose(predictor.abilities_.sum(axis=1), 0.0, atol=1e-5)


def test_left_out_predictions_are_near_those_of_fits_without_the_row() -> None:
    X, Y, _ = _planted(120, 2)
    whole = ItemResponsePredictor().fit(X, Y)
    assert whole.left_out_ is not None
    inside = whole.predict(X)
    refitted, told, seen = [], [], []
    for row in range(0, 120, 10):
        rest = np.arange(120) != row
        refitted.append(ItemResponsePredictor().fit(X[rest], Y[rest]).predict_one(X[row]))
        told.append(whole.left_out_[row])
        seen.append(inside[row])
    missed = np.abs(np.array(told) - refitted).mean()
    assert missed < 0.5 * np.abs(np.array(seen) - refitted).mean()


def test_without_signal_there_are_no_dimensions_to_speak_of() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(800, 10)).astype(np.float32)
    Y = (rng.random((800, 6)) < 0.5).astype(np.float32)
    predicted = ItemResponsePredictor().fit(X, Y).predict(X)
    assert float(predicted.std(axis=0).max()) < 0.03
