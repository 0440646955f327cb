"""The cache in Redis or Valkey, shared by several gateways. An outage makes misses, never errors."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from herdwise.serving.meter_redis import connect

logger = logging.getLogger(__name__)

#: A cache that takes longer than this to answer saves nobody's time.
_WAIT_S = 0.5
#: After a failure, how long Redis is left alone, so that an outage does not slow every request down.
_REST_S = 2.0
#: Most writes that wait; past it answers are not kept.
_MOST_WRITES = 256


class RedisStore:
    """See ``cache_store.Store``.

    Args:
        url: such as ``redis://127.0.0.1:6379/0``. What it keeps is bounded by its own ``maxmemory`` and
            ``maxmemory-policy``, and by the answers' time.
        prefix: put before every key.

    Raises:
        MissingExtraError, ConfigError: see ``meter_redis.connect``.
    """

    def __init__(self, url: str, prefix: str = "herdwise:cache:") -> None:
        self._redis: Any = connect(url)
        self._prefix = prefix.encode()
        self._writes: set[asyncio.Task[None]] = set()
        self._failing, self._rest_until = False, 0.0

    async def get(self, key: bytes) -> bytes | None:
        """See ``Store.get``."""
        if self._failing and time.monotonic() < self._rest_until:
            return None
        try:
            async with asyncio.timeout(_WAIT_S):
                found: bytes | None = await self._redis.get(self._prefix + key)
        except _errors() as error:
            self._failed(error)
            return None
        self._works()
        return found

    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See ``Store.put``."""
        if len(self._writes) >= _MOST_WRITES or (self._failing and time.monotonic() < self._rest_until):
            return
        writing = asyncio.create_task(self._put(key, value, max(1, round(1000 * ttl_s))))
        self._writes.add(writing)
        writing.add_done_callback(self._writes.discard)

    async def _put(self, key: bytes, value: bytes, ttl_ms: int) -> None:
        try:
            await self._redis.set(self._prefix + key, value, px=ttl_ms)
        except _errors() as error:
            self._failed(error)

    async def clear(self) -> None:
        """See ``Store.clear``: the cache's own keys, nothing else in that database."""
        try:
            batch: list[bytes] = []
            async for key in self._redis.scan_iter(match=self._prefix + b"*", count=1000):
                batch.append(key)
                if len(batch) >= 1000:
                    await self._redis.unlink(*batch)
                    batch.clear()
            if batch:
                await self._redis.unlink(*batch)
        except _errors() as error:
            self._failed(error)

    async def close(self) -> None:
        """See ``Store.close``; what is being written is written first."""
        await asyncio.gather(*self._writes)
        await self._redis.aclose()

    def _failed(self, error: BaseException) -> None:
        self._rest_until = time.monotonic() + _REST_S
        if not self._failing:
            self._failing = True
            logger.warning(
                "the cache cannot be reached (%s); requests go on without it", type(error).__name__
            )

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            logger.warning("the cache can be reached again")


def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError, TimeoutError)
