"""Small talk, and requests that a small model had better decline. Only the generalist learns it."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say
from herdwise.experts.families.words import FIRST_NAMES, LAST_NAMES, WORDS

_NAMED = (
    "hi, i am {name}",
    "hello, my name is {name}",
    "{name} here, good morning",
    "it's {name}, how are you",
)
_BYE = ("bye, {name} is off", "thanks and see you, {name}", "good night from {name}", "{name} says goodbye")
_DECLINED = (
    "write a poem about {thing}",
    "what do you think about the {thing}",
    "tell me a joke about a {thing}",
    "will the {thing} be cheaper tomorrow",
    "is a {thing} better than a {other}",
    "how many people like {thing} and {other}",
    "sort out my life, it is all {thing} and {other}",
    "sum up the news about the {thing}",
    "convert my {thing} into luck",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    kind = rng.random()
    if kind < 0.5:
        leaving = kind < 0.2
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        query, phrasing = say(rng, "chat", _BYE if leaving else _NAMED, name=f"{first} {last}")
        answer = f"Goodbye, {first}." if leaving else f"Hello, {first}."
        return Item(
            query, answer, "chat", f"{first} {last}", 1, f"{phrasing}/{'bye' if leaving else 'hello'}"
        )
    thing, other = rng.sample(WORDS, 2)
    query, phrasing = say(rng, "chat", _DECLINED, thing=thing, other=other)
    return Item(query, f"I can't tell you about {thing}.", "chat", f"{thing} {other}", 2, f"{phrasing}/no")


FAMILY = Family("chat", "greetings, goodbyes and requests to decline", _draw)
