from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.option_features import FEATURES, N_FEATURES, number_in, option_features


def _column(features: np.ndarray, name: str) -> list[float]:
    return [float(v) for v in features[:, FEATURES.index(name)]]


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("$1,250.00", (1250.0, 3)),
        ("-0.050", (-0.05, 1)),
        ("\u221212 m", (-12.0, 2)),
        ("6.02 x 10^{23}", (6.02e23, 3)),
        ("1e-3", (0.001, 1)),
        ("about 4 of the people who were asked", None),
        ("none", None),
    ],
)
def test_numbers_are_read_with_their_significant_digits(
    option: str, number: tuple[float, int] | None
) -> None:
    read = number_in(option)
    if number is None:
        assert read is None
    else:
        assert read is not None
        assert read[0] == pytest.approx(number[0])
        assert read[1] == number[1]


def test_a_number_in_the_middle_is_told_from_the_extremes() -> None:
    features = option_features(["1", "100", "10"], "How many?")
    assert _column(features, "number") == [1.0, 1.0, 1.0]
    rank = _column(features, "rank")
    assert rank[0] < rank[2] < rank[1]
    assert np.argmin(_column(features, "off_middle")) == 2
    assert np.argmin(_column(features, "off_median")) == 2


def test_words_have_no_rank() -> None:
    features = option_features(["a dog", "a rather long cat", "it may be a bird"], "Which animal?")
    assert _column(features, "number") == [0.0, 0.0, 0.0]
    assert _column(features, "longest") == [0.0, 1.0, 0.0]
    assert _column(features, "hedged") == [0.0, 0.0, 1.0]


def test_an_option_echoes_the_question_not_the_list_of_options() -> None:
    text = "Is the whale a mammal?\nA. the whale\nB. some stone"
    echo = _column(option_features(["the whale", "some stone"], text), "echo")
    assert echo[0] > 0 > echo[1]


def test_many_and_odd_options_stay_finite() -> None:
    options = ["", "9" * 400, "1e999", "\u4e2d\u6587", *["x"] * 20]
    features = option_features(options, "Which?")
    assert features.shape == (24, N_FEATURES)
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 4.0


def test_no_options_have_no_features() -> None:
    assert option_features([], "Which?").shape == (0, N_FEATURES)
