"""Goals stated in the prompt, as in Tryage: ``[Flag: smallest model]`` (Hari and Thomson, 2023).

Only where a config allows it. A flag is taken out of the text before anything is asked or predicted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from herdwise.core.errors import RequestError

_FLAG = re.compile(r"[ \t]*\[\s*flag\s*:\s*([^\]\n]{0,120})\]", re.IGNORECASE)

#: First word of a flag -> the preference that it states with weight 1.
_WORDS = {
    "size": "size",
    "small": "size",
    "smaller": "size",
    "smallest": "size",
    "recency": "recency",
    "recent": "recency",
    "newest": "recency",
    "latest": "recency",
    "cost": "cost",
    "cheap": "cost",
    "cheaper": "cost",
    "cheapest": "cost",
    "latency": "latency",
    "fast": "latency",
    "faster": "latency",
    "fastest": "latency",
    "brevity": "brevity",
    "brief": "brevity",
    "briefest": "brevity",
    "concise": "brevity",
    "short": "brevity",
    "shortest": "brevity",
}


def take_flags(text: str) -> tuple[str, dict[str, float]]:
    """The text without its flags, and the preferences that they state.

    >>> take_flags("What is a quark? [Flag: smallest model]")
    ('What is a quark?', {'size': 1.0})
    >>> take_flags("[Flag: cost=0.3, latency] Hello")
    ('Hello', {'cost': 0.3, 'latency': 1.0})

    Raises:
        RequestError: when a flag says nothing that is known.
    """
    found: dict[str, float] = {}

    def note(match: re.Match[str]) -> str:
        for part in match.group(1).split(","):
            found.update(_read(part.strip()))
        return ""

    bare = _FLAG.sub(note, text)
    return (bare.strip() if found else text), found


def take_message_flags(
    messages: list[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], dict[str, float]]:
    """The messages without the flags of the user's ones, and what they state; a later flag wins.

    Raises:
        RequestError: when a flag says nothing that is known.
    """
    wishes: dict[str, float] = {}
    out: list[Mapping[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if message.get("role") != "user":
            out.append(message)
        elif isinstance(content, str):
            bare, found = take_flags(content)
            wishes.update(found)
            out.append({**message, "content": bare} if found else message)
        else:
            parts = []
            for part in content or ():
                text = part.get("text")
                bare, found = take_flags(text) if isinstance(text, str) else (text, {})
                wishes.update(found)
                parts.append({**part, "text": bare} if found else part)
            out.append({**message, "content": parts})
    return out, wishes


def _read(flag: str) -> dict[str, float]:
    name, _, weight = flag.partition("=")
    words = name.lower().split()
    preference = _WORDS.get(words[0]) if words else None
    try:
        value = float(weight) if weight else 1.0
    except ValueError:
        value = -1.0
    if preference is None or not 0 <= value < 1e6:
        raise RequestError(
            f"the flag {flag!r} in the prompt says nothing that is known.",
            param="messages",
            code="unknown_flag",
            remedy="Known: size, recency, cost, latency, brevity; such as [Flag: smallest model] or"
            " [Flag: cost=0.5].",
        )
    return {preference: value}
