"""One request to an upstream, and the limits that hold for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from herdwise.core.frozen import made_fast


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits for one call, in seconds; None = none.

    Args:
        connect_s: to open the connection.
        first_byte_s: of a stream, from the ask to its first event; comments that only keep the
            connection alive do not count. A whole answer is sent when it is complete, so for it only
            ``total_s`` holds.
        idle_s: of a stream, between two reads after its first event.
        total_s: from the ask to the last byte.
    """

    connect_s: float | None = 5.0
    first_byte_s: float | None = 60.0
    idle_s: float | None = 60.0
    total_s: float | None = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the client.

    Args:
        max_connections_per_host: open at a time; 0 = no limit (the per-candidate limits hold then).
        keepalive_s: how long an idle connection is kept.
        max_body_bytes: longest body, after decompression; a stream's too, of which all is kept to its end.
        max_event_bytes: longest event of a stream.
    """

    max_connections_per_host: int = 0
    keepalive_s: float = 30.0
    max_body_bytes: int = 64 * 1024 * 1024
    max_event_bytes: int = 4 * 1024 * 1024


@made_fast
@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        method: GET or POST.
        url: absolute.
        candidate: whom errors name.
        data: the body.
        headers: sent with it.
        timeouts: for this call; None = the client's.
        secrets: texts that must not stand in an error, even where the upstream repeats them.
    """

    method: str
    url: URL
    candidate: str
    data: bytes | None = None
    headers: Mapping[str, str] | None = None
    timeouts: Timeouts | None = None
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Call({self.method} {self.url}, candidate={self.candidate!r})"


class SilentError(TimeoutError):
    """Nothing came by the time that was set for the next bytes."""


class NoConnectionError(TimeoutError):
    """No connection was made in time."""


class Answer(Protocol):
    """An answer whose head is there."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in any case."""

    @property
    def content_length(self) -> int | None:
        """Bytes of the body as stated, None = not stated."""

    async def readany(self, by: float | None = None) -> bytes:
        """What has come of the body since the last reading; waits for something; b"" = that was all.

        Args:
            by: time of the event loop by which something has to come; None = no matter.

        Raises:
            SilentError: nothing came by then.
            TimeoutError: the call's time is over.
            BackendError, aiohttp.ClientError, OSError: the connection broke, or this is not HTTP.
        """

    def close(self) -> None:
        """Give the connection back, if the answer has ended, or else close it."""
