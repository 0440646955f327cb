"""A candidate that is asked for data: within a budget, and never twice for the same."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import sys
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from herdwise.backends.base import Backend
from herdwise.core.candidate import Candidate
from herdwise.core.errors import (
    ArtefactError,
    BackendError,
    BadResponseError,
    ConfigError,
    TimeoutError_,
)
from herdwise.experts.set_aside import MAX_SHARE, Ending
from herdwise.profiling import spending
from herdwise.profiling.asking import Asker, Patience
from herdwise.storage.whole_files import append_line

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """One paid answer, a line of the journal.

    Args:
        key: digest of who was asked and what; that of no ask for what a call that broke off may have cost.
        text: what came back.
        finish_reason, input_tokens, output_tokens: as the upstream stated them.
        cost_usd: None = unknown.
    """

    key: str
    text: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


_DECODER = msgspec.json.Decoder(Reply)


class Teacher:
    """Asks one candidate, and keeps what it said.

    A journal holds every reply: the same ask (same candidate, messages, sampling and number) is answered
    from it, so that a run that was killed goes on without paying again. An ask that fails alone is set
    aside; where more than ``max_refused`` of them do, or no other can succeed (key refused, no such model,
    unreachable, five lost in a row), the asking ends: what is under way then is still kept, what was to come
    raises the same error.

    Args:
        candidate: who is asked; its price is what counts.
        backend: reaches it.
        journal: a JSONL file, made where it is missing; one process at a time.
        identity: what stands behind the name, such as the upstream's model; part of what an ask is.
        budget_usd: most that the whole journal may cost, what it holds already included.
        max_tokens: sent with every ask; also bounds what an ask may cost before it is made.
        temperature: sent with every ask; None = the upstream's default.
        concurrency: asks at a time.
        max_refused: share of the asks that may fail, beyond the first ten.
        patience: retries.

    Raises:
        ConfigError: when there is a budget and no price, or another process uses the journal.
        ArtefactError: when the journal is damaged elsewhere than in its last line.

    Attributes:
        spent_usd: cost of the replies whose cost is known, earlier runs included.
        n_asked, n_kept: asks made by this run, and answered from the journal.
        budget_spent: whether an ask was left out for lack of budget.
        ending: asks that failed alone, and why the asking ended.
    """

    def __init__(
        self,
        candidate: Candidate,
        backend: Backend,
        journal: Path,
        *,
        identity: str = "",
        budget_usd: float | None = None,
        max_tokens: int = 1024,
        temperature: float | None = 0.8,
        concurrency: int = 4,
        max_refused: float = MAX_SHARE,
        patience: Patience | None = None,
    ) -> None:
        if budget_usd is not None and not candidate.price.known:
            raise ConfigError(
                f"candidate {candidate.name!r} has no price, so that a budget cannot be kept.",
                remedy="State its price in the config (0 = free), or leave the budget out.",
            )
        self.candidate, self._asker = candidate, Asker(backend, patience or Patience())
        self._identity = identity or candidate.name
        self._budget_usd, self._max_tokens, self._temperature = budget_usd, max_tokens, temperature
        self._slots = asyncio.Semaphore(concurrency)
        self._reserved_usd = 0.0
        self._asking: dict[str, asyncio.Lock] = {}
        self.ending = Ending(f"candidate {candidate.name!r}", max_refused)
        self.n_asked = self.n_kept = 0
        self.budget_spent = False
        journal.parent.mkdir(parents=True, exist_ok=True)
        self._path = journal
        self._file = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, journal)
            self._replies = _read(self._file, journal)
        except BaseException:
            os.close(self._file)
            raise
        self.spent_usd = math.fsum(r.cost_usd or 0.0 for r in self._replies.values())

    def body(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The request that ``ask`` makes."""
        body: dict[str, Any] = {"messages": list(messages), "max_tokens": self._max_tokens}
        if self._temperature is not None:
            body["temperature"] = self._temperature
        return body

    def most_usd(self, messages: Sequence[Mapping[str, Any]]) -> float | None:
        """Most that one ask costs, by its length and ``max_tokens``; None = the price is unknown."""
        return most_usd(self.candidate, messages, self._max_tokens)

    def knows(self, messages: Sequence[Mapping[str, Any]], number: int = 0) -> bool:
        """Whether the journal holds the reply, so that asking costs nothing."""
        return self._key(messages, number) in self._replies

    async def ask(self, messages: Sequence[Mapping[str, Any]], number: int = 0) -> Reply | None:
        """What the candidate says; None where the budget does not reach for the ask.

        Args:
            messages: in OpenAI's shape.
            number: tells asks apart that are the same otherwise, such as several samples.

        Raises:
            BackendError: when it cannot answer this; ``ending.error`` tells whether others may be asked.
        """
        key = self._key(messages, number)
        # The same ask, made twice at a time, is paid for once.
        async with self._asking.setdefault(key, asyncio.Lock()):
            if key in self._replies:
                self.n_kept += 1
                return self._replies[key]
            async with self._slots:
                return await self._paid(key, messages)

    async def _paid(self, key: str, messages: Sequence[Mapping[str, Any]]) -> Reply | None:
        if self.ending.error is not None:
            raise self.ending.error
        reserve = self.most_usd(messages) or 0.0
        if self._budget_usd is not None and self.spent_usd + self._reserved_usd + reserve > self._budget_usd:
            self.budget_spent = True
            return None
        self._reserved_usd += reserve
        try:
            completion = await self._asker.ask(self.body(messages))
        except BackendError as error:
            if reserve and isinstance(error, TimeoutError_ | BadResponseError):
                # Work was done for these, and may be billed.
                self._keep(Reply(f"lost {key} {time.time_ns()}", "", cost_usd=reserve))
                self.spent_usd += reserve
            asked = str(messages[-1].get("content", ""))
            answered = self.n_asked + self.n_kept
            self.ending.count(error, asked, n_answered=answered, gave_up=self._asker.gave_up)
            raise
        finally:
            self._reserved_usd -= reserve
        used = completion.usage
        cost = self.candidate.price.cost_usd(used.input_tokens, used.output_tokens)
        if cost is None and self._budget_usd is not None:
            cost = reserve  # tokens were not told: the most that it can have cost counts
        reply = Reply(
            key, completion.text, completion.finish_reason, used.input_tokens, used.output_tokens, cost
        )
        self._keep(reply)
        self.n_asked += 1
        self.spent_usd += cost or 0.0
        return reply

    def _key(self, messages: Sequence[Mapping[str, Any]], number: int) -> str:
        asked = [self._identity, self.body(messages), number]
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()

    def _keep(self, reply: Reply) -> None:
        append_line(self._file, msgspec.json.encode(reply) + b"\n", self._path)
        self._replies[reply.key] = reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


async def all_of(asks: Iterable[Awaitable[T]]) -> list[T]:
    """Results in order. Where one fails, the others end first: what they paid for is kept."""
    found = await asyncio.gather(*asks, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if not isinstance(each, BaseException)]


def most_usd(candidate: Candidate, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> float | None:
    """Most that one ask costs, a token per byte of its messages; None = the price is unknown."""
    return spending.most_usd(candidate.price, messages, {"max_tokens": max_tokens})


def _lock(file: int, path: Path) -> None:
    """Two processes that fill one journal would pay everything twice. The lock ends with its process."""
    if sys.platform == "win32":  # no flock there
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError(
            f"{path} is in use: another process asks the teacher.", remedy="Wait for it, or end it."
        ) from error


def _read(file: int, path: Path) -> dict[str, Reply]:
    """The journal's replies; a last line that a kill cut off is taken away."""
    content = b""
    while piece := os.read(file, 1 << 20):
        content += piece
    found: dict[str, Reply] = {}
    whole = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            reply = _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            if not line.endswith(b"\n"):
                break
            raise ArtefactError(
                f"{path}, line {number}: {error}",
                remedy="Mend or remove that line, or choose another folder.",
            ) from error
        whole += len(line)
        found[reply.key] = reply
    os.ftruncate(file, whole)
    if whole and not content[:whole].endswith(b"\n"):
        os.write(file, b"\n")
    return found
