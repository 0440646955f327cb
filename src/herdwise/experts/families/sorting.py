"""Numbers, words or letters put in order."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say
from herdwise.experts.families.words import WORDS

_UP = (
    "sort {list}",
    "order these from low to high: {list}",
    "put {list} in order",
    "sort ascending: {list}",
    "{list} sorted",
    "arrange {list}",
    "what is the right order of {list}",
    "give me {list} in rising order",
    "write {list} in order",
)
_DOWN = (
    "sort {list} descending",
    "order these from high to low: {list}",
    "sort in reverse: {list}",
    "{list} sorted backwards",
    "give me {list} in falling order",
    "put {list} in order, last first",
    "arrange {list} from the end",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    kind, n = rng.randrange(3), rng.choice((3, 3, 4))
    if kind == 0:
        numbers = rng.sample(range(100), n)
        things, ordered = [str(x) for x in numbers], [str(x) for x in sorted(numbers)]
    elif kind == 1:
        things = rng.sample(WORDS, n)
        ordered = sorted(things)
    else:
        things = rng.sample("abcdefghijklmnopqrstuvwxyz", n + 1)
        ordered = sorted(things)
    down = rng.random() < 0.35
    joint = rng.choice((", ", " ", ","))
    query, phrasing = say(rng, "sorting", _DOWN if down else _UP, list=joint.join(things))
    answer = ", ".join(reversed(ordered) if down else ordered)
    difficulty = n - 2
    return Item(
        query, answer, "sorting", " ".join(ordered), difficulty, f"{phrasing}/{'down' if down else 'up'}"
    )


FAMILY = Family("sorting", "three to five numbers, words or letters in order, up or down", _draw)
