from __future__ import annotations

import numpy as np

from herdwise.prediction.calibration import Calibration


def _overconfident(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are too extreme by a factor of two around one half, and outcomes."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.25, 0.75, size=(n, 4))
    return (2.0 * truth - 0.5).astype(np.float32), (rng.random((n, 4)) < truth).astype(np.float32)


def _calibration_error(predicted: np.ndarray, observed: np.ndarray) -> float:
    bins = np.minimum((predicted * 15).astype(int), 14)
    gaps = [abs(float((predicted - observed)[bins == b].sum())) for b in range(15)]
    return sum(gaps) / predicted.size


def test_overconfident_predictions_become_frequencies_on_new_queries() -> None:
    predicted, Y = _overconfident(3000, 0)
    calibration = Calibration().fit(predicted, Y)
    fresh, outcomes = _overconfident(3000, 1)
    assert _calibration_error(np.clip(fresh, 0, 1), outcomes) > 0.08
    assert _calibration_error(np.clip(calibration(fresh), 0, 1), outcomes) < 0.03


def test_a_candidate_that_is_always_overrated_is_corrected_on_its_own() -> None:
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.3, 0.7, size=(2000, 2))
    Y = (rng.random(truth.shape) < truth).astype(np.float32)
    predicted = truth.astype(np.float32)
    predicted[:, 1] += 0.2
    calibrated = Calibration().fit(predicted, Y)(predicted)
    assert abs(float((calibrated - Y)[:, 1].mean())) < 0.02
    assert abs(float((calibrated - Y)[:, 0].mean())) < 0.02


def test_the_map_rises_strictly_so_no_order_within_a_candidate_is_lost() -> None:
    rng = np.random.default_rng(3)
    predicted = rng.random((500, 3)).astype(np.float32)
    Y = (rng.random((500, 3)) < 0.5).astype(np.float32)  # nothing foretold: isotonic regression would be flat
    calibration = Calibration().fit(predicted, Y)
    line = np.repeat(np.linspace(-0.2, 1.2, 200, dtype=np.float32)[:, None], 3, axis=1)
    assert (np.diff(calibration(line), axis=0) > 0).all()


def test_fractional_outcomes_are_calibrated_too() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(0.2, 0.8, size=(2000, 3)).astype(np.float32)
    predicted = np.sqrt(truth)
    calibrated = Calibration().fit(predicted, truth)(predicted)
    assert float(np.abs(calibrated - truth).mean()) < 0.02


def test_gaps_in_the_outcomes_are_skipped() -> None:
    predicted, Y = _overconfident(400, 5)
    Y[::2, 0] = np.nan
    Y[:, 3] = np.nan
    assert np.isfinite(Calibration().fit(predicted, Y)(predicted)).all()


def test_saved_and_rebuilt_it_is_the_same_map() -> None:
    predicted, Y = _overconfident(300, 6)
    calibration = Calibration().fit(predicted, Y)
    back = Calibration.from_state(calibration.state())
    np.testing.assert_array_equal(back(predicted), calibration(predicted))
