"""What is read from OpenAI's chat objects, in the forms that servers give them."""

from __future__ import annotations

from typing import Any

import pytest

from herdwise.backends.chat_shape import content_text, read_chunk, read_completion, read_usage
from herdwise.core.completion import Usage
from herdwise.core.errors import BadResponseError


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a", "a"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}], "ab"),
        ([], ""),
        (5, ""),
        (["a", {"text": 3}], ""),
    ],
)
def test_content_is_text_or_parts_and_nothing_else_is_text(content: Any, text: str) -> None:
    assert content_text(content) == text


@pytest.mark.parametrize(
    "answer",
    [{}, {"choices": None}, {"choices": []}, {"choices": ["a"]}, {"choices": [{"text": "a"}]}],
)
def test_an_answer_without_a_message_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(BadResponseError, match=r"'c'.*choices\[0\]\.message"):
        read_completion(answer, "c")


def test_what_an_answer_does_not_state_stays_unknown() -> None:
    done = read_completion({"choices": [{"message": {"content": "a"}}]}, "c")
    assert (done.finish_reason, done.usage, done.latency_s) == (None, Usage(None, None), None)


def test_only_the_first_choice_of_a_chunk_is_read() -> None:
    choices = [
        {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"},
        {"index": 0, "delta": {"content": "yes"}, "finish_reason": None},
    ]
    chunk = read_chunk({"choices": choices}, "c")
    assert (chunk.text, chunk.finish_reason) == ("yes", None)


@pytest.mark.parametrize("content", [{}, {"choices": None}, {"choices": [], "prompt_filter_results": []}])
def test_a_chunk_without_choices_says_nothing(content: dict[str, Any]) -> None:
    chunk = read_chunk(content, "c")
    assert (chunk.text, chunk.finish_reason, chunk.usage, chunk.body) == ("", None, None, content)


@pytest.mark.parametrize("choices", ["abc", {"a": 1}, [1]])
def test_a_chunk_whose_choices_are_no_objects_is_refused(choices: Any) -> None:
    with pytest.raises(BadResponseError, match="'c'"):
        read_chunk({"choices": choices}, "c")


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, Usage(3, 0)),
        ({"prompt_tokens": 3}, Usage(3, None)),
        ({"prompt_tokens": "3", "completion_tokens": -1}, Usage(None, None)),
        ({"prompt_tokens": True}, Usage(None, None)),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_taken_as_stated_or_is_unknown(usage: Any, read: Usage | None) -> None:
    assert read_usage(usage) == read


@pytest.mark.parametrize("calls", [7, [7], "f", [{"function": 7}], {"function": {}}])
def test_tool_calls_of_another_shape_are_refused_whole_and_streamed(calls: Any) -> None:
    for index in (0, 1):
        good = {"index": 0, "message": {"content": "x"}, "delta": {"content": "x"}}
        bad = {"index": index, "message": {"tool_calls": calls}, "delta": {"tool_calls": calls}}
        body = {"choices": [bad] if index == 0 else [good, bad]}
        for read in (read_completion, read_chunk):
            with pytest.raises(BadResponseError, match="'c'"):
                read(body, "c")


@pytest.mark.parametrize("calls", [None, [], [{"index": 0, "function": None}], [{"id": "a", "function": {}}]])
def test_tool_calls_may_be_null_or_come_in_pieces(calls: Any) -> None:
    message = {"content": "x", "tool_calls": calls}
    assert read_completion({"choices": [{"message": message}]}, "c").text == "x"
    assert read_chunk({"choices": [{"delta": message}]}, "c").text == "x"


@pytest.mark.parametrize("delta", [7, "x", ["x"]])
def test_a_delta_that_is_no_object_is_refused(delta: Any) -> None:
    with pytest.raises(BadResponseError, match="'c'"):
        read_chunk({"choices": [{"delta": delta}]}, "c")
