from __future__ import annotations

import numpy as np
import pytest

from herdwise.prediction.option_features import FEATURES, N_FEATURES, features_of, option_features


def _column(features: np.ndarray, name: str) -> list[float]:
    return [float(v) for v in features[:, FEATURES.index(name)]]


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
    hedged = _column(features, "hedged")
    assert hedged[0] == hedged[1] < 0 < hedged[2], "beside the other options"


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


def test_many_questions_at_once_are_read_as_one_at_a_time() -> None:
    options = [["1", "2.5", "10"], [], ["a dog", "two dogs, and a cat.", "no dog", "A cat"], ["x", "y"]]
    questions = ["How many?", "Why?", "Which dog is it?\nA. a dog", "Which?"]
    together = features_of(options, questions)
    assert together.shape == (4, 4, N_FEATURES)
    for row, listed, question in zip(together, options, questions, strict=True):
        assert row[: len(listed)] == pytest.approx(option_features(listed, question), abs=1e-5)
        assert not row[len(listed) :].any()


def test_spaces_around_options_tell_nothing() -> None:
    plain = option_features(["red", "blue"], "Which?")
    assert np.array_equal(plain, option_features(["red", "blue"], "  Which?  \n"))


def test_an_option_that_is_written_unlike_the_others_stands_out() -> None:
    features = option_features(["guilt.", "shame", "doubt", "Trust"], "Which?")
    stop, capital = _column(features, "stop"), _column(features, "capital")
    assert stop[0] > 0 > stop[1] == stop[2]
    assert capital[3] > 0 > capital[1]


def test_options_that_differ_in_one_word_are_counted() -> None:
    features = option_features(["the red car", "the blue car", "the red bus", "a bike"], "Which?")
    one = _column(features, "one_word")
    assert one[0] > one[1] == one[2] > one[3]


def test_likeness_of_spelling_follows_the_letters_shared() -> None:
    features = option_features(["neutral", "neutrality", "acid", "base"], "Which?")
    like = _column(features, "most_alike")
    assert min(like[:2]) > max(like[2:])


def test_numbers_that_are_double_tenfold_or_the_rest_of_another_are_marked() -> None:
    features = option_features(["0.3", "0.6", "0.7", "6", "0.11"], "How much?")
    twice, tenfold, rest = (_column(features, name) for name in ("twice", "tenfold", "rest"))
    assert twice[0] == twice[1] > 0 > twice[2]
    assert tenfold[1] == tenfold[3] > 0 > tenfold[0]
    assert rest[0] == rest[2] > 0 > rest[1]


def test_an_odd_number_of_decimals_and_round_endings_are_marked() -> None:
    features = option_features(["1.5", "2.5", "3.125", "4.0"], "How much?")
    odd, ends = _column(features, "odd_decimals"), _column(features, "ends_round")
    assert odd.index(max(odd)) == 2
    assert ends == [0.0, 0.0, 0.0, 0.0], "all end with 0 or 5"
