"""Ridge by blocks, and for targets that are each known in rows of their own."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction import feature_blocks, feature_factors, least_squares
from herdwise.prediction.feature_blocks import FeatureBlocks
from herdwise.prediction.feature_factors import Factors
from herdwise.prediction.least_squares import solve
from herdwise.prediction.scattered import solve_scattered


def _problem(n: int, p: int, m: int, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, p)).astype(np.float32) + 0.5
    Y = Z @ rng.normal(size=(p, m)) * 0.2 + 0.5 + 0.3 * rng.normal(size=(n, m))
    return Z, np.where(rng.random((n, m)) < coverage, Y, np.nan).astype(np.float32)


def _ridge(Z: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    centre, level = Z.mean(axis=0), float(y.mean())
    gram = (Z - centre).T @ (Z - centre) + penalty * np.eye(Z.shape[1])
    weights = np.linalg.solve(gram, (Z - centre).T @ (y - level))
    return weights, level - float(centre @ weights)


def test_each_scattered_target_gets_the_ridge_of_its_own_rows() -> None:
    Z, Y = _problem(600, 12, 50, 0.3)
    weights, offset, _ = solve_scattered(Factors.of(FeatureBlocks.of(Z)), Y, 20.0)
    for j in range(50):
        rows = np.isfinite(Y[:, j])
        own, level = _ridge(Z[rows], Y[rows, j], 20.0)
        np.testing.assert_allclose(weights[:, j], own, atol=2e-3)
        np.testing.assert_allclose(offset[j], level, atol=2e-3)


def test_targets_whose_rows_are_of_one_kind_are_fitted_too() -> None:
    Z, Y = _problem(400, 6, 2, 1.0)
    Y[Z[:, 0] < 0.5, 0] = np.nan
    Y[Z[:, 1] > 0.5, 1] = np.nan
    weights, offset, _ = solve_scattered(Factors.of(FeatureBlocks.of(Z)), Y, 5.0)
    for j in range(2):
        rows = np.isfinite(Y[:, j])
        own, level = _ridge(Z[rows], Y[rows, j], 5.0)
        np.testing.assert_allclose(weights[:, j], own, atol=5e-3)
        np.testing.assert_allclose(offset[j], level, atol=5e-3)


def test_their_left_out_predictions_are_nearly_those_of_refitting_without_the_row() -> None:
    Z, Y = _problem(500, 8, 3, 0.4)
    _, _, left_out = solve_scattered(Factors.of(FeatureBlocks.of(Z)), Y, 10.0)
    for i in np.flatnonzero(np.isfinite(Y[:, 0]))[:10]:
        rows = np.isfinite(Y[:, 0])
        rows[i] = False
        weights, level = _ridge(Z[rows], Y[rows, 0], 10.0)
        assert left_out[i, 0] == pytest.approx(float(Z[i] @ weights) + level, abs=0.01)


def test_many_patterns_are_solved_together_about_as_well_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Z, Y = _problem(800, 10, 60, 0.2)
    means = np.nanmean(Y, axis=0)
    together = solve(Z, Y, means)
    monkeypatch.setattr(least_squares, "MANY_PATTERNS", 100)
    alone = solve(Z, Y, means)
    known = np.isfinite(Y)
    error = [float(np.mean((fit.left_out - Y)[known] ** 2)) for fit in (together, alone)]
    assert error[0] < 1.02 * error[1]
    assert error[0] < 0.5 * float(np.mean((means - Y)[known] ** 2))


def test_a_scattered_target_without_two_outcomes_gets_the_given_mean() -> None:
    Z, Y = _problem(300, 5, 50, 0.3)
    Y[:, 7] = np.nan
    Y[1:, 8] = np.nan
    means = np.full(50, 0.25)
    fit = solve(Z, Y, means)
    for j in (7, 8):
        assert not fit.weights[:, j].any()
        np.testing.assert_allclose(fit.left_out[:, j], 0.25)


@pytest.mark.parametrize("coverage", [1.0, 0.98, 0.3])
def test_features_made_in_blocks_give_the_fit_of_features_made_at_once(
    monkeypatch: pytest.MonkeyPatch, coverage: float
) -> None:
    Z, Y = _problem(500, 8, 4, coverage)
    if coverage == 0.3:
        Y = np.tile(Y, (1, 15))
        Y[np.random.default_rng(1).random(Y.shape) < 0.2] = np.nan
    means = np.nanmean(Y, axis=0)
    whole = solve(Z, Y, means)
    monkeypatch.setattr(feature_blocks, "BLOCK_CELLS", 64 * 8)
    monkeypatch.setattr(feature_factors, "_KEPT_CELLS", 200 * 8)
    made: list[int] = []

    def make(rows: np.ndarray) -> np.ndarray:
        made.append(len(rows))
        return Z[rows]

    blocks = solve(FeatureBlocks(len(Z), 8, make), Y, means)
    assert max(made) == 64
    np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-4)
    np.testing.assert_allclose(blocks.left_out, whole.left_out, atol=1e-4)
