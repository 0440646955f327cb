"""The end of tasks that run in the background for as long as the endpoint does."""

from __future__ import annotations

import asyncio
from typing import Any

#: A task that is not at its end by then is told again.
_AGAIN_S = 0.5


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
