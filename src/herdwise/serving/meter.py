"""Budgets and rate limits of virtual keys: reserved before a request is carried out, settled after it.

Money is counted in billionths of a USD, as whole numbers: what the ledger sums up is what was spent here.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.core.money import to_nanos
from herdwise.serving.keyring import PERIODS, Budget, Period, VirtualKey

MINUTE_S = 60
#: How long a reservation holds that nobody settles: longer than any request may take.
HOLD_S = 3600
#: No request takes longer: after this a period that has ended gets no more charges.
_LATEST_S = 2 * 3600
#: How long a request of a key without budgets waits for the ledger, where counters are to be filled; and how
#: long none does after one that waited in vain.
PATIENCE_S, AGAIN_S = 2.0, 30.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a key may still spend.

    Args:
        nanos: billionths of a USD left of the tightest of its budgets.
        budget: which that is.
    """

    nanos: int
    budget: Budget


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one request holds until it is settled.

    Args:
        id: its own.
        key_id: whose.
        at: Unix time of the request: it is charged to the periods and the minute of this time.
        nanos: USD held, in billionths.
        tokens: counted against the minute.
    """

    id: str
    key_id: str
    at: float
    nanos: int
    tokens: int


#: (key id, since when as Unix time) -> billionths of a USD that the ledger holds as charged to it.
Spent = Callable[[str, float], Awaitable[int]]


class Meter(Protocol):
    """Counts for virtual keys. All methods are atomic over all gateways that share the same state."""

    async def begin(self, key: VirtualKey, at: float) -> Left | None:
        """Count one request; returns what is left of its budgets, None = it has none.

        Raises:
            RequestError: 429, with ``retry_after_s``, when the minute's requests are used up or nothing is
                left of a budget.
        """

    async def reserve(
        self, key: VirtualKey, at: float, nanos: int, tokens: int, most_nanos: int = 0
    ) -> Reservation:
        """Hold what a request is expected to take.

        Args:
            key: whose.
            at: Unix time of the request.
            nanos: USD that it needs at least.
            tokens: counted against the minute.
            most_nanos: USD that it may need; so much is held as long as as much again is left for others,
                else half of what is left.

        Raises:
            RequestError: 429, when the least no longer fits a budget, or the tokens the minute.
        """

    async def settle(
        self, key: VirtualKey, held: Reservation, nanos: int, tokens: int, *, again: bool = False
    ) -> None:
        """Charge what it took instead of what was held.

        Args:
            key, held: of the request.
            nanos, tokens: what it took.
            again: whether it was tried before, and may have been done: it is done once.
        """

    async def spent(self, key: VirtualKey, budget: Budget, at: float) -> int:
        """Billionths of a USD spent in the budget's present period, reservations left out."""

    async def close(self) -> None:
        """Give back connections."""


class LocalMeter:
    """The meter of one gateway alone, in its memory; what was spent before it started is in the ledger.

    A key's counters are there from its first request on, one for each kind of period, whatever its budgets
    are: one that it is given later finds what was spent, also what the ledger does not hold yet.

    Args:
        spent: reads the ledger.
    """

    def __init__(self, spent: Spent) -> None:
        self._ledger = spent
        self._spent: dict[tuple[str, float], int] = {}
        self._known_hour: dict[str, int] = {}
        self._met: dict[str, float] = {}
        self._held: dict[str, dict[str, Reservation]] = {}
        self._minutes: dict[str, tuple[int, int, int]] = {}
        self._reading = asyncio.Lock()
        self._again_at = 0.0

    async def begin(self, key: VirtualKey, at: float) -> Left | None:
        """See ``Meter.begin``."""
        minute, requests, tokens = self._minute(key, at)
        if key.terms.requests_per_minute is not None and requests >= key.terms.requests_per_minute:
            raise too_many(key, at, "requests", key.terms.requests_per_minute)
        if key.terms.tokens_per_minute is not None and tokens >= key.terms.tokens_per_minute:
            raise too_many(key, at, "tokens", key.terms.tokens_per_minute)
        self._minutes[key.key_id] = (minute, requests + 1, tokens)
        await self._know(key, at)
        left: Left | None = None
        for budget in key.terms.budgets:
            rest = self._left_now(key, budget, at)
            if rest <= 0:
                raise out_of_budget(key, budget, at)
            if left is None or rest < left.nanos:
                left = Left(rest, budget)
        return left

    async def reserve(
        self, key: VirtualKey, at: float, nanos: int, tokens: int, most_nanos: int = 0
    ) -> Reservation:
        """See ``Meter.reserve``."""
        await self._know(key, at)
        # Nothing is awaited from here on, so that no other request comes in between.
        minute, requests, used = self._minute(key, at)
        if key.terms.tokens_per_minute is not None and used + tokens > key.terms.tokens_per_minute:
            raise too_many(key, at, "tokens", key.terms.tokens_per_minute)
        held = max(nanos, most_nanos)
        for budget in key.terms.budgets:
            rest = self._left_now(key, budget, at)
            if rest < nanos:
                raise out_of_budget(key, budget, at)
            held = min(held, max(nanos, rest // 2))
        self._minutes[key.key_id] = (minute, requests, used + tokens)
        made = Reservation(secrets.token_hex(8), key.key_id, at, held, tokens)
        self._held.setdefault(key.key_id, {})[made.id] = made
        return made

    async def settle(
        self, key: VirtualKey, held: Reservation, nanos: int, tokens: int, *, again: bool = False
    ) -> None:
        """See ``Meter.settle``."""
        holds = self._held.get(key.key_id, {})
        if holds.pop(held.id, None) is None and again:
            return
        if not holds:
            self._held.pop(key.key_id, None)
        # Not by the key's budgets alone: one that is lifted for a while must know of it afterwards.
        for since in {period_start(period, held.at) for period in PERIODS}:
            if (key.key_id, since) in self._spent:  # else nobody has asked yet, and the ledger will tell
                self._spent[key.key_id, since] += nanos
        minute, requests, used = self._minute(key, held.at)
        if minute == int(held.at // MINUTE_S):
            self._minutes[key.key_id] = (minute, requests, used + tokens - held.tokens)

    async def spent(self, key: VirtualKey, budget: Budget, at: float) -> int:
        """See ``Meter.spent``."""
        await self._know(key, at)
        return self._spent[key.key_id, period_start(budget.period, at)]

    async def close(self) -> None:
        """Nothing to give back."""

    def _minute(self, key: VirtualKey, at: float) -> tuple[int, int, int]:
        """The key's minute, and its requests and tokens so far."""
        minute = int(at // MINUTE_S)
        known = self._minutes.get(key.key_id)
        # One that began in an earlier minute than the last counts with the last.
        return (minute, 0, 0) if known is None or known[0] < minute else known

    def _left_now(self, key: VirtualKey, budget: Budget, at: float) -> int:
        spent = self._spent[key.key_id, period_start(budget.period, at)]
        return to_nanos(budget.usd) - spent - self._held_now(key.key_id, at)

    def _held_now(self, key_id: str, at: float) -> int:
        """Billionths of a USD that requests hold; what nobody has settled for too long is let go."""
        holds = self._held.get(key_id)
        if not holds:
            return 0
        for name in [name for name, one in holds.items() if one.at + HOLD_S <= at]:
            del holds[name]
        return sum(one.nanos for one in holds.values())

    async def _know(self, key: VirtualKey, at: float) -> None:
        """Have a counter for every period of a moment. All of them begin with an hour."""
        if self._known_hour.get(key.key_id) == int(at // 3600):
            return
        if key.terms.budgets:
            await self._read(key, at)
        # Others have nothing to keep within: they need not wait for the ledger.
        elif time.monotonic() >= self._again_at:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._read(key, at)
            except (SQLAlchemyError, HerdwiseError, TimeoutError):
                self._again_at = time.monotonic() + AGAIN_S

    async def _read(self, key: VirtualKey, at: float) -> None:
        hour = int(at // 3600)
        async with self._reading:
            for period in PERIODS:
                since = period_start(period, at)
                if (key.key_id, since) not in self._spent:
                    self._spent[key.key_id, since] = await self._spent_before(key.key_id, since)
            self._met.setdefault(key.key_id, at)
            if hour > self._known_hour.get(key.key_id, -1):  # else it began before others that came first
                self._known_hour[key.key_id] = hour
                self._forget(key, at)

    async def _spent_before(self, key_id: str, since: float) -> int:
        """What a period's counter begins with: nothing, where all of it comes by this meter."""
        met = self._met.get(key_id)
        return 0 if met is not None and met < since else await self._ledger(key_id, since)

    def _forget(self, key: VirtualKey, at: float) -> None:
        """Drop the key's periods that no request under way can belong to any more."""
        kept = {period_start(period, moment) for period in PERIODS for moment in (at, at - _LATEST_S)}
        for known in [place for place in self._spent if place[0] == key.key_id and place[1] not in kept]:
            del self._spent[known]


def period_start(period: Period, at: float) -> float:
    """Unix time at which the period that holds ``at`` began, in UTC; 0 for "ever"."""
    if period == "ever":
        return 0.0
    if period == "hour":
        return at // 3600 * 3600
    if period == "day":
        return at // 86400 * 86400
    day = dt.datetime.fromtimestamp(at, dt.UTC)
    return dt.datetime(day.year, day.month, 1, tzinfo=dt.UTC).timestamp()


def period_end(period: Period, at: float) -> float | None:
    """Unix time at which that period ends; None = never."""
    start = period_start(period, at)
    if period == "ever":
        return None
    if period == "month":
        day = dt.datetime.fromtimestamp(start, dt.UTC)
        return dt.datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=dt.UTC).timestamp()
    return start + (3600 if period == "hour" else 86400)


def too_many(key: VirtualKey, at: float, what: str, limit: int) -> RequestError:
    """The error of a used-up minute."""
    return RequestError(
        f"key {key.name!r} is limited to {limit} {what} per minute.",
        status=429,
        code="rate_limit_exceeded",
        retry_after_s=MINUTE_S - at % MINUTE_S,
        remedy="Try again in the next minute.",
    )


def out_of_budget(key: VirtualKey, budget: Budget, at: float) -> RequestError:
    """The error of a used-up budget."""
    end = period_end(budget.period, at)
    span = "in all" if budget.period == "ever" else f"per {budget.period}"
    when = "" if end is None else f"; it is renewed in {end - at:.0f} s"
    return RequestError(
        f"the budget of key {key.name!r}, {budget.usd:g} USD {span}, is spent or would be{when}.",
        status=429,
        code="insufficient_quota",
        retry_after_s=None if end is None else end - at,
    )
