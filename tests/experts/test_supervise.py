"""Which labels a judge doubts."""

from __future__ import annotations

import numpy as np
import pytest

from herdwise.experts.supervise import trust


def test_a_label_is_doubted_where_the_judge_is_as_sure_of_another_answer_as_of_those_that_agree() -> None:
    probability = np.array([0.2, 0.4, 0.3, 0.15, 0.9])
    agrees = np.array([True, True, False, False, False])
    assert trust(probability, agrees) == pytest.approx([1.0, 1.0, 0.0, 0.5, 0.0])


def test_an_unsure_judge_keeps_the_labels_that_it_agrees_with() -> None:
    # A judge of noisy labels is sure of nothing; what it agrees with is not what it doubts.
    assert trust(np.array([0.05, 0.04]), np.array([True, False])) == pytest.approx([1.0, 0.2])


def test_a_judge_that_never_agrees_doubts_nothing() -> None:
    assert trust(np.array([0.9, 0.99]), np.array([False, False])).tolist() == [1.0, 1.0]
