"""Ask one candidate again and again, kindly: backoff with jitter, Retry-After, and giving up on the dead."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from herdwise.backends.base import Backend
from herdwise.core.completion import Completion
from herdwise.core.errors import BackendError, ConnectError, OverloadedError, RateLimitError, TimeoutError_

#: Statuses that pass by themselves.
_PASSING = frozenset({408, 425, 500, 502, 503, 504, 529})
#: Statuses that say something of the candidate, not of this one request.
_DEAD = frozenset({401, 402, 403, 404, 405, 410, 501})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a candidate is waited for.

    Args:
        attempts: asks of one pair, at most.
        first_wait_s: upper bound of the first wait; it doubles with each attempt. The wait itself is
            drawn evenly from [0, bound] ("full jitter": Brooker, Exponential Backoff And Jitter, 2015).
        longest_wait_s: upper bound of any such wait.
        longest_retry_after_s: an upstream that wants a longer rest is not asked for this pair any more.
        give_up_after: so many pairs in a row lost to the candidate itself (unreachable, key refused,
            no such model, overloaded, timing out), and it is not asked any more.
    """

    attempts: int = 5
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 120.0
    give_up_after: int = 5


class Asker:
    """Asks one candidate; its workers share one rest when the upstream asks for it."""

    def __init__(self, backend: Backend, patience: Patience) -> None:
        self._backend, self._patience = backend, patience
        self._rest_until_s = 0.0
        self._lost_in_a_row = 0
        #: Why it is not asked any more; None while it is.
        self.gave_up: str | None = None

    async def ask(self, body: Mapping[str, Any]) -> Completion:
        """One answer, after as many attempts as patience allows.

        Raises:
            BackendError: the last attempt's.
        """
        attempt = 0
        while True:
            await self._rest()
            try:
                completion = await self._backend.complete(body)
            except BackendError as error:
                attempt += 1
                wait_s = self._wait_s(error, attempt)
                if wait_s is None:
                    self._count(error)
                    raise
                await asyncio.sleep(wait_s)
            else:
                self._lost_in_a_row = 0
                return completion

    async def _rest(self) -> None:
        left_s = self._rest_until_s - time.monotonic()
        if left_s > 0:
            # A little apart, so that the workers do not come back as one.
            await asyncio.sleep(left_s + random.uniform(0, 0.1 * left_s))
            await self._rest()

    def _wait_s(self, error: BackendError, attempt: int) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        passing = error.retryable or isinstance(error, OverloadedError) or error.status in _PASSING
        # A timeout may have been paid for, and would most likely run out again.
        if not passing or isinstance(error, TimeoutError_) or attempt >= self._patience.attempts:
            return None
        if self.gave_up is not None:
            return None
        bound_s = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2 ** (attempt - 1))
        if error.retry_after_s is not None:
            if error.retry_after_s > self._patience.longest_retry_after_s:
                return None
            self._rest_until_s = max(self._rest_until_s, time.monotonic() + error.retry_after_s)
            return 0.0
        # A limit without a stated rest mostly counts by the minute: doubling from a second is too quick.
        return random.uniform(
            0, self._patience.longest_wait_s if isinstance(error, RateLimitError) else bound_s
        )

    def _count(self, error: BackendError) -> None:
        of_the_candidate = (
            isinstance(error, ConnectError | RateLimitError | OverloadedError | TimeoutError_)
            or error.status in _DEAD
            or error.status in _PASSING
        )
        if not of_the_candidate:
            return
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= self._patience.give_up_after and self.gave_up is None:
            self.gave_up = f"{self._lost_in_a_row} asks in a row failed; the last: {error.message}"
