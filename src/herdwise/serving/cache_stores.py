"""All that the cache keeps in one process, or reaches in Redis, whatever service is served."""

from __future__ import annotations

from herdwise.encoding.base import Encoder
from herdwise.serving.cache_similar import SimilarQuestions
from herdwise.serving.cache_store import CacheSettings, MemoryStore, Store
from herdwise.serving.metrics import Counter, Metrics


class CacheStores:
    """What is kept. Lives through reloads; belongs to one event loop.

    Args:
        settings: the first.
        url: Redis or Valkey that holds the answers; None = this process's memory does.
        metrics: gets the cache's numbers.
    """

    def __init__(self, settings: CacheSettings, url: str | None, metrics: Metrics) -> None:
        self._url = url
        self._memory = MemoryStore(settings.max_entries, settings.max_bytes, self._dropped)
        self._redis: Store | None = None
        self.similar: SimilarQuestions | None = None
        self.lookups: Counter = metrics.counter(
            "herdwise_cache_lookups_total",
            "Requests by what the cache had: hit, similar, miss, or bypass where it was not asked.",
            ("outcome",),
        )
        metrics.gauge(
            "herdwise_cache_entries", "Answers kept in memory.", (), lambda: {(): len(self._memory)}
        )
        metrics.gauge(
            "herdwise_cache_bytes", "What they take, roughly.", (), lambda: {(): self._memory.n_bytes}
        )

    def store(self) -> Store:
        """Where answers are kept.

        Raises:
            MissingExtraError, ConfigError: when Redis cannot be used.
        """
        if self._url is None:
            return self._memory
        if self._redis is None:
            from herdwise.serving.cache_redis import RedisStore

            self._redis = RedisStore(self._url)
        return self._redis

    def questions(self, encoder: Encoder, settings: CacheSettings) -> SimilarQuestions:
        """The index of questions by this encoder; another encoder begins a new one. Nothing holds yet."""
        if self.similar is None or self.similar.encoder is not encoder:
            return SimilarQuestions(encoder, settings.max_entries, settings.max_bytes)
        return self.similar

    def hold(self, settings: CacheSettings, similar: SimilarQuestions | None) -> None:
        """From now on these settings hold; questions are bounded as the answers are, wherever those are kept.

        Args:
            settings: of the service that is served.
            similar: its questions; None = it looks for none, and those of before are kept.
        """
        self._memory.limit(settings.max_entries, settings.max_bytes)
        if similar is not None:
            self.similar = similar
            similar.limit(settings.max_entries, settings.max_bytes)

    async def clear(self) -> None:
        """Forget everything."""
        self.forget()
        if self._redis is not None:
            await self._redis.clear()

    def forget(self) -> None:
        """Forget what this process keeps."""
        self._memory.forget()
        if self.similar is not None:
            self.similar.clear()

    async def close(self) -> None:
        """Give back connections."""
        if self._redis is not None:
            await self._redis.close()

    def _dropped(self, key: bytes) -> None:
        if self.similar is not None:
            self.similar.drop(key)
