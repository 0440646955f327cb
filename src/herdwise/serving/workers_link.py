"""A worker's line to the process that started it, and through it to the other workers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from herdwise.core.errors import HerdwiseError, InputError
from herdwise.serving.ending import end
from herdwise.serving.meter import Meter
from herdwise.serving.peer import Handler, Peer, receive_one, send_one
from herdwise.serving.workers_accept import Intake
from herdwise.serving.workers_meter import WorkersMeter

if TYPE_CHECKING:
    from herdwise.serving.ledger import Ledger
    from herdwise.serving.metrics import Metrics
    from herdwise.serving.reloading import Reloading

#: How long a decision that has ended may take to be on the disk.
_WRITTEN_S = 2.0


class Hello(msgspec.Struct):
    """What a worker is born with.

    Args:
        number: which of them it is, from 0.
        workers: how many there are.
        intake: the file descriptor of the socket by which connections are handed over.
        url: at which they are reached.
        text: the config file's, as all go by it.
        told: whatever else whoever reads the config needs.
        family: tells the workers of one parent from all others.
        heir: whether another had its number before, and has ended.
    """

    number: int
    workers: int
    intake: int
    url: str
    text: str
    told: dict[str, Any]
    family: str = ""
    heir: bool = False


class Link:
    """See the module.

    Args:
        line: the socket to the parent.

    Attributes:
        hello: what came first on it.
        text: the config as it now stands: ``hello``'s, then what a reload brought.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        line.set_inheritable(False)
        self.hello = msgspec.convert(receive_one(line), Hello)
        self.text = self.hello.text
        self._peer: Peer | None = None
        self._running: asyncio.Task[None] | None = None

    def fail(self, error: HerdwiseError) -> None:
        """Tell why this worker cannot serve, before its loop runs."""
        told = {"message": error.message, "remedy": error.remedy, "input": isinstance(error, InputError)}
        send_one(self._line, "failed", told)

    async def start(
        self,
        reloading: Reloading,
        metrics: Metrics,
        ledger: Ledger | None,
        hear: Callable[[bytes, float], None],
    ) -> None:
        """Begin to answer what the parent asks.

        Args:
            reloading, metrics, ledger: of this worker.
            hear: takes the other workers' news.
        """
        self._reloading, self._metrics, self._ledger, self._hear = reloading, metrics, ledger, hear
        self._line.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=self._line)
        handlers: Mapping[str, Handler] = {
            "ping": self._ping,
            "prepare": self._prepare,
            "commit": self._commit,
            "abandon": self._abandon,
            "metrics": self._counted,
            "find": self._find,
            "charged": self._charged,
            "news": self._news,
        }
        self._peer = Peer(reader, writer, handlers)
        self._running = asyncio.create_task(self._peer.run())

    def accept(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Serve the connections that are handed over."""
        line = socket.socket(fileno=self.hello.intake)
        line.set_inheritable(False)
        self._intake = Intake(line)
        self._intake.start(protocol)

    def leave(self) -> None:
        """Have no more connections handed over; what is on its way is still served."""
        self._started().tell("leaving")

    def ready(self, facts: Mapping[str, Any]) -> None:
        """Tell that requests are accepted, and what is served."""
        self._started().tell("ready", facts)

    async def gone(self) -> None:
        """Until the parent is gone."""
        await self._started().gone.wait()

    async def close(self) -> None:
        """Tell what was counted to the end, and end the line."""
        if self._peer is not None and self._running is not None:
            self._peer.tell("counted", await self._metrics.text())
            self._peer.close()
            await end(self._running)

    def meter(self) -> Meter:
        """Counts for all workers together."""
        return WorkersMeter(self._started())

    def send(self, news: bytes) -> None:
        """See ``shared.Channel``."""
        self._started().tell("news", news)

    async def reload(self) -> dict[str, Any]:
        """Have all workers go by the config as it now stands, or none.

        Raises:
            RequestError: as ``Reloading.prepare``.
        """
        told: dict[str, Any] = await self._started().ask("reload")
        return told

    async def metrics(self, own: str) -> str:
        """What all workers counted, given what this one did."""
        text: str = await self._started().ask("metrics", own)
        return text

    async def find(self, name: str) -> dict[str, Any] | None:
        """A decision that another worker is carrying out; None once it is in the ledger, or nobody has it."""
        found: dict[str, Any] | None = await self._started().ask("find", name)
        return found

    def _started(self) -> Peer:
        if self._peer is None:
            raise HerdwiseError("the line to the parent is not open yet.")
        return self._peer

    async def _ping(self, body: Any) -> None:
        """That it is answered says all."""

    async def _prepare(self, body: Any) -> None:
        before, self.text = self.text, body
        try:
            await self._reloading.prepare()
        except BaseException:
            self.text = before
            raise
        self._before = before

    async def _commit(self, body: Any) -> Any:
        del body
        return self._reloading.commit()

    async def _abandon(self, body: Any) -> None:
        del body
        self.text = self._before
        self._reloading.abandon()

    async def _counted(self, body: Any) -> str:
        del body
        return await self._metrics.text()

    async def _find(self, name: Any) -> dict[str, Any] | None:
        generation = self._reloading.current
        course = generation.dispatcher.open.get(name)
        if course is not None:
            return asdict(course.record(store_texts=generation.service.settings.store_texts))
        until = time.monotonic() + _WRITTEN_S
        while self._ledger is not None and self._ledger.waits(name) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return None

    async def _charged(self, body: Any) -> int:
        if self._ledger is None:
            raise HerdwiseError("there is no ledger.")
        return await self._ledger.charged(*body)

    async def _news(self, body: Any) -> None:
        self._hear(body["news"], time.monotonic() - body["at"])
