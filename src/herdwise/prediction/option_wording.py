"""Many texts at once as characters and words: counts, shared words, likeness of spelling, all by array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

_BREAK = ord("\n")
#: Letters of a word beyond this many tell it from no other word.
_SPELLED = 24
_BUCKETS = 1024
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Spelled:
    """Texts as one array of characters, a line break before, between and after them.

    Args:
        codes: code points, ASCII letters in lower case.
        capital: bool, which were ASCII capitals.
        text: the text that each belongs to; a break belongs to the text before it.
        start: ``(n,)`` where each text begins.
        length: ``(n,)`` characters.
    """

    codes: np.ndarray
    capital: np.ndarray
    text: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Of some texts."""
        joined = "\n" + "\n".join(texts) + "\n"
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        length = np.array([len(text) for text in texts], dtype=np.int64)
        start = np.cumsum(length + 1) - length
        capital = (codes >= ord("A")) & (codes <= ord("Z"))
        text = np.zeros(len(codes), dtype=np.int64)
        text[1:] = np.repeat(np.arange(len(texts)), length + 1)
        return cls(codes + np.where(capital, np.uint32(32), np.uint32(0)), capital, text, start, length)

    @cached_property
    def digit(self) -> np.ndarray:
        """Bool, which characters are digits."""
        found: np.ndarray = (self.codes >= ord("0")) & (self.codes <= ord("9"))
        return found

    def count(self, character: str) -> np.ndarray:
        """``(n,)`` how often each text has it."""
        return self.having(self.codes == ord(character))

    def having(self, which: np.ndarray) -> np.ndarray:
        """``(n,)`` number of marked characters in each text."""
        return np.bincount(self.text[which], minlength=len(self.start))

    def first(self, of: np.ndarray) -> np.ndarray:
        """``(n,)`` what an array over the characters has at the first of each text (0 for an empty one)."""
        return np.where(self.length > 0, of[self.start], 0)

    def last(self, of: np.ndarray) -> np.ndarray:
        """``(n,)`` the same at the last."""
        return np.where(self.length > 0, of[self.start + np.maximum(self.length, 1) - 1], 0)

    def words(self) -> Words:
        """Runs of letters, and numbers with their decimals."""
        codes, digit = self.codes, self.digit
        letter = (codes >= ord("a")) & (codes <= ord("z"))
        letter |= (codes >= 0xC0) & ~((codes >= 0x2000) & (codes < 0x2C00))
        point = np.zeros(len(codes), dtype=bool)
        point[1:-1] = (codes[1:-1] == ord(".")) & digit[:-2] & digit[2:]
        kind = np.where(letter, 1, np.where(digit | point, 2, 0)).astype(np.int8)
        begins = np.zeros(len(codes), dtype=bool)
        begins[1:] = (kind[1:] != kind[:-1]) & (kind[1:] > 0)
        inside = np.flatnonzero(kind)
        first = np.flatnonzero(begins[inside])
        if not len(first):
            return Words(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64))
        place = np.arange(len(inside)) - np.repeat(first, np.diff(np.append(first, len(inside))))
        weight = _powers()[np.minimum(place, _SPELLED - 1)]
        spelled = np.add.reduceat(codes[inside].astype(np.uint64) * weight, first)
        return Words(spelled, self.text[inside[first]])

    def likeness(self, group: np.ndarray, place: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Jaccard likeness of the three-letter runs of the texts of one group.

        Args:
            group, place: ``(n,)`` where each text stands.
            shape: number of groups g, places k.

        Returns:
            ``(g, k, k)``, 0 on the diagonal and where there is no text.
        """
        c = self.codes
        middle = np.flatnonzero(c != _BREAK)
        run = c[middle - 1] * np.uint32(0x1F123BB5) + c[middle] * np.uint32(0x2C1B3C6D)
        run += c[middle + 1] * np.uint32(0x297A2D39)
        run = np.right_shift(run, np.uint32(22))
        has = np.zeros((*shape, _BUCKETS), dtype=np.float32)
        at = self.text[middle]
        has[group[at], place[at], run] = 1.0
        both = has @ has.transpose(0, 2, 1)
        size = has.sum(axis=2)
        like: np.ndarray = both / np.maximum(size[:, :, None] + size[:, None, :] - both, 1.0)
        like[:, np.arange(shape[1]), np.arange(shape[1])] = 0.0
        return like


@dataclass(frozen=True, eq=False)
class Words:
    """The words of some texts, in order.

    Args:
        spelled: uint64, equal for equal words.
        text: the text of each.
    """

    spelled: np.ndarray
    text: np.ndarray

    def among(self, words: Words, n: int) -> np.ndarray:
        """``(n,)`` whether each text has one of the words of other texts."""
        found: np.ndarray = np.bincount(self.text[np.isin(self.spelled, words.spelled)], minlength=n) > 0
        return found

    def once(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each text's different words: its number, and the word as one of its group (uint64)."""
        key = self.spelled ^ (group[self.text].astype(np.uint64) * _ODD)
        order = np.lexsort((key, self.text))
        text, key = self.text[order], key[order]
        new = np.ones(len(key), dtype=bool)
        new[1:] = (text[1:] != text[:-1]) | (key[1:] != key[:-1])
        return text[new], key[new]

    def rows(self, n: int, most: int) -> np.ndarray:
        """``(n, most)`` the first words of each text, 0 where it has no more; and how many it has."""
        count = np.bincount(self.text, minlength=n)
        place = np.arange(len(self.text)) - np.repeat(np.cumsum(count) - count, count)
        table = np.zeros((n, most), dtype=np.uint64)
        kept = place < most
        table[self.text[kept], place[kept]] = self.spelled[kept]
        return table


def _powers() -> np.ndarray:
    with np.errstate(over="ignore"):
        powers: np.ndarray = np.cumprod(np.full(_SPELLED, _ODD, dtype=np.uint64))
    return powers
