"""Who is healthy: a circuit breaker per candidate, fed by asks and by probes."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from herdwise.backends.base import Backend, Health
from herdwise.core.errors import BackendError, HerdwiseError, RateLimitError, UnreachableError

logger = logging.getLogger(__name__)

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """What one gateway tells others of a candidate's breaker.

    Args:
        candidate: its name.
        open_s: for how long it is left alone from now on; None = it answers again.
        rate_limited: whether the upstream itself said for how long.
    """

    candidate: str
    open_s: float | None
    rate_limited: bool = False


#: How long a backend may take to prove that it is alive.
PROBE_S = 3.0
#: Kinds of failure that say nothing of the candidate's health: ours, or the question's.
_INNOCENT_KINDS = frozenset({"overloaded", "empty", "no_record", "unsupported"})
#: Statuses by which an upstream refuses this request, not requests.
_INNOCENT_STATUSES = frozenset({400, 405, 406, 409, 411, 413, 414, 415, 422, 431, 451})


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a candidate is left alone, and for how long.

    Args:
        failures: failures in a row that open the breaker.
        open_s: how long it stays open the first time; doubled with every trial that fails.
        max_open_s: the longest it stays open, also when the upstream's Retry-After says more.
        probe_s: how often candidates that have not answered since the last round are probed; 0 = never.
        all_open: whom a request asks first that finds all of them left alone: "ranked" = the policy's choice,
            "soonest" = the one that would be tried again soonest.
    """

    failures: int = 3
    open_s: float = 5.0
    max_open_s: float = 120.0
    probe_s: float = 30.0
    all_open: Literal["ranked", "soonest"] = "ranked"


@dataclass(slots=True, eq=False)
class _Breaker:
    failures: int = 0
    openings: int = 0
    open_until: float | None = None
    trial_until: float | None = None
    unreachable: bool = False
    hearsay: bool = False
    answered_at: float = 0.0


class Breakers:
    """Circuit breakers of one herd. Belongs to one event loop.

    closed -> open after some failures in a row, or at once for as long as a rate limit's Retry-After says
    -> half open: one ask is let through as a trial; closed again if it is answered. While a breaker is
    open its candidate is asked only when nobody healthy is left: policies put the unhealthy last, so that
    no request fails because of a breaker.

    Args:
        names: the herd's candidates, in order.
        settings: see BreakerSettings.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: BreakerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or BreakerSettings()
        self._names, self._clock = tuple(names), clock
        self._of = {name: _Breaker() for name in names}
        self._tripped: set[_Breaker] = set()
        #: Told of every opening and closing that came of own asks and probes.
        self.on_change: Callable[[BreakerChange], None] | None = None

    def succeed(self, before: Breakers, kept: Iterable[str]) -> None:
        """Go on with another herd's breakers of some candidates; from then on both know the same of them."""
        self._tripped = before._tripped
        self._of |= {name: before._of[name] for name in kept if name in self._of}

    def outlive(self, before: Breakers) -> None:
        """Forget a herd that is no longer asked, but for the breakers that this one shares with it."""
        own = set(self._of.values())
        self._tripped.difference_update(other for other in before._of.values() if other not in own)

    @property
    def unreachable(self) -> set[str]:
        """Candidates that neither the last ask nor a probe since then could reach."""
        return {name for name, breaker in self._of.items() if breaker.unreachable}

    def state(self, name: str) -> State:
        """Of one candidate's breaker."""
        breaker = self._of[name]
        if breaker.open_until is None:
            return "closed"
        return "open" if self._clock() < breaker.open_until else "half_open"

    def states(self) -> list[tuple[str, State]]:
        """Of all breakers, in the herd's order."""
        return [(name, self.state(name)) for name in self._names]

    def healthy(self, admitted: np.ndarray | None = None) -> np.ndarray | None:
        """``(m,)`` bool, or None when nothing is known against anyone.

        A half-open candidate counts as healthy until somebody is trying it. Where nobody is, the one that is
        due soonest counts as healthy too, if the settings say so.

        Args:
            admitted: ``(m,)`` bool, who may be asked; None = all.
        """
        if not self._tripped:
            return None
        mask = np.ones(len(self._names), dtype=bool)
        now = self._clock()
        due_at = np.zeros(len(self._names))
        for place, name in enumerate(self._names):
            breaker = self._of[name]
            if breaker.open_until is not None:
                trying = breaker.trial_until is not None and now < breaker.trial_until
                mask[place] = now >= breaker.open_until and not trying
                due_at[place] = breaker.open_until
        if mask.all():
            return None
        asked = np.ones_like(mask) if admitted is None else admitted
        if self.settings.all_open == "soonest" and asked.any() and not (mask & asked).any():
            mask[int(np.where(asked, due_at, np.inf).argmin())] = True
        return mask

    def due_in(self, name: str) -> float:
        """Seconds until a candidate that is left alone is tried again; 0 = it is not left alone."""
        open_until = self._of[name].open_until
        return 0.0 if open_until is None else max(0.0, open_until - self._clock())

    def begin(self, name: str) -> bool:
        """An ask begins. Whether it is the trial of a half-open breaker, which ends by note or abandon."""
        breaker = self._of[name]
        if breaker.open_until is None or self._clock() < breaker.open_until:
            return False
        # Should the trial never end, another one is due after a while.
        breaker.trial_until = self._clock() + self.settings.max_open_s
        return True

    def abandon(self, name: str) -> None:
        """A trial was cancelled, which tells nothing: the next ask may be one."""
        self._of[name].trial_until = None

    def note(self, name: str, error: BackendError | None) -> None:
        """An ask ended, with an answer (None) or a failure; cancelled ones tell nothing."""
        breaker = self._of[name]
        if error is None or not _guilty(error):
            if error is None:
                self._close(name, breaker)
            breaker.trial_until = None
            return
        breaker.unreachable = isinstance(error, UnreachableError)
        breaker.failures += 1
        trial = breaker.open_until is not None
        after_s = error.retry_after_s if isinstance(error, RateLimitError) else None
        if not trial and after_s is None and breaker.failures < self.settings.failures:
            return
        if (
            trial
            and after_s is None
            and breaker.open_until is not None
            and self._clock() < breaker.open_until
        ):
            return  # asked for want of anybody better; it is open already
        self._open(name, breaker, after_s)

    def found(self, name: str, health: Health) -> None:
        """A probe ended. Who can be reached again may be tried at once, if no Retry-After forbids it."""
        breaker = self._of[name]
        if not health.reachable:
            if breaker.open_until is None:
                breaker.failures = max(breaker.failures, self.settings.failures)
                self._open(name, breaker, None)
            breaker.unreachable = True
            return
        breaker.answered_at = self._clock()
        if breaker.unreachable:
            breaker.unreachable = False
            if breaker.open_until is not None:
                breaker.open_until, breaker.trial_until = self._clock(), None

    def hear(self, change: BreakerChange) -> None:
        """Another gateway found something out, of a candidate that both reach at the same place.

        What it says holds for ``open_s`` seconds at most, unless the upstream itself said more: after that
        an ask of our own tells. What we found out ourselves is not undone, but tried at once.
        """
        breaker = self._of.get(change.candidate)
        if breaker is None:
            return
        now = self._clock()
        if change.open_s is None:
            if breaker.hearsay:
                self._close(change.candidate, breaker, tell=False)
            elif breaker.open_until is not None:
                breaker.open_until, breaker.trial_until = min(now, breaker.open_until), None
            return
        limits = self.settings
        for_s = min(change.open_s, limits.max_open_s if change.rate_limited else limits.open_s)
        if not change.rate_limited:
            for_s *= random.uniform(1.0, 1.2)  # who found it out tries first
        if for_s <= 0 or (breaker.open_until is not None and breaker.open_until >= now + for_s):
            return
        if breaker.open_until is None:
            breaker.hearsay = True
            logger.warning("candidate %r is left alone for %.1f s, as another found", change.candidate, for_s)
        breaker.open_until, breaker.trial_until = now + for_s, None
        self._tripped.add(breaker)

    async def watch(self, backends: Mapping[str, Backend]) -> None:
        """Probe without end whoever has not answered for ``probe_s``; cancel to stop."""
        every_s = self.settings.probe_s
        if every_s <= 0:
            return
        while True:
            await asyncio.sleep(every_s * random.uniform(0.9, 1.1))
            since = self._clock() - every_s
            due = [name for name in self._names if self._of[name].answered_at < since]
            await self.probe(due, backends)

    async def probe(self, names: Sequence[str], backends: Mapping[str, Backend]) -> None:
        """Probe some candidates at once and note what is found."""
        found = await asyncio.gather(*(_probe(backends[name]) for name in names))
        for name, health in zip(names, found, strict=True):
            self.found(name, health)

    def _close(self, name: str, breaker: _Breaker, *, tell: bool = True) -> None:
        if breaker.open_until is not None:
            logger.info("candidate %r answers again", name)
            self._tripped.discard(breaker)
            if tell and self.on_change is not None:
                self.on_change(BreakerChange(name, None))
        breaker.failures, breaker.openings, breaker.unreachable, breaker.hearsay = 0, 0, False, False
        breaker.open_until, breaker.answered_at = None, self._clock()

    def _open(self, name: str, breaker: _Breaker, after_s: float | None) -> None:
        limits = self.settings
        for_s = min(limits.open_s * 2.0**breaker.openings, limits.max_open_s)
        # Several gateways must not all try at the same moment.
        for_s *= random.uniform(0.8, 1.2)
        if after_s is not None:
            for_s = min(after_s, limits.max_open_s)
        breaker.openings = min(breaker.openings + 1, 30)
        breaker.open_until, breaker.trial_until, breaker.hearsay = self._clock() + for_s, None, False
        self._tripped.add(breaker)
        logger.warning("candidate %r is left alone for %.1f s", name, for_s)
        if self.on_change is not None:
            self.on_change(BreakerChange(name, for_s, after_s is not None))


async def _probe(backend: Backend) -> Health:
    try:
        async with asyncio.timeout(PROBE_S):
            return await backend.probe()
    except (TimeoutError, HerdwiseError) as error:
        return Health(False, str(error))
    except Exception as error:  # of a plugin's: the probes of the others go on
        logger.exception("a probe failed unexpectedly")
        return Health(False, type(error).__name__)


def _guilty(error: BackendError) -> bool:
    if error.kind in _INNOCENT_KINDS:
        return False
    return error.status not in _INNOCENT_STATUSES
