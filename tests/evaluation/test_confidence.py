"""Confidence is measured by what it tells apart."""

import numpy as np
import pytest

from herdwise.evaluation.confidence import accuracy_at_coverage, auroc, confidence_of
from herdwise.evaluation.replay import Replay


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    confidence, quality = np.array([0.9, 0.3, 0.6, 0.1]), np.array([1.0, 0.0, 0.0, 1.0])
    # Right ones at 0.9 and 0.1, wrong ones at 0.3 and 0.6: two of the four pairs are in order.
    assert auroc(confidence, quality) == pytest.approx(0.5)
    assert auroc(-confidence, quality) == pytest.approx(0.5)
    assert auroc(quality, quality) == 1.0


def test_auroc_is_unknown_where_all_are_right() -> None:
    assert auroc(np.array([0.9, 0.2]), np.array([1.0, 1.0])) is None


def test_equal_confidence_says_nothing() -> None:
    assert auroc(np.full(5, 0.7), np.array([1.0, 0.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)


def test_the_most_trusted_half_does_not_depend_on_the_order_of_equals() -> None:
    quality = np.array([1.0, 0.0, 1.0, 0.0])
    assert accuracy_at_coverage(np.full(4, 0.5), quality) == pytest.approx(0.5)
    assert accuracy_at_coverage(np.array([0.9, 0.1, 0.8, 0.2]), quality) == 1.0
    assert accuracy_at_coverage(np.array([0.9, 0.5, 0.5, 0.5]), quality) == pytest.approx((1 + 1 / 3) / 2)


def test_where_no_belief_was_learned_the_predicted_quality_of_the_pick_is_the_confidence() -> None:
    course = Replay(np.array([1, 0]), np.eye(2, dtype=np.int64), np.array([np.nan, 0.8]))
    predicted = np.array([[0.1, 0.6], [0.3, 0.2]])
    assert confidence_of(course, predicted).tolist() == [0.6, 0.8]
