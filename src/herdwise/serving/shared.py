"""What gateways, or the workers of one, tell each other: who has which conversation, who is left alone.

Everybody decides by a copy of their own. What is new is told in batches off the path of requests, and heard
a moment later; while nobody can be told, everybody goes on alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from herdwise.serving.health import BreakerChange, Breakers
from herdwise.serving.threads import Threads

#: Least time between two batches: what is new meanwhile waits for more of it.
_GATHER_S = 0.02
#: Most conversations told at once.
_MOST_AT_ONCE = 1000


class News(msgspec.Struct, array_like=True):
    """One batch.

    Args:
        threads: conversations' digests and who has them.
        breakers: candidate, seconds from now on for which it is left alone (None = it answers again),
            whether a rate limit said so.
        cleared: whether the answers that are kept are to be forgotten.
    """

    threads: list[tuple[bytes, str]]
    breakers: list[tuple[str, float | None, bool]]
    cleared: bool = False


class Channel(Protocol):
    """Carries news to everybody else."""

    def send(self, news: bytes) -> None:
        """Queue a batch. Never blocks."""


class Shared:
    """Between what one process knows and a channel. Belongs to one event loop.

    Args:
        threads: the conversations known here.
        breakers: those of the herd of the moment.
        share_breakers: whether a candidate that fails for others is left alone here.

    Attributes:
        on_cleared: called when somebody else had the cache emptied.
    """

    def __init__(
        self, threads: Threads, breakers: Callable[[], Breakers], *, share_breakers: bool = True
    ) -> None:
        self._threads, self._breakers, self._share_breakers = threads, breakers, share_breakers
        self._encode, self._decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(News).decode
        self._channel: Channel | None = None
        self._news = News([], [])
        self.on_cleared: Callable[[], None] | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._sent_at = 0.0

    def begin(self, channel: Channel) -> None:
        """Tell what is new from now on."""
        self._channel = channel
        self._threads.on_note = self._note_thread
        self.watch(self._breakers())

    def watch(self, breakers: Breakers) -> None:
        """Tell what changes of a herd's breakers."""
        if self._channel is not None and self._share_breakers:
            breakers.on_change = self._note_breaker

    def end(self) -> None:
        """Tell what waits, and nothing from now on."""
        self._threads.on_note = None
        if self._sending is not None:
            self._sending.cancel()
            self._send()
        self._channel = None

    def hear(self, news: bytes, age_s: float) -> None:
        """Somebody else's news, told so many seconds ago.

        Raises:
            msgspec.DecodeError: when it cannot be read, as another version wrote it.
        """
        heard = self._decode(news)
        for key, candidate in heard.threads:
            self._threads.hear(key, candidate, age_s)
        if heard.cleared and self.on_cleared is not None:
            self.on_cleared()
        if not self._share_breakers:
            return
        breakers = self._breakers()
        for name, open_s, limited in heard.breakers:
            left_s = None if open_s is None else open_s - age_s
            if left_s is None or left_s > 0:
                breakers.hear(BreakerChange(name, left_s, limited))

    def tell_cleared(self) -> None:
        """The cache was emptied here: the others are to empty theirs."""
        if self._channel is not None:
            self._news.cleared = True
            self._soon()

    def _note_thread(self, key: bytes, candidate: str) -> None:
        self._news.threads.append((key, candidate))
        if len(self._news.threads) >= _MOST_AT_ONCE:
            self._send()
        else:
            self._soon()

    def _note_breaker(self, change: BreakerChange) -> None:
        self._news.breakers.append((change.candidate, change.open_s, change.rate_limited))
        self._soon()

    def _soon(self) -> None:
        """At once, where nothing was told for a while: the next request may be on its way to another."""
        if self._sending is None:
            loop = asyncio.get_running_loop()
            self._sending = loop.call_at(max(loop.time(), self._sent_at + _GATHER_S), self._send)

    def _send(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        news, self._news = self._news, News([], [])
        if self._channel is not None and (news.threads or news.breakers or news.cleared):
            self._sent_at = asyncio.get_running_loop().time()
            self._channel.send(self._encode(news))
