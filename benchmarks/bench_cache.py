"""What the cache costs a request: CPU microseconds to look it up, and to give an answer again.

    python benchmarks/bench_cache.py
    python benchmarks/bench_cache.py --entries 100000

In process, without HTTP: a chat of one message of some 400 characters and a system prompt of 1,500.
"semantic" compares with all entries, which are questions of one group: its worst case.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import msgspec
import numpy as np

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.routing.declared import DeclaredRouter
from herdwise.routing.single import Single
from herdwise.serving.admission import ANYBODY
from herdwise.serving.cache import Cache, cached_course
from herdwise.serving.cache_answer import CachedAnswer, as_chunks
from herdwise.serving.cache_key import alike_key, request_key
from herdwise.serving.cache_store import CacheSettings, Kind
from herdwise.serving.cache_stores import CacheStores
from herdwise.serving.metrics import Metrics
from herdwise.serving.service import Service, Settings
from herdwise.serving.wire.openai_chat import ChatRequest, chat_request

_SYSTEM = "You answer questions about the handbook of a small company. " * 25
_WORDS = ("river", "stone", "cloud", "music", "apple", "engine", "winter", "garden", "paper", "copper")


def service(kind: Kind, entries: int) -> Service:
    """One that is never asked."""
    settings = CacheSettings(kind=kind, max_entries=entries + 10, max_bytes=2**40, similarity=0.999)
    return Service(
        ranker=DeclaredRouter(Herd([Candidate("one", quality=0.5)])),
        backends={"one": OpenAICompatible("one", "http://127.0.0.1:9/v1")},
        policies={"single": Single()},
        settings=Settings(cache=settings),
    )


def request(text: str, of: Service) -> ChatRequest:
    """A chat."""
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    return chat_request({"model": "auto", "temperature": 0, "messages": messages}, {}, of)


def answer(i: int) -> bytes:
    """An entry of some 1,200 characters."""
    message = {"role": "assistant", "content": "The handbook says so. " * 50}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": str(i), "object": "chat.completion", "created": 1, "choices": [choice]}
    return msgspec.json.encode(CachedAnswer(f"{i}", "one", time.time(), body))


async def measure(kind: Kind, entries: int, looks: int) -> None:
    """Print one row per kind of look-up."""
    rng = np.random.default_rng(0)
    own = service(kind, entries)
    stores = CacheStores(own.settings.cache, None, Metrics())
    cache, store = Cache(own, stores), stores.store()
    cache.hold()
    asked = [request(" ".join(rng.choice(_WORDS, 65)), own) for _ in range(entries)]
    for i, one in enumerate(asked):
        key = request_key(one, ANYBODY, ["one"], shared=False)
        store.put(key, answer(i), 1e6)
        if (
            stores.similar is not None
            and (found := alike_key(one, ANYBODY, ["one"], shared=False)) is not None
        ):
            stores.similar.add(found[0], key, found[1], stores.similar.vector(found[1]))
    known = [asked[int(i)] for i in rng.integers(0, entries, looks)]
    fresh = [request(" ".join(rng.choice(_WORDS, 66)), own) for _ in range(looks)]
    for batch in (known, fresh):
        started = time.process_time()
        found_all = [await cache.look(one, ANYBODY, {}) for one in batch]
        spent = time.process_time() - started
        told = ", ".join(sorted({looked.told for looked in found_all}))
        print(f"{kind:>9} {entries:>8,} entries   {told:<22} {1e6 * spent / looks:8.1f} us")
        if batch is known and kind == "exact":
            started = time.process_time()
            for one, looked in zip(batch, found_all, strict=True):
                cached_course(looked, one, ANYBODY, own.ranker.herd, "id", 0.0)
                if looked.answer is not None:
                    list(as_chunks(looked.answer.body))
            spent = time.process_time() - started
            print(
                f"{kind:>9} {entries:>8,} entries   {'course, as chunks':<22} {1e6 * spent / looks:8.1f} us"
            )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--looks", type=int, default=2_000)
    options = parser.parse_args()
    kinds: tuple[Kind, ...] = ("exact", "semantic")
    for kind in kinds:
        asyncio.run(measure(kind, options.entries, options.looks))


if __name__ == "__main__":
    main()
