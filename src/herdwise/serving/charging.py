"""Charges requests of virtual keys: holds what they may take, then counts what they took."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.core.money import NANOS_PER_USD, to_nanos
from herdwise.serving.course import Course
from herdwise.serving.keyring import VirtualKey
from herdwise.serving.meter import HOLD_S, Meter, Reservation
from herdwise.serving.terms import Expected, Pass

logger = logging.getLogger(__name__)

#: Pauses between tries to count what could not be counted: the first, and the longest.
_AGAIN_S, _AGAIN_MOST_S = 0.5, 30.0


class Charging:
    """Between requests and a meter. Belongs to one event loop.

    Args:
        meter: counts.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._settling: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def reserve(self, admitted: Pass, expected: Expected) -> None:
        """Hold what a request may take; at least what its first ask will probably cost.

        Raises:
            RequestError: 429, when that no longer fits; 422, when the key has a budget and nobody knows
                what the candidate costs.
        """
        key = admitted.key
        if not key.terms.budgets:
            admitted.held = await self.meter.reserve(key, admitted.at, 0, expected.tokens)
            return
        if math.isnan(expected.least_usd):
            raise RequestError(
                f"key {key.name!r} has a budget, and nobody knows what the candidate costs.",
                status=422,
                code="unknown_cost",
                remedy="Give the candidate a price in the config.",
            )
        least = to_nanos(expected.least_usd)
        most = least if math.isnan(expected.most_usd) else max(least, to_nanos(expected.most_usd))
        admitted.held = await self.meter.reserve(key, admitted.at, least, expected.tokens, most)

    def bind(self, admitted: Pass, course: Course) -> None:
        """Let a consultation plan by what is held for it, so that several at once overdraw nothing."""
        if admitted.held is None or not admitted.key.terms.budgets:
            return
        held_usd, goals = admitted.held.nanos / NANOS_PER_USD, course.situation.goals
        total = held_usd if goals.max_total_usd is None else min(held_usd, goals.max_total_usd)
        course.situation = replace(course.situation, goals=goals.replace(max_total_usd=total))

    async def settle(self, admitted: Pass, course: Course) -> None:
        """Charge what the request took; a client that goes away meanwhile does not stop that.

        Never raises for the meter's sake: an answer that is there is given, also where nobody can count it
        yet. It is tried again then, for as long as what is held for the request stays held.
        """
        held = admitted.held
        if held is None:
            return
        usage = course.usage()
        nanos = course.charged_nanos() or 0
        known = usage.input_tokens is not None and usage.output_tokens is not None
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if known else held.tokens
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        settling = asyncio.create_task(self._charge(admitted.key, held, nanos, tokens, settled))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        await asyncio.shield(settled)

    async def close(self, within_s: float) -> None:
        """Count what is not counted yet, with one more try where there was trouble.

        Args:
            within_s: how long a meter that does not answer is waited for.
        """
        self._closing.set()
        if self._settling:
            _, left = await asyncio.wait(set(self._settling), timeout=within_s)
            for settling in left:
                settling.cancel()
            if left:
                logger.error("%d charges are not counted: they stand in the ledger alone", len(left))
        await self.meter.close()

    async def _charge(
        self, key: VirtualKey, held: Reservation, nanos: int, tokens: int, tried: asyncio.Future[None]
    ) -> None:
        """Args: as ``Meter.settle``; ``tried`` is done after the first try, whatever came of it."""
        pause_s, waited_s, last = _AGAIN_S, 0.0, False
        while True:
            try:
                await self.meter.settle(key, held, nanos, tokens, again=tried.done())
                problem = None
            except HerdwiseError as error:
                problem = error
            except Exception as error:
                logger.exception("a charge failed")
                problem = HerdwiseError(f"a charge failed: {type(error).__name__}.")
            first = not tried.done()
            if first:
                tried.set_result(None)
            if problem is None:
                return
            over = last or waited_s >= HOLD_S
            if first or over:
                what = "is not counted: it stands in the ledger alone" if over else "could not be counted yet"
                logger.error("%s USD of key %s %s: %s", nanos / NANOS_PER_USD, key.key_id, what, problem)
            if over:
                return
            last = await self._paused(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(2 * pause_s, _AGAIN_MOST_S)

    async def _paused(self, pause_s: float) -> bool:
        """Wait; whether the process is about to end, so that there is one more try and no other."""
        try:
            async with asyncio.timeout(pause_s):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True
