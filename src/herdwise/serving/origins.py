"""Which web pages may use the endpoint, and by which names it may be called.

A browser sends requests wherever a page tells it to. An endpoint that asks for no key would answer any page
that its user happens to look at, so it goes by what a page cannot choose: ``Origin``, which the browser sets,
and ``Host``, in which a name stands that was made to point here (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import Message, Scope, Send

from herdwise.core.errors import ConfigError, RequestError

Headers = Sequence[tuple[bytes, bytes]]

#: Names that nobody can make public DNS resolve to this machine (RFC 6761; ICANN resolution 2024.07.29.06).
_LOCAL_NAMES = (".localhost", ".internal")
#: What it takes in no encoding but as it is: a small body could unpack to a huge one.
_PLAIN = frozenset({b"", b"identity", b"chunked"})
_USUAL = frozenset({b"127.0.0.1", b"localhost"})
_WATCHED = frozenset({b"host", b"origin", b"content-encoding", b"transfer-encoding"})
_METHODS = b"GET, POST, PATCH, DELETE"
_PREFLIGHT_S = b"600"


def check_origins(allowed: Sequence[str], keyed: bool) -> None:
    """Whether a list of origins can be gone by.

    Args:
        allowed: such as ``https://chat.example.com``; ``*`` = any.
        keyed: whether clients must show a key.

    Raises:
        ConfigError: when one is no origin, or any page could use an endpoint without a key.
    """
    for origin in allowed:
        if origin == "*":
            if not keyed:
                raise ConfigError(
                    "server.allowed_origins is '*', and no API key is asked for: any web page could use the"
                    " endpoint.",
                    remedy="Name the origins, or set server.api_keys.",
                )
            continue
        parts = urlsplit(origin)
        if not parts.scheme or not parts.netloc or parts.path or parts.query or parts.fragment:
            raise ConfigError(
                f"server.allowed_origins: {origin!r} is not an origin.",
                remedy="It looks like https://chat.example.com, without a path.",
            )


class Origins:
    """Refuses what a web page from elsewhere sends.

    Args:
        allowed: origins of pages that may; ``*`` = any.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().encode() for origin in allowed)
        self._hosts = frozenset(urlsplit(origin).hostname or "" for origin in allowed if origin != "*")

    def check(self, headers: Headers, keyless: bool) -> bytes | None:
        """The page's origin, where it is from elsewhere and may; None for everybody who is no such page.

        Args:
            headers: the request's.
            keyless: whether the endpoint asks for no key.

        Raises:
            RequestError: 400 for two hosts, 403 for a page or a name that may not, 415 for a packed body.
        """
        host: bytes | None = None
        origin: bytes | None = None
        for name, value in headers:
            if name not in _WATCHED:
                continue
            if name == b"host":
                if host is not None:
                    raise RequestError("the request names two hosts.", code="invalid_host")
                host = value
            elif name == b"origin":
                origin = value.lower()
            elif value.lower() not in _PLAIN:
                raise _packed()
        if keyless and host is not None and not self._own_host(host):
            raise _foreign_host()
        if origin is None or origin in (b"http://" + (found := (host or b"").lower()), b"https://" + found):
            return None
        if self._any or origin in self._allowed:
            return origin
        raise _foreign_page()

    def _own_host(self, host: bytes) -> bool:
        if host.startswith((b"127.0.0.1", b"localhost")) and host.partition(b":")[0] in _USUAL:
            return True
        try:
            name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
        except ValueError:
            return False
        name = name.rstrip(".")
        if name == "localhost" or name.endswith(_LOCAL_NAMES) or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # no name, so nobody's DNS has a say
        except ValueError:
            return False
        return True


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what a page may send (Fetch standard, CORS-preflight request)."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


async def send_preflight(scope: Scope, send: Send, origin: bytes) -> None:
    """Tell a browser that the page may send what it wants to."""
    asked = b"access-control-request-headers"
    wanted = b", ".join(value for name, value in scope["headers"] if name == asked)
    headers = [
        *_told(origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted or b"*"),
        (b"access-control-max-age", _PREFLIGHT_S),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def readable(send: Send, origin: bytes) -> Send:
    """Lets the page read the answer, and our headers."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            told = [*_told(origin), (b"access-control-expose-headers", b"*")]
            message["headers"] = [*message["headers"], *told]
        await send(message)

    return sent


def _told(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def _packed() -> RequestError:
    return RequestError(
        "bodies are taken unpacked only, whether whole or chunked.",
        status=415,
        code="unsupported_content_encoding",
        remedy="Send it as it is.",
    )


def _foreign_host() -> RequestError:
    return RequestError(
        "the Host header names another machine, and this endpoint asks for no key.",
        status=403,
        code="host_not_allowed",
        remedy="Call it localhost or by its address; or set server.api_keys, or server.allowed_origins.",
    )


def _foreign_page() -> RequestError:
    return RequestError(
        "a web page from elsewhere may not use this endpoint.",
        status=403,
        code="origin_not_allowed",
        remedy="The operator may list its origin in server.allowed_origins.",
    )
