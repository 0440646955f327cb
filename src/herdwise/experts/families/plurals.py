"""Plurals of nouns, regular and irregular: the family that the shipped herd has no expert for."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import listed, say
from herdwise.experts.families.words import WORDS

_IRREGULAR = (
    "man men,woman women,child children,tooth teeth,foot feet,goose geese,mouse mice,louse lice,ox oxen,"
    "leaf leaves,knife knives,wife wives,life lives,wolf wolves,half halves,shelf shelves,thief thieves,"
    "calf calves,loaf loaves,scarf scarves,crisis crises,basis bases,thesis theses,analysis analyses,"
    "cactus cacti,fungus fungi,nucleus nuclei,radius radii,datum data,medium media,criterion criteria,"
    "phenomenon phenomena,person people,sheep sheep,deer deer,fish fish,series series,hero heroes,"
    "echo echoes,tomato tomatoes,photo photos,piano pianos,roof roofs,chief chiefs"
)
_PHRASINGS = (
    "plural of {list}",
    "one {list}, two",
    "write {list} in the plural",
    "more than one {list}",
    "{list} -> plural",
    "what is the plural form of {list}",
    "convert {list} to plural",
    "give me {list} as many",
)


def plural(noun: str) -> str:
    """Regular English plural."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "z", "ch", "sh")) or noun == "potato":
        return noun + "es"
    return noun + "s"


_ODD = {pair.split()[0]: pair.split()[1] for pair in _IRREGULAR.split(",")}
#: Singular -> plural.
NOUNS = {word: plural(word) for word in WORDS} | _ODD


def _draw(rng: random.Random, _split: Split) -> Item:
    n = rng.choice((1, 1, 2, 2, 3))
    nouns: list[str] = []
    while len(nouns) < n:
        noun = rng.choice(tuple(_ODD if rng.random() < 0.5 else NOUNS))
        if noun not in nouns:
            nouns.append(noun)
    query, phrasing = say(rng, "plurals", _PHRASINGS, list=listed(rng, nouns))
    answer = ", ".join(NOUNS[noun] for noun in nouns)
    return Item(query, answer, "plurals", " ".join(sorted(nouns)), n, phrasing)


FAMILY = Family("plurals", "plurals of nouns, regular and irregular", _draw)
