"""Who may come in, what they may ask, and what it is charged to."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.core.frozen import made_fast
from herdwise.core.money import NANOS_PER_USD
from herdwise.serving.charging import Charging
from herdwise.serving.course import Course
from herdwise.serving.ending import end
from herdwise.serving.keyring import Keyring, VirtualKey
from herdwise.serving.ledger import Ledger
from herdwise.serving.meter import LocalMeter, Meter
from herdwise.serving.terms import Expected, Pass

if TYPE_CHECKING:
    from herdwise.serving.meter_redis import RedisMeter

logger = logging.getLogger(__name__)

#: How often keys are read anew: what other gateways made, changed and revoked.
_REFRESH_S = 1.0
#: Least time between two readings for the sake of keys that nobody knows.
_LOOK_S = 0.1
#: How long the last charges may take when the process ends.
_COUNT_S = 2.0


@made_fast
@dataclass(frozen=True, slots=True)
class Client:
    """Whoever sent a request.

    Args:
        scope: digest of the key shown, b"" where none is asked for: what is remembered for one client
            is not another's.
        key: the virtual key; None = a key of the config, which may do everything, or none was asked for.
    """

    scope: bytes = b""
    key: VirtualKey | None = None


ANYBODY = Client()


class Admission:
    """Lets clients in by a key of the config or a virtual one, and meters the virtual ones.

    Virtual keys are kept in the ledger: there are none before ``start``, nor without a ledger.

    Args:
        static: the config's keys.
        admin_key: opens the admin API; with one, everybody else needs a key too.
        state_url: Redis or Valkey that all gateways of this ledger share; None = this one is alone.
    """

    def __init__(
        self, static: Sequence[str], admin_key: str | None = None, state_url: str | None = None
    ) -> None:
        self.change(static, admin_key)
        self._state_url = state_url
        self._keyring: Keyring | None = None
        self._charging: Charging | None = None
        self._watching: asyncio.Task[None] | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._looking, self._looked_at = asyncio.Lock(), -math.inf

    def change(self, static: Sequence[str], admin_key: str | None) -> None:
        """Let other keys of the config in from now on; virtual keys and what they have spent stay."""
        self._static = tuple(key.encode() for key in static)
        self._admin = None if admin_key is None else admin_key.encode()

    async def start(
        self, ledger: Ledger | None, meter: Meter | None = None, *, owner: str = "", heir: bool = False
    ) -> None:
        """Read the virtual keys, and keep them fresh.

        Args:
            ledger: which keeps them.
            meter: counts for them; None = by the shared state, or for this process alone.
            owner: names this process among all that share the state.
            heir: whether another of that name was there before, and has ended.

        Raises:
            MissingExtraError, ConfigError: when the shared state cannot be used.
        """
        if ledger is None:
            return
        ring = ledger.keyring()
        await asyncio.to_thread(ring.refresh)
        if meter is not None:
            pass
        elif self._state_url is None:
            meter = LocalMeter(ledger.charged)
        else:
            from herdwise.serving.meter_redis import RedisMeter

            meter = redis = RedisMeter(self._state_url, ledger.charged, owner=owner)
            self._reconciling = asyncio.create_task(_reconcile(redis, ring, heir=heir))
        self._charging = Charging(meter)
        self._keyring = ring
        self._watching = asyncio.create_task(ring.watch(_REFRESH_S))

    @property
    def keyless(self) -> bool:
        """Whether anybody is let in, as no key is asked for."""
        if self._static or self._admin is not None:
            return False
        return self._keyring is None or self._keyring.empty

    async def close(self) -> None:
        """Give back connections."""
        await end(self._watching, self._reconciling)
        if self._charging is not None:
            await self._charging.close(_COUNT_S)

    def admin(self, headers: Mapping[bytes, bytes]) -> tuple[Keyring, Meter]:
        """What the admin API works on.

        Raises:
            RequestError: 401 without the admin key, 404 where there is no admin API, 501 without a ledger.
        """
        self.check_admin(headers)
        if self._keyring is None or self._charging is None:
            raise RequestError(
                "this endpoint keeps no ledger, and so no virtual keys.",
                status=501,
                code="no_ledger",
                remedy="Set ledger.url.",
            )
        return self._keyring, self._charging.meter

    def check_admin(self, headers: Mapping[bytes, bytes]) -> None:
        """Whether a request shows the admin key.

        Raises:
            RequestError: 401 when it does not, 404 where there is no admin API.
        """
        if self._admin is None:
            raise RequestError(
                "this endpoint has no admin API.", status=404, code="no_admin", remedy="Set server.admin_key."
            )
        if not any(hmac.compare_digest(self._admin, one) for one in shown_keys(headers)):
            raise RequestError("the admin key is missing or not valid.", status=401, code="invalid_api_key")

    def check_overseer(self, headers: Mapping[bytes, bytes]) -> None:
        """Whether a request may see what all clients together do: with any key of the config.

        Raises:
            RequestError: 401 when it shows none and the endpoint asks for keys; a virtual key sees its
                own only.
        """
        keys = self._static if self._admin is None else (*self._static, self._admin)
        if not keys and (self._keyring is None or self._keyring.empty):
            return
        shown = shown_keys(headers)
        matches = [hmac.compare_digest(key, one) for key in keys for one in shown]
        if not any(matches):
            raise RequestError(
                "this takes a key of the config, and it is missing or not valid.",
                status=401,
                code="invalid_api_key",
                remedy="Send one of server.api_keys, or server.admin_key, as 'Authorization: Bearer KEY'.",
            )

    async def client(self, headers: Mapping[bytes, bytes]) -> Client:
        """Who sent a request.

        Args:
            headers: lower-case name -> value.

        Raises:
            RequestError: 401.
        """
        if self.keyless:
            return ANYBODY
        ring = self._keyring
        shown = shown_keys(headers)
        # Every key of the config is compared, each in constant time, so that the time taken tells nothing.
        matches = [hmac.compare_digest(key, one) for key in self._static for one in shown]
        if any(matches):
            return Client(_scope(shown))
        if ring is not None:
            for one in shown:
                key = ring.known(one) or await self._look_again(ring, one)
                if key is not None and key.valid(time.time()):
                    return Client(_scope(shown), key)
        what = "is not valid" if shown else "is missing"
        raise RequestError(
            f"the API key {what}.",
            status=401,
            code="invalid_api_key",
            remedy="Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
        )

    async def _look_again(self, ring: Keyring, shown: bytes) -> VirtualKey | None:
        """A key that nobody knows may have been made by another gateway a moment ago.

        One reading serves all who came before it; readings keep a distance, which slows down guessing too.
        """
        came_at = time.monotonic()
        async with self._looking:
            if self._looked_at < came_at:
                await asyncio.sleep(self._looked_at + _LOOK_S - time.monotonic())
                self._looked_at = time.monotonic()
                await asyncio.to_thread(ring.refresh)
        return ring.known(shown)

    async def begin(self, client: Client) -> Pass | None:
        """Count a request of a virtual key; None for others, who are not metered.

        Raises:
            RequestError: 429, when its minute or a budget is used up.
        """
        key, charging = client.key, self._charging
        if key is None or charging is None:
            return None
        at = time.time()
        return Pass(key, at, await charging.meter.begin(key, at))

    async def reserve(self, admitted: Pass, expected: Expected) -> None:
        """Hold what the request may take: see ``charging.Charging.reserve``.

        Raises:
            RequestError: 429, when that no longer fits; 422, when nobody can say what a candidate costs
                that the request names, and the key has a budget.
        """
        await self._started().reserve(admitted, expected)

    def bind(self, admitted: Pass, course: Course) -> None:
        """Let a consultation plan by what is held for it: see ``charging.Charging.bind``."""
        self._started().bind(admitted, course)

    async def settle(self, admitted: Pass, course: Course) -> None:
        """Charge what the request took: see ``charging.Charging.settle``."""
        await self._started().settle(admitted, course)

    def _started(self) -> Charging:
        if self._charging is None:
            raise HerdwiseError("there is nothing to charge to.")
        return self._charging


async def _reconcile(meter: RedisMeter, ring: Keyring, *, heir: bool) -> None:
    """What another gateway could not count before it ended stands in the ledger; what it held is nobody's."""
    try:
        if heir and (n_requests := await meter.inherit()):
            logger.warning("what %d requests held of budgets is let go: their worker died", n_requests)
        missing = await meter.reconcile(await asyncio.to_thread(ring.all))
    except HerdwiseError as error:
        logger.warning("what was spent could not be compared with the ledger: %s", error)
    else:
        if missing:
            logger.warning("%s USD that the ledger holds were not counted: mended", missing / NANOS_PER_USD)


def shown_keys(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys that a request shows: as a bearer token, as x-api-key, or both."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = token.strip() if scheme.lower() == b"bearer" else b""
    return [key for key in (bearer, headers.get(b"x-api-key", b"").strip()) if key]


def _scope(shown: Sequence[bytes]) -> bytes:
    return hashlib.blake2b(b"\0".join(shown), digest_size=16).digest()
