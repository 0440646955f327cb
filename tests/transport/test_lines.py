"""Newline-delimited JSON, however its bytes are split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdwise.core.errors import BadResponseError
from herdwise.transport.lines import LineParser


def lines_of(pieces: list[bytes]) -> list[str]:
    parser = LineParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [event.data for event in events + parser.close()]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))), st.lists(st.integers(0, 200))
)
def test_the_split_of_the_bytes_makes_no_difference(lines: list[str], cuts: list[int]) -> None:
    data = "\n".join(lines).encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert lines_of(pieces) == lines_of([data]) == lines_of([bytes([byte]) for byte in data])


def test_blank_lines_are_skipped_and_a_last_line_needs_no_line_feed() -> None:
    assert lines_of([b'{"a": 1}\r\n\n', b'  \n{"b":', b" 2}"]) == ['{"a": 1}', '{"b": 2}']


def test_a_line_without_end_and_bytes_that_are_no_text_are_refused() -> None:
    parser = LineParser(candidate="x", max_event_bytes=10)
    parser.feed(b"12345")
    with pytest.raises(BadResponseError, match="more than 10 bytes"):
        parser.feed(b"678901")
    with pytest.raises(BadResponseError, match="not UTF-8"):
        LineParser(candidate="x").feed(b"\xff\n")
