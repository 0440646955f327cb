"""The HTTP server's process: what signals do to it, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import uvicorn

from herdwise.core.errors import HerdwiseError
from herdwise.serving.allocating import give_back_large_blocks
from herdwise.serving.app import App
from herdwise.serving.connections import SlowClients
from herdwise.serving.ending import END_S, LEAVE_S, end_by_force
from herdwise.serving.workers_link import Link

logger = logging.getLogger(__name__)


#: How long kept connections stay open when the process is to end.
_LINGER_S = 1.0


def settle_down() -> None:
    """Make the interpreter's own work rare, and its pauses short, once all is loaded.

    What stands now stays to the end, so that no search for garbage needs to look at it: with it a search took
    50 ms, in which no request went on. What requests leave behind is freed without a search, save for a few
    cycles. The thread that writes the ledger hands over after a millisecond, not after five.
    """
    give_back_large_blocks()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(0.001)


class Server(uvicorn.Server):
    """SIGTERM and SIGINT: no new connections, open requests may end. SIGHUP: reload.

    After SIGTERM the process ends with status 0, as a drained end is a good one; after SIGINT as an
    interrupted program does.

    Args:
        config: how to serve the application.
        app: the application.
        on_ready: called once it listens.
        link: to the process that started this one, and hands it connections; when that is gone, this one
            ends as after SIGTERM.
    """

    def __init__(
        self, config: uvicorn.Config, app: App, on_ready: Callable[[], None], link: Link | None = None
    ) -> None:
        super().__init__(config)
        self._app, self._on_ready, self._link = app, on_ready, link
        self._tasks: set[asyncio.Task[None]] = set()
        self._slow = SlowClients()
        self._own = False
        self._watchdogs: list[threading.Event] = []

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``: meanwhile the process is its own, and ends with it if something hangs.

        On another thread than the main one it is a guest, whose host goes on.
        """
        self._own = threading.current_thread() is threading.main_thread()
        try:
            super().run(sockets=sockets)
        finally:
            for watchdog in self._watchdogs:
                watchdog.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        await super().startup(sockets=sockets)
        if not self.started:
            return
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        if self._link is not None:
            self._link.accept(self._protocol)
            self._spawn(self._end_with(self._link))
        settle_down()
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """See ``uvicorn.Server``: ten times a second."""
        if counter % 10 == 5:
            most_s = self._app.reloading.current.service.settings.client_timeout_s
            closed = self._slow.look(self.server_state.connections, time.monotonic(), most_s)
            if closed:
                logger.warning("%d connections were closed whose clients were too slow", closed)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See ``uvicorn.Server``: it raises again, once it has ended, what it finds captured."""
        self._bound()
        super().handle_exit(sig, frame)
        if sig == signal.SIGTERM:
            self._captured_signals.remove(sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``; the time to end is that of the config of the moment.

        Connections that clients keep are not closed at once, as the next request may be on its way: for a
        moment what comes in on them is answered, with ``connection: close``.
        """
        self._bound()
        drain_s = self._drain_s()
        linger_s = min(_LINGER_S, drain_s / 2)
        for server in self.servers:
            server.close()
        if self._link is not None:
            self._link.leave()
        # Only now, so that nobody who is told to close connects again before that is refused.
        self._app.reloading.draining = True
        until = time.monotonic() + linger_s
        while self.server_state.connections and time.monotonic() < until:  # noqa: ASYNC110 - as uvicorn does
            await asyncio.sleep(0.02)
        self.config.timeout_graceful_shutdown = math.ceil(drain_s - linger_s)
        await super().shutdown(sockets=sockets)
        if self._own:
            interrupted = signal.SIGINT in self._captured_signals
            status = 1 if self._app.undone else 130 if interrupted else 0
            self._watchdogs.append(end_by_force(LEAVE_S, status))

    def _drain_s(self) -> float:
        return self._app.reloading.current.service.settings.drain_s

    def _bound(self) -> None:
        """From now on it is known when the process is gone, at the latest."""
        if self._own and not self._watchdogs:
            told = "the process did not end in time: it is ended by force"
            self._watchdogs.append(end_by_force(self._drain_s() + END_S, 1, told))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_with(self, link: Link) -> None:
        await link.gone()
        if not self.should_exit:
            logger.error("the process that started this one is gone")
            self.should_exit = True

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes one for a connection that it accepts itself."""
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _hang_up(self) -> None:
        self._spawn(self._reload())

    async def _reload(self) -> None:
        try:
            await self._app.reload()
        except HerdwiseError as error:
            logger.error("nothing was reloaded: %s", error)
