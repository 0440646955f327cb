"""Words to table rows: WordPiece over a fixed vocabulary, without a tokeniser library.

A word that stands in the vocabulary costs one dictionary look-up; only the others are cut greedily, and
remembered. Measured four to five times as fast as a general tokeniser (docs/decisions/0002).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

_CJK = "㐀-䶿一-鿿豈-﫿\U00020000-\U0002fa1f"
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[^a-z0-9\s]")
_WORDS = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+|[^\w\s]|_")

#: A longer word is noise (base64, a line of dashes): it is unknown, as in BERT.
_MAX_WORD_CHARS = 100
#: Words outside the vocabulary whose pieces are remembered; a bound, since texts come from strangers. Past it
#: all are forgotten, lest numbers that nobody names again keep words out that many do.
_MAX_REMEMBERED = 4_096


class WordPiece:
    """Cuts texts into rows of a table, as uncased BERT does (Devlin et al. 2019; Wu et al. 2016).

    Lower case, no accents, punctuation and CJK characters alone, then the longest pieces that the vocabulary
    knows. Symbols that BERT glues to their neighbours (a degree sign, arrows) stand alone here.

    Args:
        vocabulary: pieces in the order of their rows; a piece inside a word begins with ``##``.

    Example:
        >>> WordPiece(["un", "##known", "word"]).rows("Unknown word?")
        [0, 1, 2]
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._rows = {piece: row for row, piece in enumerate(vocabulary)}
        self._cut: dict[str, tuple[int, ...]] = {}

    def rows(self, text: str) -> list[int]:
        """Rows of the pieces of ``text``, in reading order; a word without pieces gives none."""
        words = self.words(text)
        found = list(map(self._rows.get, words))
        if None not in found:
            return found  # type: ignore[return-value]  # just checked
        rows: list[int] = []
        for word, row in zip(words, found, strict=True):
            if row is not None:
                rows.append(row)
            else:
                rows.extend(self._pieces(word))
        return rows

    @staticmethod
    def words(text: str) -> list[str]:
        """Words, punctuation marks and CJK characters of ``text``."""
        if text.isascii():
            return _ASCII_WORDS.findall(text.lower())
        return _WORDS.findall(_marks().sub("", unicodedata.normalize("NFD", text.lower())))

    def _pieces(self, word: str) -> tuple[int, ...]:
        known = self._cut.get(word)
        if known is not None:
            return known
        if len(word) > _MAX_WORD_CHARS:
            return ()
        pieces = self._longest_first(word)
        if len(self._cut) >= _MAX_REMEMBERED:
            self._cut.clear()
        self._cut[word] = pieces
        return pieces

    def _longest_first(self, word: str) -> tuple[int, ...]:
        rows: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(len(word), start, -1):
                row = self._rows.get(prefix + word[start:end])
                if row is not None:
                    rows.append(row)
                    start, prefix = end, "##"
                    break
            else:
                return ()
        return tuple(rows)


@cache
def _marks() -> re.Pattern[str]:
    """Accents and vowel points (category Mn), which BERT drops; built at the first text that may hold one.

    The blocks that hold living scripts' marks are looked at; all of Unicode would take a tenth of a second.
    """
    blocks = (range(0x300, 0x3100), range(0xA600, 0xAC00), range(0xFE00, 0xFE30))
    marks = [chr(c) for block in blocks for c in block if unicodedata.category(chr(c)) == "Mn"]
    return re.compile(f"[{''.join(marks)}]+")
