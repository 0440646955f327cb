from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.adam import Adam
from herdwise.prediction.logistic import LogisticPredictor
from herdwise.prediction.neural import NeuralPredictor, _forward


def test_an_interaction_that_no_linear_predictor_sees_is_learned() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 4)).astype(np.float32)
    good = np.where(X[:, 0] * X[:, 1] > 0, 0.9, 0.1)
    truth = np.stack([good, 1.0 - good], axis=1)
    Y = (rng.random(truth.shape) < truth).astype(np.float32)
    held, expected = X[2000:], truth[2000:]
    linear = LogisticPredictor().fit(X[:2000], Y[:2000]).predict(held)
    neural = NeuralPredictor(n_epochs=60, learning_rate=3e-3, decay=0.1).fit(X[:2000], Y[:2000]).predict(held)
    assert float(np.mean((neural - expected) ** 2)) < 0.5 * float(np.mean((linear - expected) ** 2))


def test_without_signal_the_nets_stop_near_the_means() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 12)).astype(np.float32)
    Y = (rng.random((400, 3)) < [0.2, 0.5, 0.8]).astype(np.float32)
    predicted = NeuralPredictor().fit(X, Y).predict(X)
    np.testing.assert_allclose(predicted, np.repeat(Y.mean(axis=0)[None], 400, axis=0), atol=0.12)


def test_the_gradient_is_that_of_the_masked_cross_entropy() -> None:
    rng = np.random.default_rng(2)
    predictor = NeuralPredictor(hidden=5, dropout=0.0)
    predictor.means_ = np.array([0.3, 0.6, 0.5], dtype=np.float32)
    net = predictor._new(predictor._start(4), rng)
    net = {name: value.astype(np.float64) + 0.3 * rng.normal(size=value.shape) for name, value in net.items()}
    Z, target = rng.normal(size=(7, 4)), rng.random((7, 3))
    known = rng.random((7, 3)) < 0.7

    def loss() -> float:
        chance = _forward(net, Z)[1]
        each = -target * np.log(chance) - (1.0 - target) * np.log1p(-chance)
        return float(each[known].sum() * 3 / known.sum())

    slopes = predictor._gradient(net, Z, target, known, rng)
    for name, value in net.items():
        place = tuple(0 for _ in value.shape)
        value[place] += 1e-5
        above = loss()
        value[place] -= 2e-5
        below = loss()
        value[place] += 1e-5
        assert slopes[name][place] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-7)


def test_adam_finds_the_minimum_of_a_badly_scaled_bowl() -> None:
    parameters = {"x": np.array([3.0, -2.0])}
    adam = Adam(parameters, decay=0.0)
    for step in range(2000):
        adam.step({"x": parameters["x"] * np.array([1000.0, 0.01])}, 0.05 * (1 - step / 2000))
    np.testing.assert_allclose(parameters["x"], 0.0, atol=1e-3)
