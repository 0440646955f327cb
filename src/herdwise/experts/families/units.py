"""Units of length, weight, volume, time and count, where the result is whole or has one decimal."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

#: Larger unit, smaller unit, how many of the smaller make the larger; each with the names people use.
_UNITS: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    (("ft", "feet"), ("in", "inches"), 12),
    (("yd", "yards"), ("ft", "feet"), 3),
    (("lb", "pounds"), ("oz", "ounces"), 16),
    (("gal", "gallons"), ("qt", "quarts"), 4),
    (("gal", "gallons"), ("pt", "pints"), 8),
    (("stone",), ("lb", "pounds"), 14),
    (("h", "hours"), ("min", "minutes"), 60),
    (("min", "minutes"), ("s", "seconds"), 60),
    (("days",), ("h", "hours"), 24),
    (("weeks",), ("days",), 7),
    (("years",), ("months",), 12),
    (("dozen",), ("pieces", "eggs"), 12),
    (("decades",), ("years",), 10),
    (("m", "metres"), ("cm", "centimetres"), 100),
    (("cm", "centimetres"), ("mm", "millimetres"), 10),
    (("km", "kilometres"), ("m", "metres"), 1000),
    (("kg", "kilos"), ("g", "grams"), 1000),
    (("l", "litres"), ("ml", "millilitres"), 1000),
    (("t", "tonnes"), ("kg", "kilos"), 1000),
)
_PHRASINGS = (
    "convert {value} {source} to {target}",
    "{value} {source} in {target}",
    "how many {target} are {value} {source}",
    "how many {target} in {value} {source}",
    "what is {value} {source} in {target}",
    "write {value} {source} as {target}",
    "{value} {source} -> {target}",
    "change {value} {source} into {target}",
    "{value} {source} make how many {target}",
    "i have {value} {source}, count them in {target}",
    "give {value} {source} as a sum of {target}",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    large, small, factor = rng.choice(_UNITS)
    decimal = factor in {10, 100, 1000} and rng.random() < 0.3
    tenths = rng.randrange(1, 400) if decimal else 10 * rng.randrange(1, 400 if factor % 10 == 0 else 40)
    if factor == 60:
        tenths = 10 * rng.randrange(1, 60)
    much = f"{tenths / 10:.1f}" if tenths % 10 else str(tenths // 10)
    many = str(tenths * factor // 10)
    down = rng.random() < 0.6
    query, phrasing = say(
        rng,
        "units",
        _PHRASINGS,
        value=much if down else many,
        source=rng.choice(large if down else small),
        target=rng.choice(small if down else large),
    )
    difficulty = 1 if factor % 10 == 0 and factor != 60 else 2 if tenths <= 120 else 3
    return Item(query, many if down else much, "units", f"{much} {large[0]} {small[0]}", difficulty, phrasing)


FAMILY = Family("units", "lengths, weights, volumes, times and counts from one unit to another", _draw)
