"""The meter that several gateways share: counters in Redis or Valkey, changed by scripts that run whole."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from herdwise.core.errors import ConfigError, HerdwiseError, MissingExtraError, RequestError
from herdwise.core.money import to_nanos
from herdwise.serving.keyring import PERIODS, Budget, Period, VirtualKey
from herdwise.serving.meter import (
    AGAIN_S,
    HOLD_S,
    MINUTE_S,
    PATIENCE_S,
    Left,
    Reservation,
    Spent,
    out_of_budget,
    period_end,
    period_start,
    too_many,
)
from herdwise.serving.meter_scripts import BEGIN, RAISE, RELEASE, RESERVE, SETTLE

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: A decision's charge is made soon after it is in the ledger, unless something is wrong.
_SETTLED_S = 5.0
#: Counters outlive their period by this, for late settlements.
_GRACE_S = 2 * 3600
_FOREVER_S = 400 * 86400
#: Keys that Redis looks through at once.
_SCAN_AT_ONCE = 1000


class RedisMeter:
    """See ``meter.Meter``. A request takes two round trips, and its settlement a third.

    Counters that Redis does not know (it was emptied, or a period began) are filled from the ledger,
    which all gateways must share too.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``.
        spent: reads the ledger.
        prefix: put before every key, so that several herds can share a server.
        owner: begins the names of what is held by this process, and by no other that lives.

    Raises:
        MissingExtraError: when the extra is not installed.
        ConfigError: when the URL cannot be read.
    """

    def __init__(self, url: str, spent: Spent, prefix: str = "herdwise", owner: str = "") -> None:
        self._redis = connect(url)
        self._ledger, self._prefix, self._owner = spent, prefix, owner
        self._again_at = 0.0
        self._release = self._redis.register_script(RELEASE)
        self._begin = self._redis.register_script(BEGIN)
        self._reserve = self._redis.register_script(RESERVE)
        self._settle = self._redis.register_script(SETTLE)
        self._raise = self._redis.register_script(RAISE)

    async def begin(self, key: VirtualKey, at: float) -> Left | None:
        """See ``Meter.begin``."""
        terms = key.terms
        args = [
            at,
            -1 if terms.requests_per_minute is None else terms.requests_per_minute,
            -1 if terms.tokens_per_minute is None else terms.tokens_per_minute,
            2 * MINUTE_S,
        ]
        tightest, *left = await self._run(self._begin, key, at, args)
        return None if tightest < 0 else Left(left[0], _tightest(key)[PERIODS[tightest]])

    async def reserve(
        self, key: VirtualKey, at: float, nanos: int, tokens: int, most_nanos: int = 0
    ) -> Reservation:
        """See ``Meter.reserve``."""
        name, limit = self._owner + secrets.token_hex(8), key.terms.tokens_per_minute
        args = [
            at,
            -1 if limit is None else limit,
            2 * MINUTE_S,
            name,
            nanos,
            most_nanos,
            tokens,
            at + HOLD_S,
        ]
        (held,) = await self._run(self._reserve, key, at, args)
        return Reservation(name, key.key_id, at, held, tokens)

    async def settle(
        self, key: VirtualKey, held: Reservation, nanos: int, tokens: int, *, again: bool = False
    ) -> None:
        """See ``Meter.settle``."""
        places = self._places(key, held.at)
        args: list[str | int] = [held.id, nanos, tokens - held.tokens, int(again)]
        await self._called(self._settle(keys=places, args=args))

    async def spent(self, key: VirtualKey, budget: Budget, at: float) -> int:
        """See ``Meter.spent``."""
        place = self._place(key, budget.period, at)
        found = await self._called(self._redis.get(place))
        if found is None:
            await self._fill(key, budget.period, at)
            found = await self._called(self._redis.get(place))
        return int(found)

    async def inherit(self) -> int:
        """Let go of what a process held that has died and in whose place, and name, this one is.

        Returns:
            How many requests held it.

        Raises:
            RequestError: 503, when Redis cannot be reached.
        """
        if not self._owner:
            raise ValueError("without an owner's name nobody's place is taken")
        found, cursor = 0, 0
        while True:
            cursor, places = await self._called(
                self._redis.scan(cursor, match=f"{self._prefix}:{{*}}:ends", count=_SCAN_AT_ONCE)
            )
            for place in places:
                held = place.removesuffix(b":ends") + b":held"
                found += await self._called(self._release(keys=[held, place], args=[self._owner]))
            if not cursor:
                return found

    async def reconcile(self, keys: Sequence[VirtualKey], settled_s: float = _SETTLED_S) -> int:
        """Raise counters that are below what the ledger holds, as after a gateway that ended too soon.

        Args:
            keys: whose counters.
            settled_s: how long charges of decisions that are in the ledger may still be under way.

        Returns:
            Billionths of a USD that were missing, the most of each key's counters.

        Raises:
            RequestError: 503, when Redis cannot be reached.
        """
        at, missing = time.time(), dict[str, int]()
        known = [
            (key.key_id, place, await self._ledger(key.key_id, period_start(period, at)))
            for key in keys
            for period, place in zip(PERIODS, self._places(key, at)[3:], strict=True)
            if await self._called(self._redis.exists(place))
        ]
        await asyncio.sleep(settled_s)
        for key_id, place, spent in known:
            raised = await self._called(self._raise(keys=[place], args=[spent]))
            missing[key_id] = max(raised, missing.get(key_id, 0))
        return sum(missing.values())

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _run(self, script: Any, key: VirtualKey, at: float, args: list[Any]) -> list[int]:
        budgets, places = _tightest(key), self._places(key, at)
        limits = [to_nanos(budgets[period].usd) if period in budgets else -1 for period in PERIODS]
        for _ in range(len(PERIODS) + 1):
            what, *numbers = await self._called(script(keys=places, args=[*args, *limits]))
            if what != b"unknown":
                break
            if not await self._fill(key, PERIODS[numbers[0]], at):
                places = places[:3]
        else:
            raise HerdwiseError("Redis forgets what it is told.", remedy="Look at its maxmemory-policy.")
        if what == b"spent":
            raise out_of_budget(key, budgets[PERIODS[numbers[0]]], at)
        if what == b"requests":
            raise too_many(key, at, "requests", key.terms.requests_per_minute or 0)
        if what == b"tokens":
            raise too_many(key, at, "tokens", key.terms.tokens_per_minute or 0)
        return [int(number) for number in numbers]

    async def _fill(self, key: VirtualKey, period: Period, at: float) -> bool:
        """Set a counter from the ledger, unless another gateway has done so.

        False where the ledger cannot be read, and the key has no budget to keep within.
        """
        since = period_start(period, at)
        if key.terms.budgets:
            before = await self._ledger(key.key_id, since)
        elif time.monotonic() < self._again_at:
            return False
        else:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    before = await self._ledger(key.key_id, since)
            except (SQLAlchemyError, HerdwiseError, TimeoutError):
                self._again_at = time.monotonic() + AGAIN_S
                return False
        end = period_end(period, at)
        life_s = _FOREVER_S if end is None else int(end - at) + _GRACE_S
        await self._called(self._redis.set(self._place(key, period, at), before, nx=True, ex=life_s))
        return True

    def _places(self, key: VirtualKey, at: float) -> list[str]:
        # The key's id in braces keeps its counters on one node of a cluster.
        base = f"{self._prefix}:{{{key.key_id}}}"
        counters = [self._place(key, period, at) for period in PERIODS]
        return [f"{base}:minute:{int(at // MINUTE_S)}", f"{base}:held", f"{base}:ends", *counters]

    def _place(self, key: VirtualKey, period: Period, at: float) -> str:
        start = int(period_start(period, at))
        return f"{self._prefix}:{{{key.key_id}}}:spent:{period}:{start}"

    async def _called(self, call: Awaitable[Any]) -> Any:
        from redis.exceptions import RedisError

        try:
            return await call
        except RedisError as error:
            # Without the shared counters no limit could be kept: better no answer than an unpaid one.
            raise RequestError(
                f"the shared state cannot be reached ({type(error).__name__}).",
                status=503,
                code="state_unavailable",
                retry_after_s=1.0,
            ) from error


def _tightest(key: VirtualKey) -> dict[Period, Budget]:
    """A key's smallest budget of each kind of period that it has one for."""
    found: dict[Period, Budget] = {}
    for budget in key.terms.budgets:
        if budget.period not in found or budget.usd < found[budget.period].usd:
            found[budget.period] = budget
    return found


def connect(url: str) -> Redis:
    """A client of the server at a URL. Opens no connection.

    Raises:
        MissingExtraError: when the extra is not installed.
        ConfigError: when the URL cannot be read.
    """
    try:
        from redis.asyncio import Redis
    except ImportError as error:
        raise MissingExtraError("shared state in Redis", extra="redis") from error
    try:
        return Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=2.0)
    except ValueError as error:
        raise ConfigError(
            "state.url cannot be read.", remedy="It looks like redis://127.0.0.1:6379/0."
        ) from error
