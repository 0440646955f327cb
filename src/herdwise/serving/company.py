"""The other processes that serve the same herd: workers of one endpoint, gateways of one shared state."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from herdwise.serving.health import Breakers
from herdwise.serving.ledger import Ledger
from herdwise.serving.meter import Meter
from herdwise.serving.metrics import Metrics
from herdwise.serving.reloading import Reloading
from herdwise.serving.service import Settings
from herdwise.serving.shared import Shared
from herdwise.serving.shared_redis import RedisNews
from herdwise.serving.workers_link import Link

#: What ``course.decision_ids`` makes.
_ID = re.compile("[0-9a-f]{27}")
#: A decision that has ended is in the ledger after this, as a rule.
_WRITTEN_S = 0.5


class Company:
    """What one process asks of the others, and tells them.

    Conversations and breakers go by the shared state where there is one, else between the workers of one
    endpoint by way of the process that started them; so do the counters of virtual keys.

    Args:
        settings: of this process.
        metrics, ledger: its own.
        link: to the process that started it as one of several workers; None = nobody did.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, ledger: Ledger | None, link: Link | None
    ) -> None:
        self._state_url, self._link = settings.state_url, link
        self._metrics, self._ledger = metrics, ledger
        self._share_breakers = settings.share_breakers or link is not None
        self._shared: Shared | None = None
        self._news: RedisNews | None = None
        self._reloading: Reloading | None = None
        #: Called when somebody else had the cache emptied.
        self.on_cleared: Callable[[], None] | None = None

    @property
    def alone(self) -> bool:
        """Whether nobody else serves the same herd."""
        return self._link is None and self._state_url is None

    @property
    def first(self) -> bool:
        """Whether this process does what one of the workers does for all."""
        return self._link is None or self._link.hello.number == 0

    @property
    def owner(self) -> str:
        """Names this process among all that share the state; "" = it is not one of several workers."""
        return "" if self._link is None else f"{self._link.hello.family}-{self._link.hello.number}-"

    @property
    def heir(self) -> bool:
        """Whether another of that name was there before, and has ended."""
        return self._link is not None and self._link.hello.heir

    async def join(self, reloading: Reloading) -> Meter | None:
        """Begin to tell and to hear. Returns what counts for all workers, where the shared state does not.

        Raises:
            MissingExtraError, ConfigError: when the shared state cannot be used.
        """
        self._reloading = reloading
        if self._state_url is None and self._link is None:
            return None
        dispatcher = reloading.current.dispatcher
        self._shared = shared = Shared(
            dispatcher.threads,
            lambda: reloading.current.dispatcher.health,
            share_breakers=self._share_breakers,
        )
        shared.on_cleared = self.on_cleared
        if self._link is not None:
            await self._link.start(reloading, self._metrics, self._ledger, shared.hear)
        if self._state_url is not None:
            self._news = RedisNews(self._state_url, shared.hear)
            self._news.start()
            shared.begin(self._news)
            return None
        if self._link is None:
            return None
        shared.begin(self._link)
        return self._link.meter()

    async def leave(self) -> None:
        """Tell what waits, and nothing from now on."""
        if self._shared is not None:
            self._shared.end()
        if self._news is not None:
            await self._news.close()

    async def part(self) -> None:
        """End the line to the other workers: nothing can be asked any more."""
        if self._link is not None:
            await self._link.close()

    def watch(self, breakers: Breakers) -> None:
        """Tell what changes of the breakers of a herd that is served from now on."""
        if self._shared is not None:
            self._shared.watch(breakers)

    def tell_cleared(self) -> None:
        """The cache was emptied here."""
        if self._shared is not None:
            self._shared.tell_cleared()

    async def reload(self) -> dict[str, Any]:
        """Go by the config as it now stands, all workers or none; see ``Reloading.reload``."""
        if self._link is not None:
            return await self._link.reload()
        if self._reloading is None:
            raise RuntimeError("reload before the start")
        return await self._reloading.reload()

    async def counted(self) -> str:
        """What all workers counted, for Prometheus."""
        own = await self._metrics.text()
        return own if self._link is None else await self._link.metrics(own)

    async def find(self, name: str) -> dict[str, Any] | None:
        """A decision that another worker is carrying out, as ``Ledger.find`` tells it.

        None: nobody is. One that had just ended is in the ledger by then, also where another gateway of
        the same shared state wrote it.
        """
        found = None if self._link is None else await self._link.find(name)
        if found is None and self._state_url is not None and _ID.fullmatch(name):
            await asyncio.sleep(_WRITTEN_S)
        return found
