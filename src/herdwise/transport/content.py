"""What a body claims to be and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from herdwise.core.errors import BadResponseError

_decode = msgspec.json.Decoder().decode
#: Containers within containers. What is read has to be written again, where the stack may be deeper, and what
#: reaches Python's own limit only then would look like somebody else's failure.
MOST_DEPTH = 200


def too_deep(value: Any, n_bytes: int) -> bool:
    """Whether a decoded JSON value is nested more than ``MOST_DEPTH`` deep.

    Args:
        value: what was decoded.
        n_bytes: length of what it was decoded from; each level took two, so that most are known not to be.
    """
    if n_bytes <= 2 * MOST_DEPTH:
        return False
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_DEPTH):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def media_type(headers: Mapping[str, str]) -> str:
    """The media type without its parameters, in lower case; "" when none is stated."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type promises JSON; a body that states no type is given the benefit of the doubt."""
    return not kind or kind == "application/json" or kind.endswith("+json")


def json_object(body: bytes | str, candidate: str) -> dict[str, Any]:
    """The JSON object that ``body`` holds. JSON is UTF-8 (RFC 8259, 8.1), whatever charset is claimed.

    Raises:
        BadResponseError: when it is something else, is cut off, or is not UTF-8.
    """
    try:
        value = _decode(body)
    except UnicodeDecodeError:
        what = "is not UTF-8"
    except msgspec.DecodeError as error:
        what = f"is not JSON ({error})"
    except RecursionError:
        what = "is nested too deeply"
    else:
        if isinstance(value, dict) and not too_deep(value, len(body)):
            return value
        what = "is nested too deeply"
        if not isinstance(value, dict):
            what = f"is not a JSON object but a {type(value).__name__}"
    # Its size is told and not its words, which may hold what the user asked or a key.
    raise BadResponseError(
        f"candidate {candidate!r} sent an answer of length {len(body)} that {what}.",
        candidate=candidate,
    )
