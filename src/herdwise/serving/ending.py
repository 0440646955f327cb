"""The end: of tasks that run in the background, of each step that a process takes to end, of the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from _thread import start_new_thread
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Whatever hangs: a process is gone so many seconds after ``drain_s``, at the latest.
END_S = 10.0
#: How long one step may take of what is done once no request is open any more.
STEP_S = 3.0
#: What the interpreter is given to end, once all steps are done.
LEAVE_S = 2.0
#: A task that is not at its end by then is told again.
_AGAIN_S = 0.5
#: How long writing the last line of the log may take: whoever should read it may hang, too.
_WORD_S = 0.5


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and return when they have ended.

    They are told again until they have: one cancellation may be lost. ``asyncio.wait_for``, which clients of
    databases use, drops it before Python 3.12 when what it waits for is done at the same moment
    (https://github.com/python/cpython/issues/86296), and a loop that tries for ever would go on.

    Args:
        tasks: to be ended; None stands for one that was never begun. How they end is left to who reads them.
    """
    pending = {task for task in tasks if task is not None and not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


async def within(seconds: float, what: str, work: Awaitable[Any]) -> bool:
    """Take one step of the end; whether it was done. What hangs or fails is told, and gone on without.

    Args:
        seconds: that it may take.
        what: it does, for the log.
        work: it.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        logger.error("not done within %g s: %s", seconds, what)
        return False
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("not done: %s", what, exc_info=error)
    return error is None


async def on_thread(work: Callable[[], _T]) -> _T:
    """As ``asyncio.to_thread``, on a thread of its own that holds nothing up should it hang.

    The loop's own threads may all be waiting for a database that does not answer.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: Exception | None) -> None:
        if told.done():
            return
        if error is not None:
            told.set_exception(error)
        else:
            told.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - it is for who waits
            problem = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(tell, result, problem)

    threading.Thread(target=run, name="herdwise-end", daemon=True).start()
    return await told


def end_by_force(seconds: float, status: int, word: str = "") -> threading.Event:
    """Have this process end after so many seconds, should it not have ended by then. Set, it lives on.

    Threads that wait for a database cannot be broken off, and the interpreter would wait for them for ever.
    May be called by a signal's handler: it takes no lock that the code which the signal broke into may hold,
    as ``threading.Thread.start`` does.

    Args:
        seconds: from now on.
        status: its exit status then.
        word: for the log then; none where nothing is left undone.
    """

    ended = threading.Event()

    def wait() -> None:
        if ended.wait(seconds):
            return
        said = threading.Event()
        start_new_thread(_say, (word, said))
        said.wait(_WORD_S)
        os._exit(status)

    start_new_thread(wait, ())
    return ended


def _say(word: str, said: threading.Event) -> None:
    if word:
        logger.error("%s", word)
    sys.stdout.flush()
    sys.stderr.flush()
    said.set()
