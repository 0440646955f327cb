"""Any bytes, however cut, come to the events that a simple reader finds, or to a BackendError."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from herdwise.core.errors import BackendError, BadResponseError
from herdwise.transport.client import Call, HttpClient, Limits
from herdwise.transport.content import MOST_DEPTH, json_object
from herdwise.transport.lines import LineParser
from herdwise.transport.sse import Event, SSEParser

_QUICK = settings(max_examples=150, deadline=None)

#: Bytes of which streams are made, so that what is drawn resembles one; any others stand between them.
_PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                b"data: ",
                b"data:",
                b"data",
                b"event: ",
                b"id:",
                b"id: 1\0",
                b"retry: 10",
                b"retry: -1",
                b": hm",
            ),
            *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\0", b" ", b":", b"[DONE]"),
            *(b'{"a": 1}', b"error", "ä€😀".encode(), b"\xc3", b"\xff", "\u2028".encode(), "\x85".encode()),
            *(b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x85"),
        ]
    ),
    st.binary(max_size=6),
)
_STREAMS = st.lists(_PIECES, max_size=30).map(b"".join)
_CUTS = st.lists(st.integers(0, 60), max_size=12)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def outcome(parser: SSEParser | LineParser, pieces: list[bytes]) -> tuple[list[Event], bool]:
    """The events, and whether it ended in an error."""
    events: list[Event] = []
    try:
        for piece in pieces:
            events += parser.feed(piece)
        events += parser.close()
    except BadResponseError:
        return events, True
    return events, False


class NotTextError(Exception):
    """Bytes that should be text are none."""


def text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise NotTextError from None


def by_the_standard(data: bytes) -> tuple[list[Event], bool]:
    """WHATWG HTML, 9.2.6, read off the page; and a last event without its blank line counts."""
    events: list[Event] = []
    values: list[bytes] = []
    kind, last_id, retry_ms = "", None, None
    lines = re.split(rb"\r\n|\n|\r", data.removeprefix(b"\xef\xbb\xbf"))
    try:
        for line in [*lines, b""]:
            if not line:
                if values:
                    events.append(Event(text(b"\n".join(values)), kind or "message", last_id, retry_ms))
                values, kind, retry_ms = [], "", None
                continue
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if field == b"data":
                values.append(value)
            elif field == b"event":
                kind = text(value)
            elif field == b"id" and b"\0" not in value:
                last_id = text(value)
            elif field == b"retry" and re.fullmatch(rb"[0-9]+", value):
                retry_ms = int(value) if len(value) < 16 else None
    except NotTextError:
        return events, True
    return events, False


@_QUICK
@given(_STREAMS, _CUTS)
@example(b"data: a\r\rdata: b\n\n", [8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"data: a\n\ndata: b\r\n\r\ndata: c\n\n", [])
@example(b"event: x\ndata: a\n\ndata: b\n\n", [9])
@example(b"data: \xff\n\ndata: b\n\n", [])
@example(b"data: a\x85b\x0bc\x1cd\n\n", [])
def test_events_are_those_of_the_standard_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    expected = by_the_standard(data)
    for pieces in (in_pieces(data, cuts), [data], [bytes([byte]) for byte in data]):
        found, failed = outcome(SSEParser(), pieces)
        assert failed == expected[1]
        # Events that came in the same piece as bytes that are no text may be lost with them.
        assert found == expected[0] if not failed else found == expected[0][: len(found)]


@_QUICK
@given(st.lists(st.one_of(_PIECES, st.binary(max_size=80)), max_size=40), st.integers(1, 40))
def test_a_parser_of_events_holds_no_more_than_its_limit(pieces: list[bytes], limit: int) -> None:
    parser = SSEParser(max_event_bytes=limit)
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                assert len(event.data.encode()) <= limit
            # A piece is held until it is read; beyond it, no more than a line and an event.
            assert parser._partial_bytes == sum(map(len, parser._partial)) <= limit
            assert sum(len(line) + 1 for line in parser._data) <= limit + 1
    except BadResponseError:
        return


@_QUICK
@given(_STREAMS, _CUTS)
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    expected: list[Event] = []
    failed = False
    for line in data.split(b"\n"):
        try:
            expected += [Event(text(line.strip()))] if line.strip() else []
        except NotTextError:
            failed = True
            break
    for pieces in (in_pieces(data, cuts), [data], [bytes([byte]) for byte in data]):
        found, ended = outcome(LineParser(), pieces)
        assert ended == failed
        assert found == expected if not failed else found == expected[: len(found)]


@_QUICK
@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 30))
def test_a_parser_of_lines_holds_no_more_than_its_limit(pieces: list[bytes], limit: int) -> None:
    parser = LineParser(max_event_bytes=limit)
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                assert len(event.data.encode()) <= limit
            assert parser._size == sum(map(len, parser._partial)) <= limit
    except BadResponseError:
        return


@_QUICK
@given(st.one_of(st.binary(max_size=60), _STREAMS, st.text(max_size=40).map(str.encode)))
def test_a_body_is_a_json_object_or_a_bad_response(body: bytes) -> None:
    found: Any = None
    with contextlib.suppress(BackendError):
        found = json_object(body, "a")
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [MOST_DEPTH, 900, 985, 100_000])
def test_an_answer_that_is_nested_deeper_than_can_be_sent_on_is_a_bad_response(
    opening: bytes, depth: int
) -> None:
    closing = b"]" if opening == b"[" else b"}"
    body = b'{"choices": ' + opening * depth + b"1" + closing * depth + b"}"
    with pytest.raises(BadResponseError, match="nested too deeply"):
        json_object(body, "a")
    shallow = MOST_DEPTH - 1
    assert json_object(b'{"choices": ' + opening * shallow + b"1" + closing * shallow + b"}", "a")


async def test_a_stream_without_end_is_a_bad_response(faulty_upstream: Any) -> None:
    upstream = await faulty_upstream(models=("up",))
    upstream.behave("says", deltas=[{"content": "word " * 100}] * 50)
    client = HttpClient(Limits(max_body_bytes=8_000))
    body = b'{"model": "up", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    call = Call("POST", URL(f"{upstream.base_url}/chat/completions"), "a", data=body)
    with pytest.raises(BadResponseError, match="a stream of more than 8000 bytes"):
        _ = [event async for event in client.events(call)]
    await client.close()
