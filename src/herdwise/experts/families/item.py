"""What a family gives: items whose answers can be checked, held out by what they ask, whatever the words.

Every item names its content in a form that no phrasing changes (the date itself, the two numbers, the set
of facts asked). ``split_of`` hashes that content, so an item of the test split asks something that no
training item asks in any words (but for ``chat``, whose requests to decline name one of two such words).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

#: ``train`` is what models learn from, ``dev`` what routers learn from and choices are made on,
#: ``test`` what figures are reported on.
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_DEV_SHARE, _TEST_SHARE = 0.1, 0.1


@dataclass(frozen=True, slots=True)
class Item:
    """One query with its answer.

    Args:
        query: as somebody would type it.
        answer: the one answer that counts as right, compared exactly.
        family: the family's name.
        content: what is asked, in a form that no phrasing changes; held out by its hash.
        difficulty: 1 (easy) to 3.
        phrasing: which wording, such as ``dates/4``.
    """

    query: str
    answer: str
    family: str
    content: str
    difficulty: int
    phrasing: str


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of query.

    Args:
        name: unique.
        about: one line for model cards and pages.
        draw: gives one item whose content may belong to any split; where a split is stated, parts that
            are contents of other families must belong to it.
    """

    name: str
    about: str
    draw: Callable[[random.Random, Split], Item]

    def items(self, split: Split, n: int, *, seed: int) -> Iterator[Item]:
        """``n`` items of a split; the same arguments give the same items. Repeats may occur."""
        rng = random.Random(f"{self.name}/{split}/{seed}")
        found = 0
        while found < n:
            item = self.draw(rng, split)
            if split_of(item) == split:
                found += 1
                yield item


def split_of(item: Item) -> Split:
    """The split an item's content belongs to: 80% train, 10% dev, 10% test, by SHA-256 of the content."""
    if item.content.startswith(_PREFIXES):
        # Made of other families' contents, all of one split (`mixed`).
        return _split(item.content.partition(":")[0])
    digest = hashlib.sha256(f"{item.family}\0{item.content}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < _TEST_SHARE:
        return "test"
    return "dev" if place < _TEST_SHARE + _DEV_SHARE else "train"


_PREFIXES = tuple(f"{split}:" for split in SPLITS)


def _split(name: str) -> Split:
    for split in SPLITS:
        if split == name:
            return split
    raise ValueError(name)
