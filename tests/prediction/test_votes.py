from __future__ import annotations

import numpy as np
import pytest

from herdwise.core.errors import InputError
from herdwise.prediction.votes import FAILED, NOT_RUN, Votes

NAN = np.nan


def _answers(*rows: tuple[str | None, ...]) -> np.ndarray:
    return np.array(rows, dtype=object)


def test_values_are_numbered_per_query_in_the_order_of_the_candidates() -> None:
    votes = Votes.of(_answers(("x", "y", "x"), ("z", "z", "y")), np.array([[1.0, 0, 1], [0, 0, 1]]))
    assert votes.said.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert votes.right.tolist() == [[1, 0, 0], [0, 1, 0]]


def test_offered_options_come_first_and_others_after_them() -> None:
    text = "Which?\nA. red\nB. blue\nC. green"
    votes = Votes.of(_answers(("C", "teal", "A")), np.array([[1.0, 0, 0]]), [text])
    assert votes.said.tolist() == [[2, 3, 0]]
    assert votes.offered.tolist() == [[True, True, True, False]]
    assert votes.features[0, 3].tolist() == [0.0] * votes.features.shape[2]


def test_a_pair_without_a_quality_was_not_run_and_one_without_an_answer_failed() -> None:
    votes = Votes.of(_answers(("x", None, "x"), ("x", "y", None)), np.array([[1.0, 0, NAN], [1, 0, NAN]]))
    assert votes.said.tolist() == [[0, FAILED, NOT_RUN], [0, 1, NOT_RUN]]


def test_a_candidate_without_any_answer_takes_no_part() -> None:
    votes = Votes.of(_answers(("x", None), ("y", None)), np.array([[1.0, 0.5], [0, 0.5]]))
    assert votes.said[:, 1].tolist() == [NOT_RUN, NOT_RUN]


def test_where_nobody_was_right_none_of_those_said_is() -> None:
    votes = Votes.of(_answers(("x", "y")), np.array([[0.0, 0.0]]))
    assert votes.right.tolist() == [[0, 0, 1]]


def test_partly_right_values_share_what_they_earn_together() -> None:
    votes = Votes.of(_answers(("x", "y"), ("x", "y")), np.array([[0.5, 0.2], [1.0, 1.0]]))
    assert votes.right[0] == pytest.approx([0.5, 0.2, 0.3])
    assert votes.right[1] == pytest.approx([0.5, 0.5, 0.0])


def test_tables_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="both be"):
        Votes.of(_answers(("x", "y")), np.zeros((1, 3)))
