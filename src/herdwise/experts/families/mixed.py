"""Two requests of different families in one query, so that no expert is enough.

Only the generalist learns it.

Both parts' contents belong to the item's split, so that neither was trained on in any words.
"""

from __future__ import annotations

import random

from herdwise.experts.families import countries, elements, roman, sums, verbs
from herdwise.experts.families.item import Family, Item, Split, split_of

_PARTS = (countries.FAMILY, elements.FAMILY, roman.FAMILY, sums.FAMILY, verbs.FAMILY)
_JOINTS = (" and then ", "; ", " and also ", ". next: ", " / ")
#: Longer parts would make queries that nobody types.
_LONGEST = 40


def _draw(rng: random.Random, split: Split) -> Item:
    first, second = (_part(rng, family, split) for family in rng.sample(_PARTS, 2))
    joint = rng.randrange(len(_JOINTS))
    return Item(
        query=first.query + _JOINTS[joint] + second.query,
        answer=f"{first.answer}; {second.answer}",
        family="mixed",
        content=f"{split}:{first.family} {first.content} & {second.family} {second.content}",
        difficulty=3,
        phrasing=f"mixed/{joint}",
    )


def _part(rng: random.Random, family: Family, split: Split) -> Item:
    while True:
        item = family.draw(rng, split)
        if item.difficulty < 3 and len(item.query) <= _LONGEST and split_of(item) == split:
            return item


FAMILY = Family("mixed", "two requests of different families in one query", _draw)
