"""News between gateways by a stream in Redis or Valkey: who comes later reads what was told before."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from herdwise.serving.ending import end
from herdwise.serving.meter_redis import connect

logger = logging.getLogger(__name__)

#: Batches that the stream keeps, about; a quiet herd's batch is one conversation.
_KEPT = 20_000
#: Batches that wait while Redis cannot be reached; older ones are dropped.
_WAITING = 1000
#: For how long conversations are remembered: what was told before is not read.
_BACK_S = 3600.0
_READ_S, _READ_AT_ONCE = 2.0, 500
#: Pauses between tries while Redis cannot be reached: the first, and the longest.
_AGAIN_S, _AGAIN_MOST_S = 0.2, 5.0


class RedisNews:
    """See ``shared.Channel``. Two connections, and no request ever waits for them.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``.
        hear: takes what others told, with its age in seconds.
        prefix: put before the key, so that several herds can share a server.

    Raises:
        MissingExtraError: when the extra is not installed.
        ConfigError: when the URL cannot be read.
    """

    def __init__(self, url: str, hear: Callable[[bytes, float], None], prefix: str = "herdwise") -> None:
        self._redis = connect(url)
        self._hear, self._key = hear, f"{prefix}:news"
        self._own = secrets.token_hex(8).encode()
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._wake = asyncio.Event()
        self._last: str | None = None
        self._away: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tell and to hear."""
        self._tasks = [asyncio.create_task(self._forever(work)) for work in (self._write, self._read)]

    def send(self, news: bytes) -> None:
        """See ``shared.Channel``."""
        self._waiting.append(news)
        self._wake.set()

    async def close(self) -> None:
        """Tell what waits, if that can be done at once, and close the connections."""
        if self._waiting and not self._away:
            try:
                async with asyncio.timeout(1.0):
                    while self._waiting:  # noqa: ASYNC110 - the writer empties it
                        await asyncio.sleep(0.01)
            except TimeoutError:
                logger.warning("%d batches of news were not told", len(self._waiting))
        await end(*self._tasks)
        await self._redis.aclose()

    async def _forever(self, work: Callable[[], Any]) -> None:
        from redis.exceptions import RedisError

        pause_s = _AGAIN_S
        while True:
            try:
                await work()
            except (RedisError, OSError) as error:
                self._lost(work.__name__, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _AGAIN_MOST_S)
            else:
                pause_s = _AGAIN_S

    def _lost(self, work: str, error: Exception) -> None:
        if not self._away:
            logger.warning(
                "the shared state cannot be reached (%s): conversations and failures of other gateways are"
                " not known here until it is back",
                type(error).__name__,
            )
        self._away.add(work)

    def _back(self, work: str) -> None:
        if work in self._away:
            self._away.discard(work)
            if not self._away:
                logger.info("the shared state is back")

    async def _write(self) -> None:
        if not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        while self._waiting:
            news = self._waiting[0]
            told: dict[Any, Any] = {b"from": self._own, b"news": news}
            await self._redis.xadd(self._key, told, maxlen=_KEPT, approximate=True)
            self._back("_write")
            if self._waiting and self._waiting[0] is news:
                self._waiting.popleft()

    async def _read(self) -> None:
        seconds, micros = await self._redis.time()
        # Ages by Redis' own clock: those of machines differ.
        ahead_s = seconds + micros / 1e6 - time.monotonic()
        if self._last is None:
            self._last = f"{int((time.monotonic() + ahead_s - _BACK_S) * 1000)}-0"
        while True:
            found: Any = await self._redis.xread(
                {self._key: self._last}, count=_READ_AT_ONCE, block=int(_READ_S * 1000)
            )
            self._back("_read")
            for _, entries in found or ():
                for name, told in entries:
                    self._last = name.decode()
                    if told.get(b"from") != self._own:
                        age_s = time.monotonic() + ahead_s - int(name.split(b"-")[0]) / 1000
                        self._heard(told.get(b"news", b""), max(0.0, age_s))
                await asyncio.sleep(0)

    def _heard(self, news: bytes, age_s: float) -> None:
        try:
            self._hear(news, age_s)
        except msgspec.MsgspecError:
            logger.warning("news of another gateway cannot be read: is it of another version?")
