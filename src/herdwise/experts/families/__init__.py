"""Task families: queries of everyday kinds with answers that can be checked.

``EXPERT_FAMILIES`` each get an expert; ``GENERALIST_FAMILIES`` are learned by the generalist alone;
``HELD_OUT_FAMILY`` is known to nobody in the shipped herd, so that an expert for it can be made.
"""

from __future__ import annotations

from herdwise.core.errors import UnknownNameError
from herdwise.experts.families import (
    chat,
    countries,
    dates,
    elements,
    extract,
    identifiers,
    mixed,
    plurals,
    roman,
    sorting,
    sums,
    units,
    verbs,
)
from herdwise.experts.families.item import SPLITS, Family, Item, Split, split_of

EXPERT_FAMILIES: tuple[str, ...] = (
    "dates", "units", "roman", "sums", "sorting", "extract", "identifiers", "elements", "countries", "verbs",
)  # fmt: skip
GENERALIST_FAMILIES: tuple[str, ...] = ("mixed", "chat")
HELD_OUT_FAMILY = "plurals"

_MODULES = (
    dates, units, roman, sums, sorting, extract, identifiers, elements, countries, verbs, mixed, chat, plurals
)  # fmt: skip
FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in _MODULES}


def family(name: str) -> Family:
    """A family by its name.

    Raises:
        UnknownNameError: when there is none.
    """
    try:
        return FAMILIES[name]
    except KeyError:
        raise UnknownNameError(
            f"there is no family {name!r}.", remedy=f"Known: {', '.join(FAMILIES)}."
        ) from None


__all__ = [
    "EXPERT_FAMILIES",
    "FAMILIES",
    "GENERALIST_FAMILIES",
    "HELD_OUT_FAMILY",
    "SPLITS",
    "Family",
    "Item",
    "Split",
    "family",
    "split_of",
]
