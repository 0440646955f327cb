"""Asking the same candidate again: when that is worth it, and how long to wait first.

A policy never sees it: to it, an ask that is asked again is still under way (docs/decisions/0024-retries.md).
"""

from __future__ import annotations

import random
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


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """Whether, when and how soon a candidate that failed is asked again in the same request.

    Args:
        retries: how often each candidate; 0 = never.
        before_fallback: what is tried again at its own candidate before another one is asked: "broken" =
            a connection that broke (most often one kept too long, which tells nothing of the candidate);
            "always" = whatever may pass, but for timeouts; "never" = nothing. What may pass is tried again in
            any case when nobody else is left.
        base_s: the first wait, doubled with every retry; a random half of it is left out.
        max_wait_s: the longest wait. Who asks by Retry-After for a longer one is not asked again.
    """

    retries: int = 1
    before_fallback: Before = "broken"
    base_s: float = 0.25
    max_wait_s: float = 10.0


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
    ended_at = now if ask.started_at is None else ask.started_at + (ask.latency_s or 0.0)
    due_at = max(now, ended_at + wait_s + (error.retry_after_s or 0.0))
    return None if course.deadline_at is not None and due_at >= course.deadline_at else due_at


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
