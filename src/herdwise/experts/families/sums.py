"""Sums and differences of numbers below 100, bare and in a sentence."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

_PLUS = (
    "{a} + {b}",
    "{a}+{b}=",
    "{a} plus {b}",
    "what is {a} plus {b}",
    "add {a} and {b}",
    "give the sum of {a} and {b}",
    "how many are {a} and {b} together",
    "i have {a} euros and get {b} more, how much is it",
)
_MINUS = (
    "{a} - {b}",
    "{a}-{b}=",
    "{a} minus {b}",
    "what is {a} minus {b}",
    "take {a} and subtract {b}",
    "difference between {a} and {b}",
    "i had {a} eggs and {b} broke, how many are left",
    "{a} days, {b} are over: what remains",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    # Short numbers often: their sums are what longer ones are made of.
    a, b = (rng.randrange(rng.choice((10, 100, 100))) for _ in range(2))
    if rng.random() < 0.5:
        query, phrasing = say(rng, "sums", _PLUS, a=a, b=b)
        difficulty = 1 if a % 10 + b % 10 < 10 else 2
        return Item(query, str(a + b), "sums", f"{min(a, b)}+{max(a, b)}", difficulty, f"{phrasing}/plus")
    a, b = max(a, b), min(a, b)
    query, phrasing = say(rng, "sums", _MINUS, a=a, b=b)
    difficulty = 1 if a % 10 >= b % 10 else 2
    return Item(query, str(a - b), "sums", f"{a}-{b}", difficulty, f"{phrasing}/minus")


FAMILY = Family("sums", "sums and differences of numbers below 100", _draw)
