from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdwise.backends.nano.tokens import ANSWER, END, FIRST_WORD, QUESTION, ByteTokens, TextStream
from herdwise.core.errors import ArtefactError


@given(st.text())
def test_what_is_encoded_is_decoded_to_the_same(text: str) -> None:
    tokens = ByteTokens(("the", "then", "é"))
    whole = text.encode("utf-8", errors="replace").decode()
    assert tokens.decode(tokens.encode(text)) == whole


@given(st.binary(max_size=30))
def test_streamed_pieces_joined_are_the_whole_text_even_of_bytes_that_are_not_utf8(data: bytes) -> None:
    tokens = ByteTokens()
    stream = TextStream(tokens)
    assert "".join([*(stream.feed(b) for b in data), stream.end()]) == tokens.decode(data)


def test_no_half_character_is_streamed() -> None:
    stream = TextStream(ByteTokens())
    assert [stream.feed(b) for b in "é€".encode()] == ["", "é", "", "", "€"]


def test_the_longest_word_token_is_taken_first() -> None:
    tokens = ByteTokens(("the", "then"))
    assert tokens.encode("then the t") == [FIRST_WORD + 1, 32, FIRST_WORD, 32, ord("t")]
    assert len(tokens) == FIRST_WORD + 2


def test_a_prompt_stands_between_its_marks_and_an_answer_ends() -> None:
    tokens = ByteTokens()
    assert tokens.encode_prompt("  hi\n") == [QUESTION, ord("h"), ord("i"), ANSWER]
    assert tokens.encode_answer("ok") == [ord("o"), ord("k"), END]
    assert tokens.decode([*tokens.encode_prompt("hi"), END]) == "hi"


@pytest.mark.parametrize("words", [("a",), ("the", "the"), ("",)])
def test_words_that_are_too_short_or_stand_twice_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ArtefactError, match="word tokens"):
        ByteTokens(words)
