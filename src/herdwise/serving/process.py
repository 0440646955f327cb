"""The HTTP server's process: what signals do to it, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from herdwise.core.errors import HerdwiseError
from herdwise.serving.app import App

logger = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """SIGTERM and SIGINT: no new connections, open requests may end. SIGHUP: reload.

    After SIGTERM the process ends with status 0, as a drained end is a good one; after SIGINT as an
    interrupted program does.

    Args:
        config: how to serve the application.
        app: the application.
        on_ready: called once it listens.
    """

    def __init__(self, config: uvicorn.Config, app: App, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app, self._on_ready = app, on_ready
        self._reloading: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        await super().startup(sockets=sockets)
        if not self.started:
            return
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See ``uvicorn.Server``: it raises again, once it has ended, what it finds captured."""
        super().handle_exit(sig, frame)
        if sig == signal.SIGTERM:
            self._captured_signals.remove(sig)
        self._app.reloading.draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``; the time to end is that of the config of the moment."""
        self._app.reloading.draining = True
        self.config.timeout_graceful_shutdown = math.ceil(
            self._app.reloading.current.service.settings.drain_s
        )
        await super().shutdown(sockets=sockets)

    def _hang_up(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload(self) -> None:
        try:
            await self._app.reloading.reload()
        except HerdwiseError as error:
            logger.error("nothing was reloaded: %s", error)
