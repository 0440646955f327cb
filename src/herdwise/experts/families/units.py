"""Units that are 10, 100 or 1000 of one another: lengths, weights, volumes, power, time and money."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

#: Larger unit, smaller unit, how many of the smaller make the larger; each with the names people use.
_UNITS: tuple[tuple[tuple[str, ...], tuple[str, ...], int], ...] = (
    (("m", "metres"), ("cm", "centimetres"), 100),
    (("cm", "centimetres"), ("mm", "millimetres"), 10),
    (("m", "metres"), ("mm", "millimetres"), 1000),
    (("km", "kilometres"), ("m", "metres"), 1000),
    (("kg", "kilos"), ("g", "grams"), 1000),
    (("g", "grams"), ("mg", "milligrams"), 1000),
    (("t", "tonnes"), ("kg", "kilos"), 1000),
    (("l", "litres"), ("ml", "millilitres"), 1000),
    (("l", "litres"), ("cl", "centilitres"), 100),
    (("kW", "kilowatts"), ("W", "watts"), 1000),
    (("s", "seconds"), ("ms", "milliseconds"), 1000),
    (("euros",), ("cents",), 100),
    (("decades",), ("years",), 10),
    (("centuries",), ("years",), 100),
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
    tenths = rng.randrange(1, 400) if rng.random() < 0.5 else 10 * rng.randrange(1, 400)
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
    difficulty = 1 if tenths % 10 == 0 else 2
    return Item(query, many if down else much, "units", f"{much} {large[0]} {small[0]}", difficulty, phrasing)


FAMILY = Family(
    "units", "lengths, weights, volumes, power, time and money from one decimal unit to another", _draw
)
