from __future__ import annotations

import numpy as np

from herdwise.prediction.least_squares import solve


def _problem(n: int = 60, p: int = 5, m: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, p)).astype(np.float32)
    Y = (Z @ rng.normal(size=(p, m)) * 0.2 + 0.5 + 0.1 * rng.normal(size=(n, m))).astype(np.float32)
    return Z, Y


def test_left_out_predictions_equal_those_of_refitting_without_the_row() -> None:
    Z, Y = _problem()
    whole = solve(Z, Y, Y.mean(axis=0), strengths=(1.0,))
    # The strength is relative to the mean eigenvalue, so the refit is given the whole fit's absolute one.
    centred = Z - Z.mean(axis=0)
    absolute = float(np.linalg.eigvalsh(centred.T @ centred).mean())
    for i in (0, 17, 59):
        keep = np.arange(len(Z)) != i
        part, level, centre = Z[keep], Y[keep].mean(axis=0), Z[keep].mean(axis=0)
        gram = (part - centre).T @ (part - centre) + absolute * np.eye(Z.shape[1])
        weights = np.linalg.solve(gram, (part - centre).T @ (Y[keep] - level))
        np.testing.assert_allclose(whole.left_out[i], level + (Z[i] - centre) @ weights, atol=1e-4)


def test_a_column_with_many_gaps_is_fitted_on_its_own_rows() -> None:
    Z, Y = _problem()
    gaps = Y.copy()
    gaps[::2, 1] = np.nan
    fit = solve(Z, gaps, np.nanmean(gaps, axis=0))
    alone = solve(Z[1::2], Y[1::2, 1:2], Y[1::2, 1:2].mean(axis=0))
    np.testing.assert_allclose(fit.weights[:, 1], alone.weights[:, 0], atol=1e-5)


def test_a_column_with_few_gaps_shares_a_fit_that_is_nearly_its_own() -> None:
    Z, Y = _problem(n=200)
    gaps = Y.copy()
    gaps[:4, 1] = np.nan
    shared = solve(Z, gaps, np.nanmean(gaps, axis=0), strengths=(0.1,))
    alone = solve(Z[4:], Y[4:], Y[4:].mean(axis=0), strengths=(0.1,))
    np.testing.assert_allclose(shared.weights[:, 1], alone.weights[:, 1], atol=0.01)


def test_noise_is_shrunk_to_the_means() -> None:
    rng = np.random.default_rng(1)
    Z, Y = rng.normal(size=(300, 40)).astype(np.float32), rng.random((300, 4)).astype(np.float32)
    fit = solve(Z, Y, Y.mean(axis=0))
    spread = (Z @ fit.weights).std(axis=0)
    assert float(spread.max()) < 0.02


def test_a_column_without_targets_gets_the_given_mean() -> None:
    Z, Y = _problem()
    Y[:, 2] = np.nan
    fit = solve(Z, Y, np.array([0.1, 0.2, 0.3]))
    assert not fit.weights[:, 2].any()
    np.testing.assert_allclose(fit.offset[2], 0.3, atol=1e-6)
