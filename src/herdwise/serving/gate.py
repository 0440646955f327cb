"""How many requests are worked on at a time, whoever answers them. Others wait, and not too many of them."""

from __future__ import annotations

import asyncio
from collections import deque

from herdwise.core.errors import RequestError

#: What those who are refused are told to wait.
_RETRY_AFTER_S = 1.0


class Gate:
    """At most ``most_open`` inside, at most ``most_waiting`` before it, first come first served.

    Every ``enter`` that returns needs a ``leave``. Belongs to one event loop.

    Args:
        most_open: inside at a time.
        most_waiting: how many may wait.
        wait_s: how long each of them may.
    """

    def __init__(self, most_open: int, most_waiting: int, wait_s: float) -> None:
        self.change(most_open, most_waiting, wait_s)
        self.open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def change(self, most_open: int, most_waiting: int, wait_s: float) -> None:
        """Other bounds from now on; who is inside or waits already, stays."""
        self._most_open, self._most_waiting, self._wait_s = most_open, most_waiting, wait_s

    @property
    def waiting(self) -> int:
        """Requests before it."""
        return len(self._waiting)

    def enter_at_once(self) -> bool:
        """Whether there is room, and nobody came before; if so, it is taken."""
        if self.open >= self._most_open or self._waiting:
            return False
        self.open += 1
        return True

    async def enter(self) -> None:
        """Wait for room.

        Raises:
            RequestError: 503, when too many wait already, or it took too long.
        """
        if self.enter_at_once():
            return
        if len(self._waiting) >= self._most_waiting:
            raise _full(f"{self.open} requests are open and {len(self._waiting)} wait")
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._let_in()  # the bounds may have been raised
        try:
            async with asyncio.timeout(self._wait_s):
                await place
        except (TimeoutError, asyncio.CancelledError) as error:
            if place.done() and not place.cancelled():
                self.leave()  # let in at the very moment it gave up
            elif place in self._waiting:
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise _full(f"no room for {self._wait_s:g} s") from None
            raise

    def leave(self) -> None:
        """Make room for the next."""
        self.open -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.open < self._most_open:
            place = self._waiting.popleft()
            if not place.cancelled():
                self.open += 1
                place.set_result(None)


def _full(why: str) -> RequestError:
    return RequestError(
        f"the endpoint is busy: {why}.",
        status=503,
        code="overloaded",
        retry_after_s=_RETRY_AFTER_S,
        remedy="Ask again later.",
    )
