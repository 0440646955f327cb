"""Questions and answers between two processes on one machine, over a socket that both were born with."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from herdwise.core.errors import HerdwiseError, RequestError

logger = logging.getLogger(__name__)

#: Answers a question; both are what msgpack can hold.
Handler = Callable[[Any], Awaitable[Any]]

_LENGTH = struct.Struct("!I")
_MOST_BYTES = 256 * 1024 * 1024


class GoneError(HerdwiseError):
    """The other process has ended, or does not answer."""


class _Frame(msgspec.Struct, omit_defaults=True):
    """``asked`` names a question, ``answers`` the number of the question that this answers."""

    number: int = 0
    asked: str = ""
    answers: int = 0
    body: Any = None
    problem: dict[str, Any] | None = None


class Peer:
    """One end of the line. Belongs to one event loop.

    Args:
        reader, writer: the connection.
        handlers: question's name -> what answers it; each question gets a task of its own.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
    ) -> None:
        self._reader, self._writer, self._handlers = reader, writer, handlers
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Frame).decode
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        #: Done once the other end is gone.
        self.gone = asyncio.Event()

    async def ask(self, question: str, body: Any = None, *, within_s: float | None = None) -> Any:
        """The other end's answer.

        Raises:
            GoneError: when it ends before it answers, or does not answer within the time.
            HerdwiseError: what its handler raised; a RequestError stays one.
        """
        if self.gone.is_set():
            raise GoneError("the other process has ended.")
        self._number += 1
        number = self._number
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._send(_Frame(number=number, asked=question, body=body))
        try:
            async with asyncio.timeout(within_s):
                return await waiting
        except TimeoutError:
            raise GoneError(
                f"the other process does not answer {question!r} within {within_s:g} s."
            ) from None
        finally:
            self._waiting.pop(number, None)

    def tell(self, what: str, body: Any = None) -> None:
        """Send something that calls for no answer. Never blocks."""
        if not self.gone.is_set():
            self._send(_Frame(asked=what, body=body))

    async def run(self) -> None:
        """Hear the other end until it is gone."""
        try:
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                if length > _MOST_BYTES:
                    raise GoneError(f"the other process sends {length} bytes at once.")
                self._hear(self._decode(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            pass  # it has ended
        finally:
            self.gone.set()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(GoneError("the other process has ended."))
            self._writer.close()

    def close(self) -> None:
        """End the line."""
        self._writer.close()

    def _send(self, frame: _Frame) -> None:
        data = self._encode(frame)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    def _hear(self, frame: _Frame) -> None:
        if frame.answers:
            waiting = self._waiting.get(frame.answers)
            if waiting is not None and not waiting.done():
                if frame.problem is None:
                    waiting.set_result(frame.body)
                else:
                    waiting.set_exception(_raised(frame.problem))
            return
        task = asyncio.create_task(self._answer(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, frame: _Frame) -> None:
        body, problem = None, None
        try:
            body = await self._handlers[frame.asked](frame.body)
        except HerdwiseError as error:
            problem = _told(error)
        except Exception as error:
            logger.exception("%r could not be answered", frame.asked)
            problem = {"message": f"{frame.asked!r} failed: {type(error).__name__}."}
        if frame.number and not self.gone.is_set():
            self._send(_Frame(answers=frame.number, body=body, problem=problem))


def send_one(line: socket.socket, what: str, body: Any) -> None:
    """As ``Peer.tell``, on a socket that no loop has yet."""
    data = msgspec.msgpack.encode(_Frame(asked=what, body=body))
    line.sendall(_LENGTH.pack(len(data)) + data)


def receive_one(line: socket.socket) -> Any:
    """What the other end told first.

    Raises:
        GoneError: when it has ended.
    """
    (length,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    return msgspec.msgpack.decode(_exactly(line, length), type=_Frame).body


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = line.recv(size - len(found))
        if not part:
            raise GoneError("the other process has ended.")
        found += part
    return found


def _told(error: HerdwiseError) -> dict[str, Any]:
    told: dict[str, Any] = {"message": error.message, "remedy": error.remedy}
    if isinstance(error, RequestError):
        told |= {
            "status": error.status,
            "param": error.param,
            "code": error.code,
            "retry_after_s": error.retry_after_s,
        }
    return told


def _raised(problem: dict[str, Any]) -> HerdwiseError:
    message, remedy = problem["message"], problem.get("remedy", "")
    if "status" not in problem:
        return HerdwiseError(message, remedy=remedy)
    return RequestError(
        message,
        status=problem["status"],
        param=problem["param"],
        code=problem["code"],
        retry_after_s=problem["retry_after_s"],
        remedy=remedy,
    )
