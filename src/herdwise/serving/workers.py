"""Several processes that serve one endpoint: started, kept alive, reloaded and ended together.

All accept connections from one socket that this process opened, so that none is lost when a worker dies: the
others accept it, or the one that is started in its place.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from herdwise.core.errors import ConfigError, HerdwiseError, InputError, RequestError
from herdwise.serving.listening import listen, url_of
from herdwise.serving.peer import GoneError, Handler, Peer
from herdwise.serving.service import Settings
from herdwise.serving.workers_link import Hello
from herdwise.serving.workers_meter import Till
from herdwise.serving.workers_metrics import Totals

logger = logging.getLogger(__name__)

#: What a worker that ends is given beside ``drain_s``, before it is killed.
_END_S = 15.0
#: Pauses before a worker that died is started anew: the first, and the longest while it dies at once.
_AGAIN_S, _AGAIN_MOST_S = 0.1, 10.0
#: Who has lived for so long did not die at once.
_LIVED_S = 30.0
#: How long a worker may take to read a new config, to tell its numbers, to look for a decision.
_PREPARE_S, _COUNT_S, _FIND_S = 300.0, 5.0, 3.0
#: Batches of news that are kept for workers that come later, and for how long.
_NEWS_KEPT, _NEWS_S = 20_000, 3600.0
_RELOADS = "herdwise_reloads_total"


class _Worker:
    """One of them."""

    def __init__(
        self, number: int, text: str, process: asyncio.subprocess.Process, line: socket.socket
    ) -> None:
        self.number, self.text, self.process, self.line = number, text, process, line
        self.peer: Peer
        self.began_at = time.monotonic()
        self.ready = asyncio.Event()
        self.facts: Mapping[str, Any] = {}
        self.failure: HerdwiseError | None = None
        self.counted = ""


class Supervisor:
    """Runs the workers until SIGTERM or SIGINT.

    Args:
        settings: how the endpoint behaves; where it listens, above all.
        text: the config file's.
        read: reads the file anew: its text and settings; raises ConfigError where it cannot be served.
        command: starts a worker, given its line's file descriptor as a further argument.
        told: what workers need beside the text (see ``Hello``).
        on_ready: called with what the first worker tells of itself, once all accept connections.
    """

    def __init__(
        self,
        settings: Settings,
        text: str,
        read: Callable[[], tuple[str, Settings]],
        command: Sequence[str],
        told: Mapping[str, Any],
        on_ready: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._settings, self._text, self._read = settings, text, read
        self._command, self._told, self._on_ready = command, dict(told), on_ready
        self._alive: dict[int, _Worker] = {}
        self._ready: dict[int, _Worker] = {}
        self._till = Till()
        self._departed = Totals()
        self._news: deque[tuple[float, bytes]] = deque(maxlen=_NEWS_KEPT)
        self._restarts = 0
        self._reloads = {"done": 0, "refused": 0}
        self._tasks: set[asyncio.Task[Any]] = set()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            HerdwiseError: when the address cannot be listened on, or the first worker cannot serve.
            KeyboardInterrupt: after SIGINT.
        """
        with listen(self._settings.host, self._settings.port) as listening:
            ended_by = asyncio.run(self._run(listening))
        if ended_by == signal.SIGINT:
            raise KeyboardInterrupt

    async def _run(self, listening: socket.socket) -> int:
        self._listening, self._url = listening, url_of(self._settings.host, listening)
        self._lock, self._stopping, self._signal = asyncio.Lock(), asyncio.Event(), 0
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop, sig)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            # One by one at first: the ledger is made by the first, and what it cannot serve nobody can.
            first = await self._up(0)
            others = range(1, self._settings.workers)
            rest = await asyncio.gather(*(self._up(number) for number in others))
            if not self._stopping.is_set():
                self._on_ready(first.facts)
            await asyncio.gather(*(self._keep(worker) for worker in (first, *rest)))
        except HerdwiseError:
            if not self._stopping.is_set():
                self._stop(signal.SIGTERM)
                await self._all_ended()
                raise
            await self._all_ended()
        return self._signal

    def _stop(self, sig: int) -> None:
        """No new connections; open requests may end. A second SIGINT does not wait for them."""
        again = self._stopping.is_set()
        self._stopping.set()
        if not again:
            self._signal = sig
            self._listening.close()
            self._spawn(self._kill_late())
        for worker in self._alive.values():
            if worker.process.returncode is None:
                worker.process.send_signal(
                    signal.SIGINT if again and sig == signal.SIGINT else signal.SIGTERM
                )

    async def _kill_late(self) -> None:
        await asyncio.sleep(self._settings.drain_s + _END_S)
        for worker in self._alive.values():
            if worker.process.returncode is None:
                logger.error("worker %d (process %d) did not end", worker.number, worker.process.pid)
                worker.process.kill()

    async def _all_ended(self) -> None:
        await asyncio.gather(*(worker.process.wait() for worker in list(self._alive.values())))

    async def _keep(self, worker: _Worker) -> None:
        """Start another whenever a worker ends, until all are to end."""
        pause_s = _AGAIN_S
        while True:
            status = await worker.process.wait()
            await self._bury(worker)
            if self._stopping.is_set():
                return
            if time.monotonic() - worker.began_at > _LIVED_S:
                pause_s = _AGAIN_S
            logger.error(
                "worker %d (process %d) ended with status %d; another is started in %.1f s",
                worker.number,
                worker.process.pid,
                status,
                pause_s,
            )
            while True:
                if await self._stops_within(pause_s):
                    return
                pause_s = min(2 * pause_s, _AGAIN_MOST_S)
                self._restarts += 1
                try:
                    worker = await self._up(worker.number)
                except HerdwiseError as error:
                    if self._stopping.is_set():
                        return
                    logger.error("worker %d cannot be started: %s", worker.number, error)
                else:
                    break

    async def _stops_within(self, pause_s: float) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _up(self, number: int) -> _Worker:
        """A worker that accepts connections.

        Raises:
            HerdwiseError: when it ended before, with what it told of the reason.
        """
        worker = await self._begin(number)
        ready, ended = (asyncio.create_task(one) for one in (worker.ready.wait(), worker.process.wait()))
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        if not worker.ready.is_set():
            ready.cancel()
            await worker.peer.gone.wait()  # what it told last has been heard
            await self._bury(worker)
            raise worker.failure or HerdwiseError(
                f"worker {number} ended with status {worker.process.returncode} before it was ready."
            )
        ended.cancel()
        async with self._lock:
            if worker.text != self._text:  # there was a reload meanwhile
                await self._catch_up(worker)
            self._ready[number] = worker
        since = time.monotonic() - _NEWS_S
        for at, news in self._news:
            if at >= since:
                worker.peer.tell("news", {"news": news, "at": at})
        return worker

    async def _catch_up(self, worker: _Worker) -> None:
        try:
            await worker.peer.ask("prepare", self._text, within_s=_PREPARE_S)
            await worker.peer.ask("commit", within_s=_PREPARE_S)
        except HerdwiseError:
            worker.process.kill()
            await worker.process.wait()
            await self._bury(worker)
            raise
        worker.text = self._text

    async def _begin(self, number: int) -> _Worker:
        if self._stopping.is_set():
            raise HerdwiseError("the endpoint is about to end.")
        line, theirs = socket.socketpair()
        line.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._listening.fileno()),
                # A terminal's Ctrl-C is for this process, which passes it on.
                start_new_session=True,
            )
        worker = self._alive[number] = _Worker(number, self._text, process, line)
        reader, writer = await asyncio.open_connection(sock=line)
        worker.peer = Peer(reader, writer, self._handlers(worker))
        self._spawn(worker.peer.run())
        hello = Hello(
            number, self._settings.workers, self._listening.fileno(), self._url, self._text, self._told
        )
        worker.peer.tell("hello", hello)
        if self._stopping.is_set():  # while it was being started
            process.terminate()
        return worker

    async def _bury(self, worker: _Worker) -> None:
        """Forget a worker that has ended, but for what it counted."""
        self._ready.pop(worker.number, None)
        if self._alive.get(worker.number) is worker:
            del self._alive[worker.number]
        worker.peer.close()
        await worker.peer.gone.wait()
        await self._till.release(worker.process.pid)
        last = Totals()
        last.add(worker.counted)
        self._departed.add(last.lasting())

    def _handlers(self, worker: _Worker) -> Mapping[str, Handler]:
        async def ready(facts: Any) -> None:
            worker.facts = facts
            worker.ready.set()

        async def failed(told: Any) -> None:
            kind = ConfigError if told["input"] else HerdwiseError
            worker.failure = kind(told["message"], remedy=told["remedy"])

        async def metrics(own: Any) -> str:
            worker.counted = own
            return await self._metrics(worker)

        async def find(name: Any) -> Any:
            return await self._find(worker, name)

        async def news(told: Any) -> None:
            at = time.monotonic()
            self._news.append((at, told))
            for other in self._others(worker):
                other.peer.tell("news", {"news": told, "at": at})

        async def reload(_body: Any) -> Any:
            return await self._reload()

        async def ask(question: str, body: Any, *, within_s: float | None = None) -> Any:
            return await worker.peer.ask(question, body, within_s=within_s)

        own = {"ready": ready, "failed": failed, "metrics": metrics, "find": find, "news": news}
        return {**own, "reload": reload, **self._till.handlers(worker.process.pid, ask)}

    def _others(self, worker: _Worker) -> list[_Worker]:
        return [other for other in self._ready.values() if other is not worker]

    async def _find(self, worker: _Worker, name: str) -> Any:
        others = self._others(worker)
        asked = (other.peer.ask("find", name, within_s=_FIND_S) for other in others)
        found = await asyncio.gather(*asked, return_exceptions=True)
        return next((one for one in found if isinstance(one, dict)), None)

    async def _metrics(self, worker: _Worker) -> str:
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
            f"herdwise_worker_restarts_total {self._restarts}",
        ]
        return "\n".join([*told, ""])

    def _hang_up(self) -> None:
        async def reload() -> None:
            try:
                await self._reload()
            except HerdwiseError as error:
                logger.error("nothing was reloaded: %s", error)

        self._spawn(reload())

    async def _reload(self) -> Any:
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
            self._text, self._settings = text, replace(settings, workers=self._settings.workers)
            told = None
            for worker in prepared:
                try:
                    told = await worker.peer.ask("commit", within_s=_PREPARE_S) or told
                    worker.text = text
                except GoneError:
                    continue  # the next in its place goes by the new text
            self._reloads["done"] += 1
            return told

    async def _prepared(self, workers: Sequence[_Worker], text: str) -> list[_Worker]:
        """Those who are ready to go by a text: all that live.

        Raises:
            HerdwiseError: when one of them cannot; then none is.
        """
        ready: list[_Worker] = []
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

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def worker_command(module: str) -> list[str]:
    """Starts a module as a worker, in this very Python."""
    return [sys.executable, "-m", module]
