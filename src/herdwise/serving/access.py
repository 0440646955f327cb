"""Who may come in, and how much they may send."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from starlette.types import Receive

from herdwise.core.errors import RequestError


class Keys:
    """The keys that clients may show; with none, everybody may come in.

    Every key is compared, each in constant time, so that the time taken tells nothing.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def check(self, authorization: bytes | None, x_api_key: bytes | None = None) -> None:
        """Let in or refuse.

        Args:
            authorization: the header of that name.
            x_api_key: likewise; Anthropic's clients send their key there. Either may be the right one.

        Raises:
            RequestError: 401.
        """
        if not self._keys:
            return
        scheme, _, shown = (authorization or b"").partition(b" ")
        bearer = shown.strip() if scheme.lower() == b"bearer" else b""
        shown_keys = [key for key in (bearer, x_api_key) if key]
        matches = [hmac.compare_digest(key, shown) for key in self._keys for shown in shown_keys]
        if not any(matches):
            what = "is not valid" if shown_keys else "is missing"
            raise RequestError(
                f"the API key {what}.",
                status=401,
                code="invalid_api_key",
                remedy="Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
            )

    def scope(self, headers: Mapping[bytes, bytes]) -> bytes:
        """A digest of the key that a client showed, to keep apart what is its own; b"" without keys."""
        if not self._keys:
            return b""
        shown = headers.get(b"authorization", b"") + b"\0" + headers.get(b"x-api-key", b"")
        return hashlib.blake2b(shown, digest_size=16).digest()


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
