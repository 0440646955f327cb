"""How many asks one candidate gets at the same time, and how many may wait for it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from herdwise.core.errors import ConfigError, OverloadedError


class ConcurrencyLimit:
    """At most ``max_concurrency`` holders at a time, at most ``max_queue`` waiting, first come first served.

    Used as ``async with limit:``; one object per candidate.

    Args:
        candidate: whom errors name.
        max_concurrency: holders at a time; None = no limit.
        max_queue: how many may wait; None = no limit, 0 = nobody waits.

    Raises:
        ConfigError: when a number is out of range.
    """

    def __init__(
        self, candidate: str, *, max_concurrency: int | None = None, max_queue: int | None = None
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ConfigError(f"candidate {candidate!r}: max_concurrency must be at least 1.")
        if max_queue is not None and max_queue < 0:
            raise ConfigError(f"candidate {candidate!r}: max_queue must not be negative.")
        self._candidate, self._max_queue = candidate, max_queue
        self._slots = None if max_concurrency is None else asyncio.Semaphore(max_concurrency)
        self._held = 0
        self._waiting = 0

    @property
    def held(self) -> int:
        """Holders now."""
        return self._held

    @property
    def waiting(self) -> int:
        """Waiting now."""
        return self._waiting

    async def __aenter__(self) -> None:
        """Wait for a slot.

        Raises:
            OverloadedError: when ``max_queue`` others wait already.
        """
        if self._slots is not None:
            if self._slots.locked() and self._max_queue is not None and self._waiting >= self._max_queue:
                raise OverloadedError(
                    f"candidate {self._candidate!r} is busy: {self._held} asks run, {self._waiting} wait.",
                    candidate=self._candidate,
                    remedy="Try again later, or raise its max_concurrency or max_queue.",
                )
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
        self._held += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held -= 1
        if self._slots is not None:
            self._slots.release()
