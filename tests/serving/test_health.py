"""Circuit breakers: who fails is left alone, tried again, and never sinks a request by it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from herdwise.backends.base import Health
from herdwise.core.errors import (
    BackendError,
    RateLimitError,
    TimeoutError_,
    UnreachableError,
    UpstreamStatusError,
)
from herdwise.serving.health import Breakers, BreakerSettings

BROKEN = UpstreamStatusError("broken", status=500)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(["a", "b"], BreakerSettings(failures=3, open_s=10, max_open_s=60), clock)


def fail(breakers: Breakers, name: str, error: BackendError = BROKEN, times: int = 1) -> None:
    for _ in range(times):
        breakers.begin(name)
        breakers.note(name, error)


def healthy(breakers: Breakers) -> list[bool] | None:
    mask = breakers.healthy()
    return None if mask is None else mask.tolist()


def test_three_failures_in_a_row_open_it(breakers: Breakers) -> None:
    fail(breakers, "a", times=2)
    assert healthy(breakers) is None
    fail(breakers, "a")
    assert healthy(breakers) == [False, True]
    assert (breakers.state("a"), breakers.state("b")) == ("open", "closed")


def test_an_answer_in_between_starts_the_count_anew(breakers: Breakers) -> None:
    fail(breakers, "a", times=2)
    breakers.note("a", None)
    fail(breakers, "a", times=2)
    assert healthy(breakers) is None


def test_one_trial_at_a_time_after_the_wait_and_its_answer_closes_it(
    breakers: Breakers, clock: Clock
) -> None:
    fail(breakers, "a", times=3)
    clock.now += 12.1
    assert breakers.state("a") == "half_open"
    assert healthy(breakers) is None
    breakers.begin("a")
    assert healthy(breakers) == [False, True]
    breakers.note("a", None)
    assert (healthy(breakers), breakers.state("a")) == (None, "closed")


def test_a_failed_trial_doubles_the_wait(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, "a", times=3)
    clock.now += 12.1
    fail(breakers, "a")
    clock.now += 12.1
    assert breakers.state("a") == "open"
    clock.now += 12.1
    assert breakers.state("a") == "half_open"


def test_failures_while_open_do_not_prolong_it(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, "a", times=8)
    clock.now += 12.1
    assert breakers.state("a") == "half_open"


def test_a_rate_limit_counts_at_once_for_as_long_as_it_says_within_bounds(
    breakers: Breakers, clock: Clock
) -> None:
    fail(breakers, "a", RateLimitError("slow down", status=429, retry_after_s=7))
    fail(breakers, "b", RateLimitError("slow down", status=429, retry_after_s=1e6))
    assert healthy(breakers) == [False, False]
    clock.now += 7.1
    assert healthy(breakers) == [True, False]
    clock.now += 60
    assert healthy(breakers) is None


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_not_the_candidates_fault(breakers: Breakers, status: int) -> None:
    fail(breakers, "a", UpstreamStatusError("no", status=status), times=9)
    assert healthy(breakers) is None


@pytest.mark.parametrize("error", [TimeoutError_("late"), UpstreamStatusError("no", status=401), BROKEN])
def test_timeouts_wrong_keys_and_server_errors_count(breakers: Breakers, error: BackendError) -> None:
    fail(breakers, "a", error, times=3)
    assert healthy(breakers) == [False, True]


def test_a_probe_opens_and_reopens(breakers: Breakers) -> None:
    breakers.found("a", Health(False, "gone"))
    assert (breakers.unreachable, healthy(breakers)) == ({"a"}, [False, True])
    breakers.found("a", Health(True))
    assert (breakers.unreachable, healthy(breakers)) == (set(), None)
    assert breakers.state("a") == "half_open"  # the next ask decides


def test_a_probe_does_not_shorten_a_rate_limit(breakers: Breakers) -> None:
    fail(breakers, "a", RateLimitError("slow down", status=429, retry_after_s=30))
    breakers.found("a", Health(True))
    assert healthy(breakers) == [False, True]


def test_unreachable_candidates_are_told_apart(breakers: Breakers) -> None:
    fail(breakers, "a", UnreachableError("refused"))
    fail(breakers, "b")
    assert breakers.unreachable == {"a"}
    breakers.note("a", None)
    assert breakers.unreachable == set()


async def test_who_keeps_failing_is_asked_last(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=2, open_s=60, probe_s=0))
    e.upstreams["large"].behave("server_error")
    attempts = [(await e.chat()).headers["x-herdwise-attempts"] for _ in range(4)]
    assert attempts == ["2", "2", "1", "1"]
    assert len(e.upstreams["large"].requests) == 2
    assert (await e.send("GET", "/readyz")).json["left_alone"] == ["large"]


async def test_where_everybody_is_left_alone_they_are_asked_all_the_same(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=1, open_s=60, probe_s=0))
    for upstream in e.upstreams.values():
        upstream.behave("server_error")
    assert (await e.chat()).status >= 500
    for upstream in e.upstreams.values():
        upstream.behave("ok")
    reply = await e.chat()
    assert (reply.status, reply.headers["x-herdwise-candidate"]) == (200, "large")


async def test_a_candidate_that_a_request_names_is_asked_even_so(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=1, open_s=60, probe_s=0))
    e.upstreams["large"].behave(["server_error", "ok"])
    await e.chat()
    assert (await e.chat(model="large")).json["model"] == "large"
    assert (await e.chat()).json["model"] == "large"  # and its answer closed the breaker


async def test_who_comes_back_is_found_by_a_probe(endpoint: Any) -> None:
    e = await endpoint(breaker=BreakerSettings(failures=1, open_s=60, probe_s=0.05))
    e.upstreams["large"].behave("reset_before_headers", everywhere=True)
    async with asyncio.timeout(60):
        while (await e.send("GET", "/readyz")).json["unreachable"] != ["large"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await e.chat()).json["model"] == "small"
    e.upstreams["large"].behave("ok", everywhere=True)
    async with asyncio.timeout(60):
        while (await e.chat()).json["model"] != "large":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
