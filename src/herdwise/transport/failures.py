"""What goes wrong on the wire, as errors of the one tree. No secret is let into a message or body."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import socket
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import ContentEncodingError

from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConnectError,
    RateLimitError,
    UnreachableError,
    UpstreamStatusError,
)

#: 429 is HTTP's "too many requests"; 529 is what Anthropic and others send when overloaded.
RATE_LIMIT_STATUSES = frozenset({429, 529})
_LONGEST_MESSAGE = 500


def from_aiohttp(error: Exception, candidate: str) -> BackendError:
    """The error for an exception of aiohttp or of the socket.

    An answer that is cut off below HTTP (reset, or closed before its stated end) is a ConnectError; one
    that is not HTTP, or cannot be unpacked, is a BadResponseError.
    """
    who = f"candidate {candidate!r}"
    if isinstance(error, aiohttp.ClientPayloadError) and isinstance(error.__cause__, ContentEncodingError):
        return BadResponseError(f"{who}: the body cannot be decompressed.", candidate=candidate)
    if isinstance(error, aiohttp.ClientPayloadError):
        return ConnectError(f"{who}: the connection broke in the middle of the answer.", candidate=candidate)
    if isinstance(error, aiohttp.ClientResponseError):
        # Its text and repr hold the request's headers, the key among them: only the reason is kept.
        said = " ".join(error.message.split())
        return BadResponseError(f"{who} does not speak HTTP: {said}.", candidate=candidate)
    if isinstance(error, aiohttp.ClientConnectorError):
        return unreachable(error.os_error, error.host, error.port, candidate)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return ConnectError(f"{who} closed the connection without an answer.", candidate=candidate)
    if isinstance(error, aiohttp.InvalidURL):
        return ConnectError(f"{who}: its base_url makes no URL.", candidate=candidate)
    return ConnectError(f"{who}: the connection broke: {_reason(error)}.", candidate=candidate)


def unreachable(error: BaseException, host: str, port: int | None, candidate: str) -> UnreachableError:
    """The error for a connection that cannot be made.

    Messages go to clients, whom addresses do not concern; remedies go to the operator only.
    """
    return UnreachableError(
        f"candidate {candidate!r} cannot be reached: {_reason(error)}.",
        candidate=candidate,
        remedy=f"Is it running at {host}:{port}, and is its base_url right?",
    )


def from_status(
    status: int, headers: Mapping[str, str], body: bytes, candidate: str, secrets: tuple[str, ...] = ()
) -> BackendError:
    """The error for an HTTP status of 300 or more; the upstream's own error object is kept in ``body``."""
    for secret in secrets:
        body = body.replace(secret.encode(), b"[redacted]")
    content: Any
    try:
        content = msgspec.json.decode(body)
    except ValueError:  # not JSON, or not UTF-8: the text is all there is
        content = body.decode(errors="replace")[:_LONGEST_MESSAGE].strip() or None
    after = retry_after_s(headers)
    stated = message_of(content)
    if status in RATE_LIMIT_STATUSES:
        when = f" for {after:g} s" if after is not None else ""
        return RateLimitError(
            f"candidate {candidate!r} is rate limited{when} (HTTP {status}){stated}",
            candidate=candidate,
            status=status,
            body=content,
            retry_after_s=after,
        )
    remedy = ""
    if status in {401, 403}:
        remedy = "Check its api_key."
    elif status < 400:
        stated, remedy = " and redirects elsewhere.", "Redirects are not followed: give its final base_url."
    elif status == 404:
        remedy = "Check its base_url and model."
    return UpstreamStatusError(
        f"candidate {candidate!r} answered HTTP {status}{stated}",
        candidate=candidate,
        status=status,
        body=content,
        retry_after_s=after,
        remedy=remedy,
    )


def from_error_object(content: Mapping[str, Any], candidate: str, secrets: tuple[str, ...]) -> BackendError:
    """The error for an error object that comes with status 200, such as an error event in a stream."""
    raw = msgspec.json.encode(content)
    error = content.get("error", content)
    stated = error if isinstance(error, Mapping) else {}
    code, kind = stated.get("code", stated.get("status")), stated.get("type")
    status = (
        code if isinstance(code, int) else int(code) if isinstance(code, str) and code.isdecimal() else 200
    )
    if kind == "overloaded_error":
        status = 529
    elif "rate_limit_exceeded" in (kind, code) or kind == "rate_limit_error":
        status = 429
    if not 400 <= status < 600:
        problem = from_status(500, {}, raw, candidate, secrets)
        return UpstreamStatusError(
            f"candidate {candidate!r} sent an error in its answer{message_of(problem.body)}",
            candidate=candidate,
            body=problem.body,
        )
    return from_status(status, {}, raw, candidate, secrets)


def message_of(content: Any) -> str:
    """The upstream's own words, as the end of a sentence: ``: words.`` or ``.``"""
    words: Any = content
    if isinstance(content, Mapping):
        words = content.get("error", content)
        if isinstance(words, Mapping):
            words = words.get("message")
        words = words or content.get("message") or content.get("detail")
    if not isinstance(words, str) or not words.strip():
        return "."
    words = " ".join(words.split())
    return f": {words[:_LONGEST_MESSAGE].rstrip('.')}."


def retry_after_s(headers: Mapping[str, str], now: dt.datetime | None = None) -> float | None:
    """Seconds to wait, from ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date); None = not said.

    >>> retry_after_s({"Retry-After": "1.5"})
    1.5
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _number(value)
    if value is None or seconds is not None:
        return seconds
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - (now or dt.datetime.now(dt.UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e9 else None


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if (
        isinstance(error, OSError)
        and not isinstance(error, socket.gaierror)
        and isinstance(number, int)
        and number > 0
    ):
        return os.strerror(number)  # asyncio's own words repeat the address
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).rstrip(".")
