from __future__ import annotations

import numpy as np

from herdwise.prediction.option_wording import Spelled


def test_characters_are_counted_in_their_own_text() -> None:
    spelled = Spelled.of(["a,b,c", "", "d,"])
    assert spelled.count(",").tolist() == [2, 0, 1]
    assert spelled.last(spelled.codes == ord(",")).tolist() == [0, 0, 1]
    assert spelled.first(spelled.codes == ord("a")).tolist() == [1, 0, 0]
    assert spelled.length.tolist() == [5, 0, 2]


def test_words_are_the_same_whatever_their_capitals_and_their_place() -> None:
    words = Spelled.of(["The Whale", "a whale of 2.5 tons"]).words()
    assert words.text.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert words.spelled[1] == words.spelled[3]
    assert len(set(words.spelled.tolist())) == 6
    assert words.among(Spelled.of(["whale"]).words(), 2).tolist() == [True, True]
    assert words.among(Spelled.of(["wha"]).words(), 2).tolist() == [False, False]


def test_texts_without_a_word_have_none() -> None:
    words = Spelled.of(["", "- +"]).words()
    assert len(words.text) == 0
    assert not words.among(Spelled.of(["a"]).words(), 2).any()


def test_a_text_names_each_of_its_words_once() -> None:
    words = Spelled.of(["to be or not to be", "be"]).words()
    text, key = words.once(np.array([0, 0]))
    assert text.tolist() == [0, 0, 0, 0, 1]
    assert key[-1] in key[:-1]
    _, other = words.once(np.array([0, 1]))
    assert other[-1] not in other[:-1], "a word of another group"


def test_likeness_is_the_share_of_letter_runs_in_common() -> None:
    spelled = Spelled.of(["abcd", "abcd", "wxyz"])
    like = spelled.likeness(np.zeros(3, dtype=int), np.arange(3), (1, 3))[0]
    assert like[0, 1] == 1.0
    assert like[0, 0] == like[0, 2] == 0.0
