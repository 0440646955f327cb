import numpy as np
import pytest

from herdwise.answers.similar import SAME_FROM, cosines, medoid, say_the_same


def test_cosines_are_those_of_the_rows_and_zero_without_length() -> None:
    found = cosines(np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]]))
    assert found[0, 1] == pytest.approx(np.sqrt(0.5))
    assert found[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("a", "b", "cosine", "same"),
    [
        ("Rest and drink water.", "Rest, and drink water!", 0.99, True),
        ("Rest and drink water.", "Rest and drink wine.", SAME_FROM - 0.01, False),
        ("It took 3 days.", "It took 4 days.", 0.99, False),
        ("It is safe.", "It is not safe.", 0.99, False),
        ("Das ist sicher.", "Das ist nicht sicher.", 0.99, False),
        ("这很安全。", "这不安全。", 0.99, False),
    ],
)
def test_texts_say_the_same_in_near_wording_with_the_same_numbers_and_negations(
    a: str, b: str, cosine: float, same: bool
) -> None:
    assert say_the_same(a, b, cosine) is same
    assert say_the_same(b, a, cosine) is same


def test_the_medoid_is_what_the_trusted_ones_are_like() -> None:
    apart = np.eye(3)
    assert medoid(apart, np.array([0.2, 0.9, 0.5])) == 1, "nothing in common: the most trusted"
    pair = np.array([[1.0, 0.2, 0.2], [0.2, 1.0, 0.97], [0.2, 0.97, 1.0]])
    assert medoid(pair, np.array([0.6, 0.4, 0.45])) == 2, "two that agree outweigh one that is better"
    assert medoid(pair, np.array([0.95, 0.3, 0.3])) == 0, "unless it is much better"
