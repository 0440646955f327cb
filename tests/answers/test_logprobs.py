import math

import pytest

from herdwise.answers.logprobs import read_logprobs, token_logprobs


def whole(*tokens: tuple[str, float]) -> dict[str, object]:
    content: list[object] = [{"token": t, "logprob": p, "bytes": None, "top_logprobs": []} for t, p in tokens]
    return {"choices": [{"index": 0, "message": {}, "logprobs": {"content": content}}]}


def test_the_answers_own_letter_is_found_where_it_stands_last_and_alone() -> None:
    tokens = [("B", -3.0), (" is wrong. ABC. The answer is (", -0.2), ("C", -0.7), (").", -0.1)]
    found = read_logprobs(tokens, "C")
    assert found is not None
    assert found.answer == -0.7
    assert found.minimum == -3.0
    assert found.mean == pytest.approx(-1.0)


def test_an_answer_of_several_tokens_is_as_probable_as_all_of_them() -> None:
    found = read_logprobs([("It is ", -0.1), ("1", -0.2), ("23", -0.3), (".", 0.0)], "123")
    assert found is not None
    assert found.answer == pytest.approx(-0.5)


def test_what_is_not_in_the_tokens_has_no_logprob_of_its_own() -> None:
    for value in (None, "", "D", "paris"):
        found = read_logprobs([("The answer is (C)", -0.1)], value)
        assert found is not None
        assert found.answer is None
    assert read_logprobs([], "C") is None


def test_a_stream_gives_what_the_whole_answer_gives() -> None:
    pairs = [("The answer is (", -0.1), ("C", -0.7), (")", -0.1)]
    chunks = [whole(pair) for pair in pairs]
    assert token_logprobs([{"choices": []}, *chunks]) == token_logprobs([whole(*pairs)]) == pairs


def test_the_older_form_and_broken_ones_are_read_as_far_as_they_go() -> None:
    older = {"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [None, -0.5]}}]}
    assert token_logprobs([older]) == [("b", -0.5)]
    odd = {"choices": [{"logprobs": {"content": [{"token": "a", "logprob": math.nan}, "x", {"token": 3}]}}]}
    assert token_logprobs([odd, {"choices": [{"logprobs": None}]}, {}]) == []
    none = {"choices": [{"logprobs": {"tokens": 5, "token_logprobs": True}}]}
    huge = {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-(10**400)]}}]}
    assert token_logprobs([none, huge]) == []


def test_only_the_first_of_several_choices_counts() -> None:
    second = {"index": 1, "logprobs": {"content": [{"token": "z", "logprob": -9.0}]}}
    assert token_logprobs([{"choices": [second]}]) == []
