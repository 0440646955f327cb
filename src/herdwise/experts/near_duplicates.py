"""Which texts are nearly the same? Jaccard similarity of character n-grams, found by MinHash.

Sources: Broder, On the resemblance and containment of documents (1997); banding: Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, chapter 3. What the bands propose is measured exactly, so that MinHash
can miss a pair (see ``NearDuplicates``), but never invents one.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict

import numpy as np

from herdwise.experts.examples import plain

_GRAM = 5
#: From a threshold on: bands, and rows of each. Long bands propose fewer pairs that are not alike enough.
_BANDS = ((0.9, 14, 9), (0.8, 24, 6), (0.0, 32, 4))
_NUMBER = re.compile(r"\d+")


class NearDuplicates:
    """An index of texts that finds near-duplicates of a further one.

    Two texts are near-duplicates where the Jaccard similarity of their character 5-grams (case and blanks
    aside) is at least ``threshold`` and they hold the same numbers in the same order: "add 12 and 30" and
    "add 12 and 31" are alike, and yet two questions.

    A pair of exactly the threshold's similarity is missed once in 1,000 (0.8, 0.9) or in 90 (0.6), one that
    is more alike less often.

    Args:
        threshold: in (0, 1].
        seed: of the hash functions.

    >>> index = NearDuplicates(0.7)
    >>> index.add("How many vowels are in 'banana'?")
    0
    >>> index.find("How  many vowels are in 'banana'"), index.find("Which city is the capital of Peru?")
    (0, None)
    """

    def __init__(self, threshold: float = 0.85, *, seed: int = 0) -> None:
        self.threshold = threshold
        rng = np.random.default_rng(seed)
        self._shape = next((bands, rows) for least, bands, rows in _BANDS if threshold >= least)
        n = self._shape[0] * self._shape[1]
        self._a = rng.integers(0, 1 << 64, n, dtype=np.uint64) | np.uint64(1)
        self._b = rng.integers(0, 1 << 64, n, dtype=np.uint64)
        self._shingles: list[frozenset[int]] = []
        self._numbers: list[tuple[str, ...]] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._shingles)

    def add(self, text: str) -> int:
        """Take a text into the index; its number, counted from 0."""
        return self._take(text, *self._signature(text))

    def find(self, text: str) -> int | None:
        """The first text of the index that this one nearly repeats; None = it is new."""
        return self._like(text, *self._signature(text))

    def find_or_add(self, text: str) -> int | None:
        """As ``find``; a text that is new is taken into the index."""
        signature = self._signature(text)
        found = self._like(text, *signature)
        if found is None:
            self._take(text, *signature)
        return found

    def _take(self, text: str, shingles: frozenset[int], keys: list[tuple[int, bytes]]) -> int:
        number = len(self._shingles)
        self._shingles.append(shingles)
        self._numbers.append(_numbers(text))
        for key in keys:
            self._buckets[key].append(number)
        return number

    def _like(self, text: str, shingles: frozenset[int], keys: list[tuple[int, bytes]]) -> int | None:
        numbers, n = _numbers(text), len(shingles)
        met = sorted({number for key in keys for number in self._buckets.get(key, ())})
        for number in met:
            other = self._shingles[number]
            if numbers != self._numbers[number] or min(n, len(other)) < self.threshold * max(n, len(other)):
                continue
            shared = len(shingles & other)
            if shared >= self.threshold * (n + len(other) - shared):
                return number
        return None

    def _signature(self, text: str) -> tuple[frozenset[int], list[tuple[int, bytes]]]:
        form = f" {plain(text)} "
        grams = {form[i : i + _GRAM] for i in range(max(1, len(form) - _GRAM + 1))}
        shingles = frozenset(zlib.crc32(gram.encode()) for gram in grams)
        values = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
        # Multiply-shift (Dietzfelbinger, 1996): modulo 2^64, the upper half counts.
        hashed = (values[:, None] * self._a + self._b) >> np.uint64(32)
        least = hashed.min(axis=0).reshape(self._shape)
        return shingles, [(band, row.tobytes()) for band, row in enumerate(least)]


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(_NUMBER.findall(text))
