"""From a phrasing to what somebody types: openers and endings that all families share, and slips.

Only the words around what is asked get slips: a name, a number or a date is never misspelled, so the
answer stays what it is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_OPENERS = (
    "please ",
    "hi, ",
    "can you ",
    "could you please ",
    "quick one: ",
    "hey ",
    "i need help: ",
    "now ",
)
_ENDINGS = (" please", " thanks", "?", " ?", ".", "!", " pls", "...")
_FIELD = re.compile(r"(\{[a-z_]+\})")


def say(
    rng: random.Random, family: str, phrasings: Sequence[str], /, *, ends: bool = True, **fields: object
) -> tuple[str, str]:
    """One of the phrasings, filled in.

    Args:
        rng: draws phrasing, opener, ending and slips.
        family: names the phrasing.
        phrasings: with ``{fields}``.
        ends: whether openers and endings may be added.
        fields: what fills them; never changed.

    Returns:
        The text, and the phrasing's id.
    """
    chosen = rng.randrange(len(phrasings))
    phrasing = phrasings[chosen]
    if ends and rng.random() < 0.2:
        phrasing = rng.choice(_OPENERS) + phrasing
    if ends and rng.random() < 0.25:
        phrasing += rng.choice(_ENDINGS)
    lower, slips = rng.random() < 0.3, rng.random() < 0.2
    parts: list[str] = []
    for part in _FIELD.split(phrasing):
        if _FIELD.fullmatch(part):
            parts.append(str(fields[part[1:-1]]))
        else:
            said = part.lower() if lower else part
            parts.append(_slip(rng, said) if slips else said)
    text = "".join(parts)
    if not lower and rng.random() < 0.4 and phrasing[0] != "{":
        text = text[0].upper() + text[1:]
    return text, f"{family}/{chosen}"


def _slip(rng: random.Random, text: str) -> str:
    """One slip of the fingers in a word of four letters or more: left out, doubled or swapped."""
    words = list(re.finditer(r"[a-z]{4,}", text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def listed(rng: random.Random, words: Sequence[str]) -> str:
    """Several things in a row, as people write them: "a, b and c" or "a b c"."""
    style = rng.randrange(4)
    if len(words) == 1:
        return words[0]
    if style == 0:
        return ", ".join(words[:-1]) + " and " + words[-1]
    if style == 1:
        return ", ".join(words)
    return " ".join(words) if style == 2 else " and ".join(words)
