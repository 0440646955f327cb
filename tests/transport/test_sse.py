"""The SSE parser: any split of the bytes gives the same events."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herdwise.core.errors import BadResponseError
from herdwise.transport.sse import Event, SSEParser

#: How long an example takes says nothing here; a busy machine must not fail the test.
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def parse(data: bytes, cuts: list[int] | None = None, **options: int) -> list[Event]:
    parser = SSEParser(candidate="c", **options)  # type: ignore[arg-type]
    edges = [0, *sorted(cuts or []), len(data)]
    events: list[Event] = []
    for start, end in itertools.pairwise(edges):
        events += parser.feed(data[start:end])
    return events + parser.close()


LINE = st.one_of(
    st.sampled_from(
        ["", "", "data", "data:", "data: ", ": comment", "event: x", "id: 7", "id:\0", "retry: 50"]
    ),
    st.text(alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=12).map(
        lambda t: f"data: {t}"
    ),
    st.text(alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=8),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(LINE, st.sampled_from(["\n", "\r", "\r\n"])), max_size=20))
    text = draw(st.sampled_from(["", "\ufeff"])) + "".join(line + end for line, end in lines)
    return text.encode() + draw(st.sampled_from([b"", b"data: the end", b"data: e\r"]))


@untimed
@given(streams(), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(data: bytes, draw: st.DataObject) -> None:
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=30))
    assert parse(data, cuts) == parse(data)
    assert parse(data, list(range(len(data)))) == parse(data)


def by_the_letter(stream: bytes) -> list[str]:
    """Data of the events, read line by line as the standard words it; the last event counts too."""
    lines = re.split("\r\n|\n|\r", stream.decode().removeprefix("\ufeff"))
    events, data = [], []
    for line in [*lines, ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value[1:] if value[:1] == " " else value)
        if not line and data:
            events.append("\n".join(data))
            data = []
    return events


@untimed
@given(streams())
def test_the_data_is_what_the_standard_says(data: bytes) -> None:
    assert [event.data for event in parse(data)] == by_the_letter(data)


@untimed
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=10))
def test_no_bytes_break_it_save_those_that_are_not_utf8(data: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> list[Event] | str:
        try:
            return parse(data, cuts)
        except BadResponseError as error:
            return error.message

    whole = outcome([])
    assert outcome([min(c, len(data)) for c in cuts]) == whole
    if isinstance(whole, str):
        with pytest.raises(UnicodeDecodeError):
            data.decode()


@untimed
@given(st.lists(st.text(max_size=20)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_texts_come_out_as_they_were_sent(texts: list[str], end: str) -> None:
    data = "".join(f"data: {json.dumps(t, ensure_ascii=False)}{end}{end}" for t in texts)
    assert [json.loads(e.data) for e in parse(data.encode())] == texts


def test_the_fields_of_an_event_are_read_as_the_standard_says() -> None:
    stream = b": hello\nevent: add\nid: 1\nretry: 300\ndata: a\ndata:b\ndata\n\ndata: c\n\n"
    assert parse(stream) == [Event("a\nb\n", "add", "1", 300), Event("c", "message", "1", None)]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert parse(b"data:  a\n\n")[0].data == " a"


def test_events_without_data_and_comments_give_nothing() -> None:
    assert parse(b": ping\n\nevent: ping\n\nid: 3\n\n") == []


def test_a_byte_order_mark_is_dropped_only_at_the_start() -> None:
    assert [e.data for e in parse(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n")] == ["a", "c"]


def test_a_retry_that_is_no_number_and_an_id_with_a_null_are_ignored() -> None:
    assert parse(b"retry: soon\nid: a\0b\ndata: x\n\n") == [Event("x")]


def test_a_last_event_without_its_blank_line_is_not_lost() -> None:
    assert [e.data for e in parse(b"data: a\n\ndata: b")] == ["a", "b"]


def test_bytes_that_are_not_utf8_are_refused_with_the_candidates_name() -> None:
    with pytest.raises(BadResponseError, match=r"'c'.*not UTF-8") as caught:
        parse(b"data: caf\xe9\n\n")
    assert caught.value.candidate == "c"


@pytest.mark.parametrize("pieces", [[b"x" * 50, b"x" * 51], [b"x" * 101 + b"\n"], [b"data: xxxx\n"] * 30])
def test_a_line_or_event_without_end_is_refused(pieces: list[bytes]) -> None:
    parser = SSEParser(max_event_bytes=100)
    with pytest.raises(BadResponseError, match="more than 100 bytes"):
        _ = [parser.feed(piece) for piece in pieces]


def test_an_event_of_the_greatest_allowed_size_passes() -> None:
    assert len(parse(b"data: " + b"x" * 94 + b"\n\n", max_event_bytes=100)[0].data) == 94
