"""Roman numerals, both ways, up to 3999."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

_SIGNS = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
    (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_TO_ROMAN = (
    "convert {n} to roman numerals",
    "write {n} as a roman numeral",
    "{n} in roman",
    "what is {n} in roman numerals",
    "{n} -> roman",
    "how would romans write the year {n}",
    "chapter {n} with a roman number",
    "give me {n} the way the romans count",
    "extract the roman form of {n}",
)
_FROM_ROMAN = (
    "convert {n} to a number",
    "what number is {n}",
    "{n} in digits",
    "write {n} in arabic digits",
    "{n} ->",
    "{n} =",
    "which year is {n}",
    "give the value of {n}",
    "how many is {n}",
    "sum up the letters of {n} as romans do",
)


def to_roman(number: int) -> str:
    """Roman numeral of 1 to 3999."""
    text = ""
    for value, sign in _SIGNS:
        text += sign * (number // value)
        number %= value
    return text


def _draw(rng: random.Random, _split: Split) -> Item:
    number = rng.randrange(1, 4000) if rng.random() < 0.6 else rng.randrange(1, 400)
    roman = to_roman(number)
    difficulty = 1 if number < 100 else 2 if number < 1000 else 3
    if rng.random() < 0.5:
        query, phrasing = say(rng, "roman", _TO_ROMAN, n=number)
        return Item(query, roman, "roman", str(number), difficulty, f"{phrasing}/to")
    shown = roman if rng.random() < 0.8 else roman.lower()
    query, phrasing = say(rng, "roman", _FROM_ROMAN, n=shown)
    return Item(query, str(number), "roman", str(number), difficulty, f"{phrasing}/from")


FAMILY = Family("roman", "Roman numerals to digits and back, up to 3999", _draw)
