"""Accepts connections and hands them to the workers in turn, as file descriptors over a socket to each.

Not by a listening socket that all share: the first to wake takes all that wait, and a client that keeps 32
connections had one worker answer them all. Nor by SO_REUSEPORT: what waits for a process is reset when it
dies, and macOS gives everything to one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Connections accepted, or taken over, before anything else is done.
_AT_ONCE = 64
#: Pause when no worker can take another connection.
_FULL_S = 0.01
#: Pause when no more files may be open, or the like.
_TROUBLE_S = 0.1


class Rota:
    """The parent's end. Belongs to one event loop.

    While no worker is there connections wait, in the listening socket's backlog.

    Args:
        listening: the socket that connections come in by.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._workers: deque[tuple[int, socket.socket]] = deque()
        self._held: socket.socket | None = None
        self._ended = False
        self._reading = False
        listening.setblocking(False)

    def add(self, number: int, line: socket.socket) -> None:
        """A worker takes connections from now on, by the other end of a socket."""
        self._workers.append((number, line))
        self._go_on()

    def remove(self, number: int) -> None:
        """A worker takes no more."""
        for place, (known, _) in enumerate(self._workers):
            if known == number:
                del self._workers[place]
                return

    def end(self) -> None:
        """Nobody comes in any more."""
        self._ended = True
        self._pause()
        self._listening.close()
        if self._held is not None:
            self._held.close()

    def _go_on(self) -> None:
        if not self._ended and not self._reading and self._workers:
            self._reading = True
            loop = asyncio.get_running_loop()
            loop.add_reader(self._listening, self._accept)
            if self._held is not None:  # it must not wait until another one comes in
                loop.call_soon(self._accept)

    def _pause(self, for_s: float | None = None) -> None:
        loop = asyncio.get_running_loop()
        if self._reading:
            self._reading = False
            loop.remove_reader(self._listening)
        if for_s is not None:
            loop.call_later(for_s, self._go_on)

    def _accept(self) -> None:
        if not self._reading:  # paused, or ended, before it was this call's turn
            return
        for _ in range(_AT_ONCE):
            try:
                taken = self._held or self._listening.accept()[0]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.error("no connection can be accepted: %s", error)
                self._pause(_TROUBLE_S)
                return
            self._held = None
            if not self._hand_over(taken):
                self._held = taken
                self._pause(_FULL_S)
                return

    def _hand_over(self, taken: socket.socket) -> bool:
        """Whether a worker has it: the next in turn, unless it is gone or has too many to take already."""
        for _ in range(len(self._workers)):
            _, line = self._workers[0]
            self._workers.rotate(-1)
            try:
                socket.send_fds(line, [b"c"], [taken.fileno()])
            except OSError:
                continue
            taken.close()
            return True
        return False


class Intake:
    """A worker's end. Belongs to one event loop.

    Args:
        line: the socket that connections are handed over by.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._connecting: set[asyncio.Task[object]] = set()
        line.setblocking(False)

    def start(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Serve what is handed over.

        Args:
            protocol: makes one for a connection.
        """
        self._protocol = protocol
        asyncio.get_running_loop().add_reader(self._line, self._take)

    def end(self) -> None:
        """Take no more."""
        asyncio.get_running_loop().remove_reader(self._line)

    def _take(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                data, files, _, _ = socket.recv_fds(self._line, 1, 1)
            except BlockingIOError:
                return
            except OSError as error:
                logger.error("a connection could not be taken: %s", error)
                return
            if not data:
                self.end()
                return
            for file in files:
                taken = socket.socket(fileno=file)
                taken.setblocking(False)
                connecting: asyncio.Task[object] = loop.create_task(
                    loop.connect_accepted_socket(self._protocol, taken)
                )
                self._connecting.add(connecting)
                connecting.add_done_callback(self._done)

    def _done(self, connecting: asyncio.Task[object]) -> None:
        self._connecting.discard(connecting)
        if not connecting.cancelled() and (error := connecting.exception()) is not None:
            logger.error("a connection could not be served: %s", error)
