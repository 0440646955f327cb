"""Several processes that serve one endpoint: started, kept alive, reloaded and ended together.

This process accepts the connections and hands them over in turn (``workers_accept``): none that no worker has
is lost when one dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from herdwise.core.errors import HerdwiseError
from herdwise.serving.ending import END_S
from herdwise.serving.listening import listen, url_of
from herdwise.serving.peer import Peer
from herdwise.serving.service import Settings
from herdwise.serving.workers_accept import Rota
from herdwise.serving.workers_council import Council, Worker
from herdwise.serving.workers_link import Hello

logger = logging.getLogger(__name__)

#: What a worker that ends is given beside ``drain_s``, before it is killed.
_END_S = END_S + 2.0
#: Pauses before a worker that died is started anew: the first, and the longest while it dies at once.
_AGAIN_S, _AGAIN_MOST_S = 0.1, 10.0
#: Who has lived for so long did not die at once.
_LIVED_S = 30.0


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
        self._settings, self._n = settings, settings.workers
        self._council = Council(text, settings, read)
        self._command, self._told, self._on_ready = command, dict(told), on_ready
        self._alive: dict[int, Worker] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._family, self._begun = secrets.token_hex(6), set[int]()

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
        self._url, self._rota = url_of(self._settings.host, listening), Rota(listening)
        self._council.rota = self._rota
        self._stopping, self._signal = asyncio.Event(), 0
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop, sig)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            # One by one at first: the ledger is made by the first, and what it cannot serve nobody can.
            first = await self._up(0)
            others = range(1, self._n)
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
            self._rota.end()
            self._spawn(self._kill_late())
        for worker in self._alive.values():
            if worker.process.returncode is None:
                worker.process.send_signal(
                    signal.SIGINT if again and sig == signal.SIGINT else signal.SIGTERM
                )

    async def _kill_late(self) -> None:
        await asyncio.sleep(self._council.settings.drain_s + _END_S)
        for worker in self._alive.values():
            if worker.process.returncode is None:
                logger.error("worker %d (process %d) did not end", worker.number, worker.process.pid)
                worker.process.kill()

    async def _all_ended(self) -> None:
        await asyncio.gather(*(worker.process.wait() for worker in list(self._alive.values())))

    async def _keep(self, worker: Worker) -> None:
        """Start another whenever a worker ends, until all are to end."""
        pause_s = _AGAIN_S
        while True:
            status = await worker.process.wait()
            await self._bury(worker)
            if self._stopping.is_set():
                return
            if time.monotonic() - worker.began_at > _LIVED_S:
                pause_s = _AGAIN_S
            logger.log(
                logging.ERROR if status else logging.WARNING,
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
                self._council.restarts += 1
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

    async def _up(self, number: int) -> Worker:
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
        try:
            await self._council.join(worker)
        except HerdwiseError:
            worker.process.kill()
            await worker.process.wait()
            await self._bury(worker)
            raise
        self._spawn(self._council.watch(worker))
        return worker

    async def _begin(self, number: int) -> Worker:
        if self._stopping.is_set():
            raise HerdwiseError("the endpoint is about to end.")
        with contextlib.ExitStack() as ours:
            try:
                line, theirs = socket.socketpair()
                ours.callback(line.close)
                with theirs:
                    intake, their_intake = socket.socketpair()
                    ours.callback(intake.close)
                    with their_intake:
                        process = await self._spawned(theirs, their_intake)
                        their_number = their_intake.fileno()
            except OSError as error:  # it may be possible again in a moment: those who live go on
                raise HerdwiseError(
                    f"no process can be started: {error.strerror or error}.",
                    remedy="Is there memory, and room for processes and open files? Is Python where it was?",
                ) from error
            ours.pop_all()
        line.setblocking(False)
        intake.setblocking(False)
        worker = self._alive[number] = Worker(number, self._council.text, process, intake)
        reader, writer = await asyncio.open_connection(sock=line)
        worker.peer = Peer(reader, writer, self._council.handlers(worker))
        self._spawn(worker.peer.run())
        heir = number in self._begun
        self._begun.add(number)
        own = (number, self._n, their_number, self._url, worker.text, self._told)
        hello = Hello(*own, self._family, heir)
        worker.peer.tell("hello", hello)
        if self._stopping.is_set():  # while it was being started
            process.terminate()
        return worker

    async def _spawned(self, line: socket.socket, intake: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(line.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(line.fileno(), intake.fileno()),
            # A terminal's Ctrl-C is for this process, which passes it on.
            start_new_session=True,
        )

    async def _bury(self, worker: Worker) -> None:
        """Forget a worker that has ended, but for what it counted."""
        if self._alive.get(worker.number) is worker:
            del self._alive[worker.number]
        self._rota.remove(worker.number)
        worker.intake.close()
        worker.peer.close()
        await worker.peer.gone.wait()
        await self._council.leave(worker)

    def _hang_up(self) -> None:
        async def reload() -> None:
            try:
                await self._council.reload()
            except HerdwiseError as error:
                logger.error("nothing was reloaded: %s", error)

        self._spawn(reload())

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def worker_command(module: str) -> list[str]:
    """Starts a module as a worker, in this very Python."""
    return [sys.executable, "-m", module]
