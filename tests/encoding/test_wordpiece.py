from __future__ import annotations

import sys
from importlib.resources import files

import pytest

from herdwise.encoding.wordpiece import WordPiece

VOCABULARY = ["un", "##known", "##s", "word", "?", "cafe", "中", "文", "3", "_", "-"]


@pytest.fixture(scope="module")
def shipped() -> list[str]:
    path = files("herdwise.data") / "static_encoder" / "vocabulary.txt"
    return path.read_text(encoding="utf-8").split("\n")


def rows(text: str) -> list[str]:
    return [VOCABULARY[row] for row in WordPiece(VOCABULARY).rows(text)]


def test_a_word_outside_the_vocabulary_is_cut_into_its_longest_pieces() -> None:
    assert rows("unknown") == ["un", "##known"]
    assert rows("words") == ["word", "##s"]


def test_a_word_whose_end_is_unknown_gives_nothing() -> None:
    assert rows("unheard word") == ["word"]


def test_case_and_accents_do_not_matter() -> None:
    assert rows("CAFÉ Cafe\u0301") == ["cafe", "cafe"]


def test_cjk_characters_stand_alone() -> None:
    assert rows("中文word") == ["中", "文", "word"]


def test_punctuation_and_underscores_stand_alone() -> None:
    assert rows("word?word_3-word") == ["word", "?", "word", "_", "3", "-", "word"]
    assert rows("wörd_中?") == ["word", "_", "中", "?"]


def test_a_word_of_more_than_a_hundred_characters_is_noise() -> None:
    assert rows("un" + "known" * 40) == []


def test_the_pieces_of_a_word_are_the_same_when_they_are_remembered() -> None:
    cutter = WordPiece(VOCABULARY)
    assert cutter.rows("unknowns") == cutter.rows("unknowns") == [0, 1, 2]


def test_english_is_cut_as_the_reference_tokeniser_cuts_it(shipped: list[str]) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the reference tokeniser is not installed")
    ids = {piece: row for row, piece in enumerate([*shipped, "[UNK]"])}
    reference = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    reference.normalizer = tokenizers.normalizers.BertNormalizer()
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ours = WordPiece(shipped)
    for text in (
        "Hyperparameterisation isn't trivial: 3.14 < x_1 (see [2])!",
        "def f(a, *b, **c): return {'k': a @ b}  # don't\n",
        "Façade, naïve coöperation and Łódź; 我们 walk. Привет мир",
        "\tThe photoelectric effect\r\nwas explained in 1905.",
        "",
    ):
        expected = [
            row for row in reference.encode(text, add_special_tokens=False).ids if row != ids["[UNK]"]
        ]
        assert ours.rows(text) == expected


def test_words_that_nobody_names_again_do_not_fill_the_memory_or_keep_others_out(shipped: list[str]) -> None:
    pieces = WordPiece(shipped)
    before = sys.getallocatedblocks()
    for number in range(20_000):
        pieces.rows(str(10_000_000 + number))
    assert sys.getallocatedblocks() - before < 5 * 4_096  # a word's text, its pieces, what holds them
    assert pieces._pieces("electroencephalography") is pieces._pieces("electroencephalography")


def test_words_between_spaces_and_words_found_one_by_one_have_the_same_pieces(shipped: list[str]) -> None:
    pieces = WordPiece(shipped)
    texts = [
        "Which enzyme, found in E. coli, cuts DNA?",
        "Question 123456789: the ##ing of [unused] words... and _that_ `x86_64`!",
        "a##b ## ... .... #hash 3.14159 1e-9 \x1c\x1d\x0b tab\tline\n",
        "supercalifragilistic " * 3 + "x" * 101 + " " + "9" * 100 + " the",
        "",
        "   ",
    ]
    known = {piece: row for row, piece in enumerate(shipped)}
    for text in texts:
        each = [row for word in WordPiece.words(text) for row in longest_first(word, known)]
        assert pieces.rows(text) == each


def longest_first(word: str, known: dict[str, int]) -> list[int]:
    """The plain way: of every place the longest piece."""
    found: list[int] = []
    if len(word) > 100:
        return found
    while word and word != "##":
        sizes = (size for size in range(len(word), 0, -1) if word[:size] in known)
        size = next(sizes, 0)
        if size <= 2 * word.startswith("##"):
            return []
        found.append(known[word[:size]])
        word = f"##{word[size:]}"
    return found
