"""Server-sent events, parsed as the bytes come (WHATWG HTML, section 9.2.6).

Tolerant where servers differ: CR, LF and CRLF line ends, a byte-order mark, comments, unknown fields, a
last event without its blank line. Strict where text would be lost or memory is at stake: bytes that are
not UTF-8 and lines or events without end are refused.
"""

from __future__ import annotations

import msgspec

from herdwise.core.errors import BadResponseError

_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event.

    Args:
        data: its data lines, joined by a line feed.
        event: its type, "message" unless named.
        id: the last id that the stream has named so far.
        retry_ms: reconnection time, where this event names one.
    """

    data: str
    event: str = "message"
    id: str | None = None
    retry_ms: int | None = None


class SSEParser:
    """Bytes in, events out; the split of the bytes makes no difference.

    >>> parser = SSEParser()
    >>> parser.feed(b"data: a")
    []
    >>> parser.feed(b"b\\n\\ndata: c\\n")
    [Event(data='ab', event='message', id=None, retry_ms=None)]
    >>> parser.close()
    [Event(data='c', event='message', id=None, retry_ms=None)]

    Args:
        candidate: whom errors name.
        max_event_bytes: longest line, and longest event, that is accepted.
    """

    def __init__(self, *, candidate: str = "", max_event_bytes: int = 4 * 1024 * 1024) -> None:
        self._candidate, self._limit = candidate, max_event_bytes
        # The unfinished last line, in pieces: joining only once keeps slow single bytes linear.
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._skip_lf = False
        self._at_start = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._retry_ms: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            BadResponseError: on bytes that are not UTF-8, or an event over ``max_event_bytes``.
        """
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        if not data:
            return []
        if b"\n" not in data and b"\r" not in data:
            self._hold(data)
            return []
        if self._partial:
            data = b"".join((*self._partial, data))
            self._partial.clear()
            self._partial_bytes = 0
        events: list[Event] = []
        if self._at_start and data[:1] == b"d":  # no byte-order mark
            self._at_start = False
        if b"\r" not in data and not self._data:
            data = self._blocks(data, events)
            if not data:
                return events
        lines = data.splitlines()
        if data.endswith(b"\r"):
            self._skip_lf = True
        elif not data.endswith(b"\n"):
            self._hold(lines.pop())
        for line in lines:
            self._line(line, events)
        return events

    def _blocks(self, data: bytes, events: list[Event]) -> bytes:
        """Read what nearly all servers send, events of one data line and nothing else, as far as it goes.

        Returns:
            What is left.
        """
        if self._at_start or self._event:
            return data
        start, found, limit = 0, data.find, self._limit
        while data.startswith(b"data: ", start):
            end = found(b"\n", start)
            if end < 0 or not data.startswith(b"\n", end + 1):
                break
            if end - start > limit:
                self._check(end - start)
            events.append(Event(self._text(data[start + 6 : end]), "message", self._id, self._retry_ms))
            self._retry_ms = None
            start = end + 2
        return data[start:]

    def close(self) -> list[Event]:
        """The last event, where the stream ended without the blank line that should end it.

        Raises:
            BadResponseError: as ``feed``.
        """
        events: list[Event] = []
        if self._partial:
            line = b"".join(self._partial)
            self._partial.clear()
            self._partial_bytes = 0
            self._line(line, events)
        self._dispatch(events)
        return events

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._partial_bytes += len(piece)
        self._check(self._partial_bytes)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BadResponseError(
                f"candidate {self._candidate!r} sent an event of more than {self._limit} bytes.",
                candidate=self._candidate,
            )

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        self._check(len(line))
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._check(self._data_bytes - 1)
        elif field == b"event":
            self._event = self._text(value)
        elif field == b"id":
            if b"\0" not in value:
                self._id = self._text(value)
        elif field == b"retry" and value.isdigit():
            self._retry_ms = int(value) if len(value) < 16 else None

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._text(data), self._event or "message", self._id, self._retry_ms))
            self._data.clear()
            self._data_bytes = 0
        self._event = ""
        self._retry_ms = None

    def _text(self, value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadResponseError(
                f"candidate {self._candidate!r} sent an event that is not UTF-8.", candidate=self._candidate
            ) from None
