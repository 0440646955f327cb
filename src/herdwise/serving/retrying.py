"""Asking the same candidate again: when that is worth it, and how long to wait first.

A policy never sees it: to it, an ask that is asked again is still under way (docs/decisions/0024-retries.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from herdwise.core.errors import (
    BackendError,
    BadResponseError,
    ConnectError,
    RateLimitError,
    TimeoutError_,
    UnreachableError,
    UpstreamStatusError,
)
from herdwise.serving.course import Course, LiveAsk

Before = Literal["never", "broken", "always"]

#: Statuses of an upstream that may be another one in a moment; 429 and 529 are RateLimitErrors.
_PASSING_STATUSES = frozenset({408, 425, 500, 502, 503, 504})
#: A client whose request has failed in spite of all is told to wait for so long at least.
_LEAST_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Whether, when and how soon a candidate that failed is asked again in the same request.

    Args:
        retries: how often each candidate; 0 = never.
        before_fallback: what is tried again at its own candidate before another one is asked: "broken" =
            a connection that broke (most often one kept too long, which tells nothing of the candidate);
            "always" = whatever may pass, but for timeouts; "never" = nothing. What may pass is tried again in
            any case when nobody else is left.
        rounds: how often, when all of that was in vain, whoever may be asked at all is asked once more, by
            the policy's ranking.
        base_s: the first wait, doubled with every retry and every round; a random half of it is left out.
        max_wait_s: the longest wait. Who asks by Retry-After for a longer one is not asked again.
    """

    retries: int = 1
    before_fallback: Before = "broken"
    rounds: int = 2
    base_s: float = 0.25
    max_wait_s: float = 10.0

    @property
    def most_tries(self) -> int:
        """How often one request asks a candidate that goes on failing."""
        return 1 + self.retries + self.rounds if self.retries else 1


def before_fallback(course: Course, ask: LiveAsk, settings: RetrySettings, now: float) -> LiveAsk | None:
    """The ask that repeats one which has just failed before the policy hears of it; None = the policy does.

    Args:
        course: its request.
        ask: which.
        settings: see there.
        now: ``time.perf_counter()``.
    """
    error, when = ask.error, settings.before_fallback
    if when == "never" or error is None or ask.delivered:
        return None
    if isinstance(error, TimeoutError_):
        return None  # as much patience as the config has was shown
    if course.delivered is not None and ask.continues not in {"", course.delivered_text()}:
        return None  # meanwhile a rival began to answer: it would say the same again
    if when == "broken" and (not isinstance(error, ConnectError) or isinstance(error, UnreachableError)):
        return None
    due_at = _due_at(course, ask, settings, now)
    return None if due_at is None else _again(course, ask, due_at)


def when_nobody_is_left(course: Course, settings: RetrySettings, now: float) -> tuple[LiveAsk, float] | None:
    """The failed ask whose candidate may be asked again soonest, and when; None = nobody may.

    What to ask it for is the policy's to say, as text may have been delivered by others since.
    """
    if not settings.retries or any(ask.status == "open" for ask in course.asks):
        return None
    due = [
        # Who was waited for in vain comes after those who were quick to fail.
        (isinstance(ask.error, TimeoutError_), due_at, ask.number)
        for ask in course.asks
        if ask.status == "failed"
        and not ask.taken_back
        and (due_at := _due_at(course, ask, settings, now)) is not None
    ]
    if not due:
        return None
    _, due_at, number = min(due)
    return course.asks[number], due_at


def another_round(course: Course, settings: RetrySettings, now: float) -> tuple[list[LiveAsk], float] | None:
    """The failed asks whose candidates may be asked in one more round, and when it begins; None = nobody may.

    Who failed once in a way that will not pass (a request that is refused stays refused) is left out, and so
    is who asks for a longer wait than the first of them: its turn comes once nobody else is left.
    """
    if not settings.retries or not settings.rounds or any(ask.status == "open" for ask in course.asks):
        return None
    asks_of: dict[int, list[LiveAsk]] = {}
    for ask in course.asks:
        if ask.status != "cancelled":
            asks_of.setdefault(ask.position, []).append(ask)
    jitter, due = random.uniform(0.5, 1.0), []
    for asks in asks_of.values():
        n_rounds = len({ask.round for ask in asks if ask.round is not None})
        if n_rounds >= settings.rounds:
            continue
        wait_s = min(settings.base_s * 2.0 ** (settings.retries + n_rounds), settings.max_wait_s) * jitter
        due_at = _all_pass_at(asks, settings, now, wait_s)
        if due_at is not None and (course.deadline_at is None or due_at < course.deadline_at):
            due.append((due_at, asks))
    if not due:
        return None
    begins_at = min(due_at for due_at, _ in due)
    return [ask for due_at, asks in due if due_at <= begins_at for ask in asks], begins_at


def _all_pass_at(asks: list[LiveAsk], settings: RetrySettings, now: float, wait_s: float) -> float | None:
    """When a candidate of which all asks failed may be asked anew; None = never."""
    due_at = now + wait_s
    for ask in asks:
        if ask.error is None or not may_pass(ask.error):
            return None
        after_s = ask.error.retry_after_s or 0.0
        if after_s > settings.max_wait_s:
            return None
        due_at = max(due_at, _ended_at(ask, now) + after_s)
    return due_at


def soonest_s(course: Course, due_in_s: Callable[[str], float], now: float) -> float | None:
    """For a request that failed: seconds after which somebody may answer it; None = nobody ever may.

    Args:
        course: its request.
        due_in_s: candidate's name -> seconds for which it is left alone.
        now: ``time.perf_counter()``.
    """
    waits: dict[int, float] = {}
    for ask in course.asks:
        error = ask.error
        if error is None or may_pass(error):
            stated_s = 0.0 if error is None else (error.retry_after_s or 0.0)
            waits[ask.position] = max(due_in_s(ask.candidate), _ended_at(ask, now) + stated_s - now)
        else:
            waits.pop(ask.position, None)
    return max(_LEAST_RETRY_AFTER_S, min(waits.values())) if waits else None


def may_pass(error: BackendError) -> bool:
    """Whether the same request may be answered by the same candidate in a moment.

    What our own queue refuses may not, nor what the upstream holds against the request or its key.
    """
    if isinstance(error, ConnectError | RateLimitError | BadResponseError | TimeoutError_):
        return True
    if isinstance(error, UpstreamStatusError) and error.status is None:
        return True  # an error in the midst of an answer
    return error.status in _PASSING_STATUSES


def _due_at(course: Course, ask: LiveAsk, settings: RetrySettings, now: float) -> float | None:
    """When an ask that failed may be repeated; None = never."""
    error = ask.error
    if error is None or ask.tries > settings.retries or not may_pass(error):
        return None
    wait_s = settings.base_s * 2.0 ** (ask.tries - 1)
    if error.retry_after_s is not None and error.retry_after_s > settings.max_wait_s:
        return None
    wait_s = min(wait_s, settings.max_wait_s) * random.uniform(0.5, 1.0)
    due_at = max(now, _ended_at(ask, now) + wait_s + (error.retry_after_s or 0.0))
    return None if course.deadline_at is not None and due_at >= course.deadline_at else due_at


def _ended_at(ask: LiveAsk, now: float) -> float:
    return now if ask.started_at is None else ask.started_at + (ask.latency_s or 0.0)


def _again(course: Course, ask: LiveAsk, due_at: float) -> LiveAsk:
    ask.taken_back = True
    again = LiveAsk(
        number=len(course.asks),
        position=ask.position,
        candidate=ask.candidate,
        body=ask.body,
        deliver=ask.deliver,
        continues=ask.continues,
        propensity=ask.propensity,
        tries=ask.tries + 1,
        due_at=due_at,
    )
    course.asks.append(again)
    return again
