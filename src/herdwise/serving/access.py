"""How much a client may send."""

from __future__ import annotations

from starlette.types import Receive

from herdwise.core.errors import RequestError


async def read_body(receive: Receive, content_length: bytes | None, limit: int) -> bytes | None:
    """The whole request body; None when the client went away before it was complete.

    Raises:
        RequestError: 413, as soon as it is known to be longer than ``limit`` bytes.
    """
    if content_length is not None and content_length.isdigit() and int(content_length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(limit: int) -> RequestError:
    return RequestError(f"the body is larger than {limit} bytes.", status=413, code="body_too_large")
