"""Deadlines of many requests by one timer.

``asyncio.timeout`` sets a timer of its own for each and takes it back, though hardly any ever rings
(docs/experiments/2026-11-21-gateway.md).
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Deadlines:
    """The deadlines of an event loop's requests, in one place. Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def within(self, seconds: float) -> Deadline:
        """As ``asyncio.timeout``, by ``with``: the body is cancelled after so many seconds.

        TimeoutError takes the place of the cancellation.
        """
        return Deadline(self, seconds)

    def add(self, one: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        """Have it called when it is due."""
        self._open.add(one)
        if self._timer is None or one.due_at < self._rings_at:
            self._set(one.due_at, loop)

    def remove(self, one: Deadline) -> None:
        """It was kept. The timer stays where it is, for the next ones: it rings in vain at most once."""
        self._open.discard(one)

    def _set(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = loop.call_at(at, self._ring, loop), at

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for one in [one for one in self._open if one.due_at <= now]:
            self._open.discard(one)
            one.miss()
        if self._open:
            self._set(min(one.due_at for one in self._open), loop)


class Deadline:
    """One deadline; entered once.

    Args:
        among: whose timer it goes by.
        seconds: from its entering on.
    """

    __slots__ = ("_among", "_cancelling", "_seconds", "_task", "due_at", "missed")

    def __init__(self, among: Deadlines, seconds: float) -> None:
        self._among, self._seconds = among, seconds
        self.missed = False

    def __enter__(self) -> Self:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel.")
        self._task, self._cancelling = task, task.cancelling()
        self.due_at = loop.time() + self._seconds
        self._among.add(self, loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._among.remove(self)
        # Whoever else cancelled the task meanwhile wants it to end, not to go on after a time-out.
        if self.missed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def miss(self) -> None:
        """The time is up."""
        self.missed = True
        self._task.cancel()
