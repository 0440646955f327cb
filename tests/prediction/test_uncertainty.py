from __future__ import annotations

import numpy as np

from herdwise.prediction.uncertainty import LocalError


def _clouds(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(20, 6)) * 5
    cloud = rng.integers(0, 20, n)
    return (centres[cloud] + rng.normal(size=(n, 6))).astype(np.float32), cloud


def _fit(bias: float, n: int = 3000) -> tuple[LocalError, np.ndarray]:
    """Predictions that are off by +-``bias`` from cloud to cloud, and sampling noise in the outcomes."""
    rng = np.random.default_rng(0)
    X, cloud = _clouds(n, 0)
    predicted = np.full((n, 3), 0.5, dtype=np.float32)
    truth = 0.5 + bias * np.where(cloud % 2 == 0, 1.0, -1.0)[:, None] * np.ones(3)
    Y = (rng.random((n, 3)) < truth).astype(np.float32)
    return LocalError().fit(X, Y, predicted, np.random.default_rng(0)), X


def test_the_stated_error_is_about_the_size_of_the_real_one() -> None:
    error, X = _fit(bias=0.15)
    typical = float(np.sqrt((error(X) ** 2).mean()))
    assert 0.1 < typical < 0.25


def test_right_predictions_state_a_small_error() -> None:
    error, X = _fit(bias=0.0)
    assert float(error(X).mean()) < 0.1


def test_far_from_the_data_less_is_known() -> None:
    error, X = _fit(bias=0.1)
    assert (error(X[:50] + 100.0) > error(X[:50])).all()


def test_a_candidate_without_outcomes_is_stated_as_unknown() -> None:
    X, _ = _clouds(500, 0)
    Y = np.random.default_rng(1).integers(0, 2, (500, 2)).astype(np.float32)
    Y[:, 1] = np.nan
    std = LocalError().fit(X, Y, np.full((500, 2), 0.5, np.float32), np.random.default_rng(0))(X)
    np.testing.assert_allclose(std[:, 1], 12.0**-0.5, atol=1e-5)
    assert float(std[:, 0].max()) < 0.25


def test_fewer_outcomes_state_a_larger_error() -> None:
    X, _ = _clouds(2000, 0)
    Y = np.random.default_rng(1).integers(0, 2, (2000, 2)).astype(np.float32)
    Y[100:, 1] = np.nan
    std = LocalError().fit(X, Y, np.full((2000, 2), 0.5, np.float32), np.random.default_rng(0))(X)
    assert (std[:, 1] > std[:, 0]).all()


def test_one_or_two_outcomes_are_no_certainty_though_they_were_as_predicted() -> None:
    for n in (1, 2):
        X, Y = np.eye(n, 4, dtype=np.float32), np.ones((n, 3), dtype=np.float32)
        std = LocalError().fit(X, Y, Y.copy(), np.random.default_rng(0))(X)
        assert float(std.min()) > 0.15
