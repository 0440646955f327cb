"""Calibration error, gap recovered, means that may be unknown."""

import numpy as np
import pytest

from herdwise.evaluation.metrics import expected_calibration_error, gap_recovered, mean_or_unknown


def test_the_calibration_error_is_the_one_computed_by_hand() -> None:
    # Bins of 1/15: 0.10 and 0.12 share one (mean 0.11, observed 0.5), 0.90 has its own (observed 1).
    predicted, observed = np.array([[0.10, 0.12, 0.90]]), np.array([[0.0, 1.0, 1.0]])
    assert expected_calibration_error(predicted, observed) == pytest.approx((2 * 0.39 + 0.10) / 3)


def test_pairs_of_opposite_error_in_one_bin_cancel_and_in_two_bins_do_not() -> None:
    assert expected_calibration_error(np.array([0.5, 0.5]), np.array([0.0, 1.0])) == pytest.approx(0.0)
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(1.0)


def test_a_float32_prediction_on_an_edge_stays_in_the_bin_that_it_opens() -> None:
    on_edge = np.array([np.float32(3 / 15), np.float32(0.21)])
    assert expected_calibration_error(on_edge, np.array([0.0, 0.41])) == pytest.approx(0.0, abs=1e-6)


def test_pairs_that_were_not_run_take_no_part_and_none_at_all_is_unknown() -> None:
    assert expected_calibration_error(np.array([0.2, 0.9]), np.array([0.2, np.nan])) == pytest.approx(0.0)
    assert expected_calibration_error(np.array([0.2]), np.array([np.nan])) is None


def test_gap_recovered_is_a_share_of_the_gap_and_undefined_without_one() -> None:
    assert gap_recovered(0.6, 0.5, 0.9) == pytest.approx(0.25)
    assert gap_recovered(0.4, 0.5, 0.9) == pytest.approx(-0.25)
    assert gap_recovered(0.5, 0.5, 0.5) is None


def test_a_mean_with_an_unknown_part_is_unknown() -> None:
    assert mean_or_unknown(np.array([1.0, 3.0])) == 2.0
    assert mean_or_unknown(np.array([1.0, np.nan])) is None
    assert mean_or_unknown(np.array([])) is None
