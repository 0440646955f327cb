"""A client's request in the API that it spoke, kept beside the inner form that it was translated to.

The inner form is OpenAI's chat request. A backend whose own API is the one that the client spoke sends the
original instead of translating twice, so that nothing is lost on the way (cache marks, thinking).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Where it stands in a chat request. No client can put anything there: serving takes their own
#: ``herdwise`` object, which states goals, out of every request.
NATIVE = "herdwise"


@dataclass(frozen=True, slots=True)
class Native:
    """One request, as it came.

    Args:
        api: whose shape it has, such as "anthropic".
        body: the request.
        chat: what it was translated to.
        headers: of the API's own that belong to it, such as ``anthropic-beta``.
    """

    api: str
    body: Mapping[str, Any]
    chat: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def native_of(body: Mapping[str, Any], api: str) -> Native | None:
    """The original of a chat request, if it came by ``api`` and nothing in it was changed since."""
    found = body.get(NATIVE)
    if not isinstance(found, Native) or found.api != api or len(body) != len(found.chat) + 1:
        return None
    same = all(body.get(key) is value for key, value in found.chat.items())
    return found if same else None
