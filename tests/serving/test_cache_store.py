"""Where the cache keeps answers: bounded, for a while, in memory or in a real Redis that may go away."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

import pytest

from herdwise.serving import cache_redis
from herdwise.serving.cache_redis import RedisStore
from herdwise.serving.cache_store import CacheSettings, MemoryStore


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that takes half a second is passed over, which on a busy machine would be a miss."""
    monkeypatch.setattr(cache_redis, "_WAIT_S", 30.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_what_is_too_old_is_gone_and_takes_no_room() -> None:
    clock, gone = Clock(), list[bytes]()
    store = MemoryStore(10, 10_000, gone.append, clock)
    store.put(b"a", b"x", ttl_s=5)
    clock.now += 4.9
    assert await store.get(b"a") == b"x"
    clock.now += 0.2
    assert await store.get(b"a") is None
    assert (gone, len(store), store.n_bytes) == ([b"a"], 0, 0)


async def test_the_longest_unused_goes_first() -> None:
    store = MemoryStore(2, 10_000)
    store.put(b"a", b"1", 60)
    store.put(b"b", b"2", 60)
    await store.get(b"a")
    store.put(b"c", b"3", 60)
    assert [await store.get(key) for key in (b"a", b"b", b"c")] == [b"1", None, b"3"]


async def test_memory_stays_below_its_bound_whatever_comes() -> None:
    store = MemoryStore(1000, 50_000)
    for i in range(200):
        store.put(bytes([i]), b"x" * (i * 37 % 5000), 60)
        assert store.n_bytes <= 50_000
    assert len(store) > 3
    store.put(b"huge", b"x" * 60_000, 60)
    assert await store.get(b"huge") is None
    store.limit(1, 50_000)
    assert len(store) <= 1


@pytest.fixture
async def other(redis_url: str) -> Any:
    store = RedisStore(redis_url, prefix=f"test-{uuid.uuid4().hex}:")
    yield store
    await store.clear()
    await store.close()


async def kept(store: RedisStore, key: bytes) -> bytes | None:
    """What is kept, once the writes have ended."""
    await asyncio.gather(*store._writes)
    return await store.get(key)


async def test_redis_keeps_answers_and_forgets_only_its_own(other: RedisStore) -> None:
    await other._redis.set("somebody-else's", b"1")
    other.put(b"\x00\xff", b"value", 60)
    assert await kept(other, b"\x00\xff") == b"value"
    assert 0 < await other._redis.pttl(other._prefix + b"\x00\xff") <= 60_000
    await other.clear()
    assert await other.get(b"\x00\xff") is None
    assert await other._redis.get("somebody-else's") == b"1"


async def test_two_gateways_share_answers_by_redis(endpoint: Any, redis_url: str) -> None:
    settings = {"cache": CacheSettings(kind="exact"), "cache_url": redis_url}
    one, two = await endpoint(**settings), await endpoint(**settings)
    text = uuid.uuid4().hex
    async with asyncio.timeout(60):
        while (await one.chat(text)).headers["x-herdwise-cache"] != "hit":
            pass
    hit = await two.chat(text, stream=True)
    assert two.upstreams["large"].bodies == []
    assert (hit.headers["x-herdwise-cache"], hit.text) == ("hit", f"echo: {text}")


async def test_without_its_redis_the_endpoint_goes_on_and_says_so_once(
    endpoint: Any, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"cache": CacheSettings(kind="exact"), "cache_url": f"redis://127.0.0.1:{closed_port}/0"}
    e = await endpoint(**settings)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            reply = await e.chat()
            assert (reply.status, reply.headers["x-herdwise-cache"]) == (200, "miss")
    told = [r.getMessage() for r in caplog.records if "the cache cannot be reached" in r.getMessage()]
    assert len(told) == 1


async def test_a_redis_that_comes_back_is_used_again(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(redis_url, prefix=f"test-{uuid.uuid4().hex}:")
    store.put(b"a", b"1", 60)
    assert await kept(store, b"a") == b"1"
    store._failed(OSError())
    assert await store.get(b"a") is None
    store._rest_until = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert await store.get(b"a") == b"1"
    assert "can be reached again" in caplog.text
    await store.close()


async def test_what_another_version_kept_is_asked_anew(endpoint: Any, redis_url: str) -> None:
    e = await endpoint(cache=CacheSettings(kind="exact"), cache_url=redis_url)
    text = uuid.uuid4().hex
    first = await e.chat(text)
    writer = RedisStore(redis_url)
    found: list[bytes] = []
    async with asyncio.timeout(60):
        while not found:
            every = [key async for key in writer._redis.scan_iter(match=b"herdwise:cache:*")]
            found = [key for key in every if text.encode() in (await writer._redis.get(key) or b"")]
    await writer._redis.set(found[0], b'{"another": "form"}')
    again = await e.chat(text)
    assert (again.headers["x-herdwise-cache"], again.json["choices"]) == ("miss", first.json["choices"])
    await writer.close()


async def test_what_is_emptied_at_one_gateway_is_emptied_at_the_others(endpoint: Any, redis_url: str) -> None:
    settings = {"cache": CacheSettings(kind="exact"), "state_url": redis_url, "admin_key": "admin-secret"}
    settings["api_keys"] = ("one",)
    key = {"authorization": "Bearer one"}
    one, two = await endpoint(**settings), await endpoint(**settings)
    for e in (one, two):
        assert [(await e.chat(headers=key)).headers["x-herdwise-cache"] for _ in "ab"] == ["miss", "hit"]
    async with asyncio.timeout(60):
        while (await two.chat(headers=key)).headers["x-herdwise-cache"] == "hit":
            # Told once may be before the other listens.
            cleared = await one.send(
                "DELETE", "/admin/v1/cache", headers={"authorization": "Bearer admin-secret"}
            )
            assert cleared.status == 200
            await asyncio.sleep(0.05)
    assert (await one.chat(headers=key)).headers["x-herdwise-cache"] == "miss"
