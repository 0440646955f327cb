"""Statuses and error objects as errors of the one tree."""

from __future__ import annotations

import datetime as dt

import pytest

from herdwise.core.errors import RateLimitError, UpstreamStatusError
from herdwise.transport.failures import from_error_object, from_status, message_of, retry_after_s

NOW = dt.datetime(2025, 1, 1, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e400"}, None),
        ({"Retry-After": "Wed, 01 Jan 2025 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 01 Jan 2025 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_otherwise_unknown(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize("status", [429, 529])
def test_429_and_529_are_rate_limits_that_keep_the_upstreams_object(status: int) -> None:
    error = from_status(status, {"Retry-After": "2"}, b'{"error": {"message": "Slow down."}}', "c")
    assert type(error) is RateLimitError
    assert (error.status, error.retry_after_s, error.candidate) == (status, 2.0, "c")
    assert error.body == {"error": {"message": "Slow down."}}
    assert "Slow down." in error.message


def test_an_unavailable_upstream_may_say_when_it_will_be_back() -> None:
    error = from_status(503, {"Retry-After": "7"}, b"", "c")
    assert type(error) is UpstreamStatusError
    assert (error.retry_after_s, error.body) == (7.0, None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "m."}}', ": m."),
        (b'{"error": "m"}', ": m."),
        (b'{"message": "m"}', ": m."),
        (b'{"detail": "m"}', ": m."),
        (b'{"error": {"code": 1}}', "."),
        (b"<p>m</p>", ": <p>m</p>."),
        (b"\xff", ": \ufffd."),
        (b"", "."),
        (b"[1]", "."),
    ],
)
def test_the_upstreams_own_words_are_found_in_the_shapes_they_come_in(body: bytes, words: str) -> None:
    assert from_status(500, {}, body, "c").message == f"candidate 'c' answered HTTP 500{words}"


def test_a_long_message_is_cut() -> None:
    assert len(message_of("x" * 10_000)) < 600


def test_a_key_that_the_upstream_repeats_is_redacted_in_message_and_body() -> None:
    raw = b'{"error": {"message": "bad key sk-secret-1"}, "key": "sk-secret-1"}'
    error = from_status(401, {}, raw, "c", ("sk-secret-1",))
    assert "sk-secret" not in f"{error} {error!r} {error.body}"
    assert "[redacted]" in error.message
    assert "api_key" in error.remedy


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        ({"error": {"message": "m", "code": 429}}, RateLimitError, 429),
        ({"error": {"message": "m", "code": "rate_limit_exceeded"}}, RateLimitError, 429),
        ({"error": {"message": "m", "type": "overloaded_error"}}, RateLimitError, 529),
        ({"error": {"message": "m", "code": "502"}}, UpstreamStatusError, 502),
        ({"error": {"message": "m", "code": "context_length_exceeded"}}, UpstreamStatusError, None),
        ({"error": "m"}, UpstreamStatusError, None),
        ({"message": "m"}, UpstreamStatusError, None),
    ],
)
def test_an_error_object_under_status_200_is_an_error_all_the_same(
    content: dict[str, object], kind: type, status: int | None
) -> None:
    error = from_error_object(content, "c", ())
    assert type(error) is kind
    assert (error.status, error.body) == (status, content)
    assert error.message.endswith(": m.")
