"""One meter for all workers of an endpoint, kept by the process that started them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.serving.keyring import Budget, VirtualKey
from herdwise.serving.meter import HOLD_S, Left, LocalMeter, Reservation
from herdwise.serving.peer import Handler, Peer

#: How long a worker waits for an answer: it takes the other end a look at the ledger at most.
_WITHIN_S = 10.0


#: Asks the worker whose question is being answered; each question has a task, and so a context, of its own.
_ask: ContextVar[Callable[..., Awaitable[Any]]] = ContextVar("_ask")


class WorkersMeter:
    """See ``meter.Meter``: a worker's end.

    Args:
        peer: the line to whoever counts.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    async def begin(self, key: VirtualKey, at: float) -> Left | None:
        """See ``Meter.begin``."""
        found = await self._ask("begin", {"key": key, "at": at})
        return None if found is None else msgspec.convert(found, Left)

    async def reserve(
        self, key: VirtualKey, at: float, nanos: int, tokens: int, most_nanos: int = 0
    ) -> Reservation:
        """See ``Meter.reserve``."""
        what = {"key": key, "at": at, "nanos": nanos, "tokens": tokens, "most_nanos": most_nanos}
        return msgspec.convert(await self._ask("reserve", what), Reservation)

    async def settle(
        self, key: VirtualKey, held: Reservation, nanos: int, tokens: int, *, again: bool = False
    ) -> None:
        """See ``Meter.settle``."""
        what = {"key": key, "held": held, "nanos": nanos, "tokens": tokens, "again": again}
        await self._ask("settle", what)

    async def spent(self, key: VirtualKey, budget: Budget, at: float) -> int:
        """See ``Meter.spent``."""
        found: int = await self._ask("spent", {"key": key, "budget": budget, "at": at})
        return found

    async def close(self) -> None:
        """Nothing to give back: the line is the link's."""

    async def _ask(self, what: str, body: Mapping[str, Any]) -> Any:
        try:
            return await self._peer.ask(what, body, within_s=_WITHIN_S)
        except RequestError:
            raise
        except HerdwiseError as error:
            raise RequestError(
                f"the shared state cannot be reached ({error.message.rstrip('.')}).",
                status=503,
                code="state_unavailable",
                retry_after_s=1.0,
            ) from error


class Till:
    """The other end: counts for all workers, and lets go of what a worker held that has died."""

    def __init__(self) -> None:
        self._meter = LocalMeter(_charged)
        self._held: dict[int, dict[str, tuple[VirtualKey, Reservation]]] = {}

    def handlers(self, worker: int, ask: Callable[..., Awaitable[Any]]) -> dict[str, Handler]:
        """Question -> what answers it, for one worker.

        Args:
            worker: names it.
            ask: asks it, as ``Peer.ask``: who brings a key reads the ledger for it, should that be needed.
        """
        held = self._held.setdefault(worker, {})

        async def begin(body: Any) -> Any:
            _ask.set(ask)
            return await self._meter.begin(_key(body), body["at"])

        async def reserve(body: Any) -> Any:
            _ask.set(ask)
            key = _key(body)
            amounts = (body["nanos"], body["tokens"], body["most_nanos"])
            made = await self._meter.reserve(key, body["at"], *amounts)
            if self._held.get(worker) is not held:  # it has died meanwhile
                await self._meter.settle(key, made, 0, made.tokens)
                return made
            for name in [name for name, (_, one) in held.items() if one.at + HOLD_S <= made.at]:
                del held[name]
            held[made.id] = key, made
            return made

        async def settle(body: Any) -> Any:
            one = msgspec.convert(body["held"], Reservation)
            held.pop(one.id, None)
            again = body["again"]
            await self._meter.settle(_key(body), one, body["nanos"], body["tokens"], again=again)

        async def spent(body: Any) -> Any:
            _ask.set(ask)
            return await self._meter.spent(_key(body), msgspec.convert(body["budget"], Budget), body["at"])

        return {"begin": begin, "reserve": reserve, "settle": settle, "spent": spent}

    async def release(self, worker: int) -> None:
        """A worker has ended: what it still held is nobody's any more. What it charged stays charged."""
        for key, one in self._held.pop(worker, {}).values():
            await self._meter.settle(key, one, 0, one.tokens)


async def _charged(key_id: str, since: float) -> int:
    found: int = await _ask.get()("charged", (key_id, since), within_s=_WITHIN_S)
    return found


def _key(body: Mapping[str, Any]) -> VirtualKey:
    return msgspec.convert(body["key"], VirtualKey)
