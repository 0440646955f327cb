"""Where answers are kept for the cache: in memory, the least recently used forgotten first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

#: What an entry takes beside its bytes: keys, a tuple, a slot in a table. Roughly.
_OVERHEAD_BYTES = 300

Kind = Literal["none", "exact", "semantic"]


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Which answers are given again.

    Args:
        kind: "none"; "exact" = to the same request; "semantic" = also to one whose last user message is
            alike and that is otherwise the same.
        ttl_s: how long an answer is given again.
        max_entries, max_bytes: bounds of what is kept in memory.
        shared: whether one client may be given another's answers.
        only_deterministic: whether only requests with ``temperature: 0`` or a ``seed`` take part.
        similarity: cosine from which on two messages are alike.
    """

    kind: Kind = "none"
    ttl_s: float = 3600.0
    max_entries: int = 100_000
    max_bytes: int = 64 * 1024 * 1024
    shared: bool = False
    only_deterministic: bool = False
    similarity: float = 0.95


class Store(Protocol):
    """Bytes by key, for a while. Belongs to one event loop; never raises for its own sake."""

    async def get(self, key: bytes) -> bytes | None:
        """What is kept under a key and not too old; None = nothing."""

    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keep a value. Does not wait until it is kept."""

    async def clear(self) -> None:
        """Forget everything."""

    async def close(self) -> None:
        """Give back connections."""


class MemoryStore:
    """See ``Store``.

    Args:
        max_entries, max_bytes: past either, what was longest unused goes.
        on_drop: told of every key that goes.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        max_entries: int,
        max_bytes: int,
        on_drop: Callable[[bytes], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._on_drop, self._clock = on_drop, clock
        self._kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def limit(self, max_entries: int, max_bytes: int) -> None:
        """Hold other bounds from now on."""
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._fit()

    async def get(self, key: bytes) -> bytes | None:
        """See ``Store.get``."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[1] <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """See ``Store.put``; a value that alone is beyond the bounds is not kept."""
        if key in self._kept:
            self.n_bytes -= len(self._kept.pop(key)[0]) + _OVERHEAD_BYTES
        self._kept[key] = (value, self._clock() + ttl_s)
        self.n_bytes += len(value) + _OVERHEAD_BYTES
        self._fit()

    async def clear(self) -> None:
        """See ``Store.clear``."""
        self.forget()

    def forget(self) -> None:
        """As ``clear``, at once."""
        for key in list(self._kept):
            self._drop(key)

    async def close(self) -> None:
        """See ``Store.close``."""

    def _fit(self) -> None:
        while self._kept and (len(self._kept) > self._max_entries or self.n_bytes > self._max_bytes):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        self.n_bytes -= len(self._kept.pop(key)[0]) + _OVERHEAD_BYTES
        self._on_drop(key)
