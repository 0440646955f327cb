"""Newline-delimited JSON, cut into lines as the bytes come; a line is an event, as for server-sent events."""

from __future__ import annotations

from herdwise.core.errors import BadResponseError
from herdwise.transport.sse import Event


class LineParser:
    """Bytes in, lines out; the split of the bytes makes no difference. Blank lines are skipped.

    >>> parser = LineParser()
    >>> parser.feed(b'{"a": 1}\\n{"b"')
    [Event(data='{"a": 1}', event='message', id=None, retry_ms=None)]
    >>> parser.feed(b': 2}')
    []
    >>> parser.close()
    [Event(data='{"b": 2}', event='message', id=None, retry_ms=None)]

    Args:
        candidate: whom errors name.
        max_event_bytes: longest line that is accepted.
    """

    def __init__(self, *, candidate: str = "", max_event_bytes: int = 4 * 1024 * 1024) -> None:
        self._candidate, self._limit = candidate, max_event_bytes
        # The unfinished last line, in pieces: joining only once keeps slow single bytes linear.
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The lines that these bytes complete.

        Raises:
            BadResponseError: on bytes that are not UTF-8, or a line over ``max_event_bytes``.
        """
        *whole, rest = data.split(b"\n")
        events: list[Event] = []
        for line in whole:
            self._hold(line)
            events += self.close()
        self._hold(rest)
        return events

    def close(self) -> list[Event]:
        """The last line, where it has no line feed.

        Raises:
            BadResponseError: as ``feed``.
        """
        line = b"".join(self._partial).strip()
        self._partial.clear()
        self._size = 0
        if not line:
            return []
        try:
            return [Event(line.decode())]
        except UnicodeDecodeError:
            raise BadResponseError(
                f"candidate {self._candidate!r} sent a line that is not UTF-8.", candidate=self._candidate
            ) from None

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
            raise BadResponseError(
                f"candidate {self._candidate!r} sent a line of more than {self._limit} bytes.",
                candidate=self._candidate,
            )
