"""Sums and differences of numbers below 100, products below 13, bare and in a sentence."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

_PLUS = (
    "{a} + {b}",
    "{a}+{b}=",
    "what is {a} plus {b}",
    "add {a} and {b}",
    "sum of {a} and {b}",
    "give the total of {a} and {b}",
    "how many are {a} and {b} together",
    "i have {a} euros and get {b} more, how much is it",
    "count {b} on from {a}",
    "{a} and {b} make",
)
_MINUS = (
    "{a} - {b}",
    "{a}-{b}=",
    "what is {a} minus {b}",
    "subtract {b} from {a}",
    "take {b} from {a}",
    "difference between {a} and {b}",
    "i had {a} eggs and {b} broke, how many are left",
    "how much more is {a} than {b}",
    "{a} days, {b} are over: what remains",
)
_TIMES = (
    "{a} x {b}",
    "{a}*{b}=",
    "what is {a} times {b}",
    "multiply {a} by {b}",
    "product of {a} and {b}",
    "{a} boxes of {b}, how many in all",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    kind = rng.random()
    if kind < 0.2:
        a, b = rng.randrange(2, 13), rng.randrange(2, 13)
        query, phrasing = say(rng, "sums", _TIMES, a=a, b=b)
        return Item(query, str(a * b), "sums", f"{min(a, b)}*{max(a, b)}", 2, f"{phrasing}/times")
    a, b = rng.randrange(100), rng.randrange(100)
    if kind < 0.6:
        query, phrasing = say(rng, "sums", _PLUS, a=a, b=b)
        difficulty = 1 if a % 10 + b % 10 < 10 else 2
        return Item(query, str(a + b), "sums", f"{min(a, b)}+{max(a, b)}", difficulty, f"{phrasing}/plus")
    a, b = max(a, b), min(a, b)
    query, phrasing = say(rng, "sums", _MINUS, a=a, b=b)
    difficulty = 1 if a % 10 >= b % 10 else 2
    return Item(query, str(a - b), "sums", f"{a}-{b}", difficulty, f"{phrasing}/minus")


FAMILY = Family("sums", "sums and differences of numbers below 100, products below 13", _draw)
