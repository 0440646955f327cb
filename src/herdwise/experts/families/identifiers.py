"""Identifiers from one case to another: snake_case, camelCase, PascalCase, kebab-case, CONSTANT_CASE."""

from __future__ import annotations

import random
from collections.abc import Sequence

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say
from herdwise.experts.families.words import WORDS

_NAMES = {
    "snake": ("snake case", "snake_case", "a python variable"),
    "camel": ("camel case", "camelCase", "a java variable"),
    "pascal": ("pascal case", "PascalCase", "a class name"),
    "kebab": ("kebab case", "kebab-case", "a url slug"),
    "constant": ("constant case", "UPPER_CASE", "a constant"),
    "words": ("plain words", "a phrase", "normal text"),
    "initials": ("initials", "an acronym", "its first letters"),
}
_PHRASINGS = (
    "convert {name} to {case}",
    "write {name} as {case}",
    "{name} in {case}",
    "{name} -> {case}",
    "rename {name} to {case}",
    "what is {name} as {case}",
    "give me {case} for {name}",
    "change {name} into {case}",
    "put {name} in {case}",
)


def cased(words: Sequence[str], case: str) -> str:
    """Lower-case words written in a case."""
    titles = [word.capitalize() for word in words]
    if case == "camel":
        return words[0] + "".join(titles[1:])
    return {
        "snake": "_".join(words),
        "pascal": "".join(titles),
        "kebab": "-".join(words),
        "constant": "_".join(words).upper(),
        "words": " ".join(words),
        "initials": "".join(word[0] for word in words).upper(),
    }[case]


def _draw(rng: random.Random, _split: Split) -> Item:
    words = rng.sample(WORDS, rng.choice((2, 2, 3, 3, 4)))
    source = rng.choice(("snake", "camel", "pascal", "kebab", "constant", "words", "words"))
    target = rng.choice([case for case in _NAMES if case != source])
    shown, case = cased(words, source), rng.choice(_NAMES[target])
    query, phrasing = say(rng, "identifiers", _PHRASINGS, name=shown, case=case)
    return Item(query, cased(words, target), "identifiers", " ".join(words), len(words) - 1, phrasing)


FAMILY = Family("identifiers", "identifiers and phrases from one case to another, and their initials", _draw)
