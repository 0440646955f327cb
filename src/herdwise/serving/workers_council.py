"""What the workers of one endpoint do together: reloads, sums, news, looking for a decision."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from herdwise.core.errors import ConfigError, HerdwiseError, InputError, RequestError
from herdwise.serving.peer import GoneError, Handler, Peer
from herdwise.serving.service import Settings
from herdwise.serving.workers_accept import Rota
from herdwise.serving.workers_meter import Till
from herdwise.serving.workers_metrics import Totals

logger = logging.getLogger(__name__)

#: How long a worker may take to read a new config, to tell its numbers, to look for a decision.
_PREPARE_S, _COUNT_S, _FIND_S = 300.0, 5.0, 3.0
#: How often workers are asked whether they live; how long one may take before it is passed over, and then
#: before it is killed.
PING_S, SLOW_S, STUCK_S = 2.0, 5.0, 30.0
#: Batches of news that are kept for workers that come later, and for how long.
_NEWS_KEPT, _NEWS_S = 20_000, 3600.0
_RELOADS = "herdwise_reloads_total"


class Worker:
    """One of them.

    Args:
        number: from 0.
        text: the config that it goes by.
        process: it.
        intake: connections are handed to it by this.

    Attributes:
        peer: the line to it.
        facts: what it told once it was ready.
        failure: why it cannot serve.
        counted: its numbers, as last told.
        leaving: whether it takes no more connections.
    """

    def __init__(
        self, number: int, text: str, process: asyncio.subprocess.Process, intake: socket.socket
    ) -> None:
        self.number, self.text, self.process, self.intake = number, text, process, intake
        self.peer: Peer
        self.began_at = time.monotonic()
        self.ready = asyncio.Event()
        self.facts: Mapping[str, Any] = {}
        self.failure: HerdwiseError | None = None
        self.counted = ""
        self.leaving = False


class Council:
    """The workers that accept connections, as the process that started them sees them.

    Args:
        text: the config file's.
        settings: what it says.
        read: reads the file anew: its text and settings; raises ConfigError where it cannot be served.
    """

    def __init__(self, text: str, settings: Settings, read: Callable[[], tuple[str, Settings]]) -> None:
        self.text, self.settings, self._read = text, settings, read
        self.rota: Rota
        self.restarts = 0
        self._ready: dict[int, Worker] = {}
        self._till = Till()
        self._departed = Totals()
        self._news: deque[tuple[float, bytes]] = deque(maxlen=_NEWS_KEPT)
        self._reloads = {"done": 0, "refused": 0}
        self._lock = asyncio.Lock()

    async def join(self, worker: Worker) -> None:
        """A worker accepts connections: it goes by what all go by, and hears what all have heard.

        Raises:
            HerdwiseError: when it cannot go by a config that all others accepted while it was starting.
        """
        async with self._lock:
            if worker.text != self.text:
                await worker.peer.ask("prepare", self.text, within_s=_PREPARE_S)
                await worker.peer.ask("commit", within_s=_PREPARE_S)
                worker.text = self.text
            self._ready[worker.number] = worker
        self.rota.add(worker.number, worker.intake)
        since = time.monotonic() - _NEWS_S
        for at, news in self._news:
            if at >= since:
                worker.peer.tell("news", {"news": news, "at": at})

    async def watch(self, worker: Worker) -> None:
        """Give a worker that does not answer no connections, and kill it when that lasts. Until it ends."""
        while True:
            await asyncio.sleep(PING_S)
            if await self._answers(worker, SLOW_S):
                continue
            if not worker.peer.gone.is_set():
                self.rota.remove(worker.number)
                logger.warning("worker %d does not answer: it gets no connections", worker.number)
            if await self._answers(worker, STUCK_S):
                if not worker.leaving:
                    self.rota.add(worker.number, worker.intake)
                continue
            if not worker.peer.gone.is_set():
                logger.error("worker %d has not answered for %g s: killed", worker.number, SLOW_S + STUCK_S)
                worker.process.kill()
            return

    async def _answers(self, worker: Worker, within_s: float) -> bool:
        try:
            await worker.peer.ask("ping", within_s=within_s)
        except GoneError:
            return False
        return True

    async def leave(self, worker: Worker) -> None:
        """A worker has ended: it is forgotten, but for what it counted."""
        if self._ready.get(worker.number) is worker:
            del self._ready[worker.number]
        await self._till.release(worker.process.pid)
        last = Totals()
        last.add(worker.counted)
        self._departed.add(last.lasting())

    def handlers(self, worker: Worker) -> Mapping[str, Handler]:
        """Question of one worker -> what answers it."""

        async def ready(facts: Any) -> None:
            worker.facts = facts
            worker.ready.set()

        async def failed(told: Any) -> None:
            kind = ConfigError if told["input"] else HerdwiseError
            worker.failure = kind(told["message"], remedy=told["remedy"])

        async def metrics(own: Any) -> str:
            worker.counted = own
            return await self._metrics(worker)

        async def counted(text: Any) -> None:
            worker.counted = text

        async def leaving(_body: Any) -> None:
            worker.leaving = True
            self.rota.remove(worker.number)

        async def find(name: Any) -> Any:
            return await self._find(worker, name)

        async def news(told: Any) -> None:
            at = time.monotonic()
            self._news.append((at, told))
            for other in self._others(worker):
                other.peer.tell("news", {"news": told, "at": at})

        async def reload(_body: Any) -> Any:
            return await self.reload()

        async def ask(question: str, body: Any, *, within_s: float | None = None) -> Any:
            return await worker.peer.ask(question, body, within_s=within_s)

        own = {"ready": ready, "failed": failed, "metrics": metrics, "find": find, "news": news}
        own |= {"leaving": leaving, "counted": counted}
        return {**own, "reload": reload, **self._till.handlers(worker.process.pid, ask)}

    def _others(self, worker: Worker) -> list[Worker]:
        return [other for other in self._ready.values() if other is not worker]

    async def _find(self, worker: Worker, name: str) -> Any:
        others = self._others(worker)
        asked = (other.peer.ask("find", name, within_s=_FIND_S) for other in others)
        found = await asyncio.gather(*asked, return_exceptions=True)
        return next((one for one in found if isinstance(one, dict)), None)

    async def _metrics(self, worker: Worker) -> str:
        others = self._others(worker)
        asked = (other.peer.ask("metrics", within_s=_COUNT_S) for other in others)
        for other, text in zip(others, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(text, str):
                other.counted = text
            else:
                logger.warning("worker %d does not tell its numbers; its last ones count", other.number)
        totals = Totals()
        totals.add(self._departed.lasting())
        for one in (worker, *others):
            totals.add(one.counted)
        return totals.text(without=(_RELOADS,)) + self._own_metrics()

    def _own_metrics(self) -> str:
        told = [
            f"# HELP {_RELOADS} Reloads by what came of them.",
            f"# TYPE {_RELOADS} counter",
            *(f'{_RELOADS}{{outcome="{what}"}} {n}' for what, n in self._reloads.items() if n),
            "# HELP herdwise_workers Worker processes that accept connections.",
            "# TYPE herdwise_workers gauge",
            f"herdwise_workers {len(self._ready)}",
            "# HELP herdwise_worker_restarts_total Workers that were started in place of one that had ended.",
            "# TYPE herdwise_worker_restarts_total counter",
            f"herdwise_worker_restarts_total {self.restarts}",
        ]
        return "\n".join([*told, ""])

    async def reload(self) -> Any:
        """All workers go by the config as it now stands, or none."""
        async with self._lock:
            try:
                text, settings = await asyncio.to_thread(self._read)
            except InputError as error:
                self._reloads["refused"] += 1
                logger.error("the new config is refused, the old one goes on: %s", error)
                raise RequestError(str(error), status=422, code="config_refused") from error
            workers = sorted(self._ready.values(), key=lambda one: one.number)
            try:
                prepared = await self._prepared(workers, text)
            except HerdwiseError:
                self._reloads["refused"] += 1
                raise
            self.text, self.settings = text, replace(settings, workers=self.settings.workers)
            told = None
            for worker in prepared:
                try:
                    told = await worker.peer.ask("commit", within_s=_PREPARE_S) or told
                    worker.text = text
                except GoneError:
                    continue  # the next in its place goes by the new text
            self._reloads["done"] += 1
            return told

    async def _prepared(self, workers: Sequence[Worker], text: str) -> list[Worker]:
        """Those who are ready to go by a text: all that live.

        Raises:
            HerdwiseError: when one of them cannot; then none is.
        """
        ready: list[Worker] = []
        problem: HerdwiseError | None = None
        # The first alone: what it refuses the others need not read.
        for some in (workers[:1], workers[1:]):
            asked = (one.peer.ask("prepare", text, within_s=_PREPARE_S) for one in some)
            for worker, outcome in zip(
                some, await asyncio.gather(*asked, return_exceptions=True), strict=True
            ):
                if outcome is None:
                    ready.append(worker)
                elif isinstance(outcome, HerdwiseError):
                    if not worker.peer.gone.is_set():
                        problem = outcome
                elif isinstance(outcome, BaseException):
                    raise outcome
            if problem is not None:
                break
        if problem is None and not ready:
            problem = GoneError("no worker is ready.")
        if problem is not None:
            for worker in ready:
                worker.peer.tell("abandon")
            raise problem
        return ready
