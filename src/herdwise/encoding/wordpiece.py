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
        # What between spaces could be taken for one word, and is none: pieces inside words, "...".
        self._no_words = {p[:2] if p.startswith("##") else p for p in vocabulary if _no_word(p)}
        # By their first two characters, how long pieces are at most: longer ones need not be looked for.
        self._longest: dict[str, int] = {}
        for piece in vocabulary:
            prefix = 2 if piece.startswith("##") else 0
            begin, size = piece[: prefix + 2], len(piece) - prefix
            self._longest[begin] = max(size, self._longest.get(begin, 1))

    def rows(self, text: str) -> list[int]:
        """Rows of the pieces of ``text``, in reading order; a word without pieces gives none."""
        if not text.isascii():
            return self._each(self.words(text))
        lower = text.lower()
        for piece in self._no_words:
            if piece in lower:
                return self._each(self.words(text))
        # Most words stand between spaces, which are found sooner than words are.
        parts = lower.split()
        found = list(map(self._rows.get, parts))
        holes = [at for at, row in enumerate(found) if row is None]
        if not holes:
            return found  # type: ignore[return-value]  # just checked
        rows: list[int] = []
        start = 0
        for at in holes:  # few; what is between them is taken over together
            rows += found[start:at]  # type: ignore[arg-type]  # there is no None among them
            part, start = parts[at], at + 1
            rows += self._pieces(part) if part.isalnum() else self._each(_ASCII_WORDS.findall(part))
        rows += found[start:]  # type: ignore[arg-type]
        return rows

    def _each(self, words: Sequence[str]) -> list[int]:
        rows: list[int] = []
        for word in words:
            row = self._rows.get(word)
            if row is not None:
                rows.append(row)
            else:
                rows += self._pieces(word)
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
        start, prefix, size, known = 0, "", len(word), self._rows
        while start < size:
            rest = prefix + word[start:]
            most = self._longest.get(rest[: len(prefix) + 2], 1)
            for end in range(min(size, start + most), start, -1):
                row = known.get(rest[: len(prefix) + end - start])
                if row is not None:
                    rows.append(row)
                    start, prefix = end, "##"
                    break
            else:
                return ()
        return tuple(rows)


def _no_word(piece: str) -> bool:
    return len(piece) > 1 and piece.isascii() and not piece.isalnum()


@cache
def _marks() -> re.Pattern[str]:
    """Accents and vowel points (category Mn), which BERT drops; built at the first text that may hold one.

    The blocks that hold living scripts' marks are looked at; all of Unicode would take a tenth of a second.
    """
    blocks = (range(0x300, 0x3100), range(0xA600, 0xAC00), range(0xFE00, 0xFE30))
    marks = [chr(c) for block in blocks for c in block if unicodedata.category(chr(c)) == "Mn"]
    return re.compile(f"[{''.join(marks)}]+")
