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

import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.decision import Constraints, Goals
from herdwise.core.errors import HerdwiseError, NoCandidateError, RequestError
from herdwise.core.money import NANOS_PER_USD, to_nanos
from herdwise.routing.base import Situation
from herdwise.serving.course import Course
from herdwise.serving.keyring import Keyring, VirtualKey
from herdwise.serving.ledger import Ledger
from herdwise.serving.meter import LocalMeter, Meter, Reservation, period_end

logger = logging.getLogger(__name__)

#: How often keys are read anew: what other gateways made, changed and revoked.
_REFRESH_S = 1.0
#: Least time between two readings for the sake of keys that nobody knows.
_LOOK_S = 0.1
#: Tokens that an answer is taken to have where nothing is predicted and the request sets no limit.
_ASSUMED_OUTPUT_TOKENS = 500


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


@dataclass(slots=True)
class Pass:
    """What a virtual key holds for one request.

    Args:
        key: whose.
        at: Unix time of the request.
        left_nanos: left in its tightest budget, None = it has no budget.
        held: what is reserved, once it is known who will probably be asked.
    """

    key: VirtualKey
    at: float
    left_nanos: int | None
    held: Reservation | None = None


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
        self._meter: Meter | None = None
        self._watching: asyncio.Task[None] | None = None
        self._looking, self._looked_at = asyncio.Lock(), -math.inf
        self._settling: set[asyncio.Task[None]] = set()

    def change(self, static: Sequence[str], admin_key: str | None) -> None:
        """Let other keys of the config in from now on; virtual keys and what they have spent stay."""
        self._static = tuple(key.encode() for key in static)
        self._admin = None if admin_key is None else admin_key.encode()

    async def start(self, ledger: Ledger | None) -> None:
        """Read the virtual keys, and keep them fresh.

        Raises:
            MissingExtraError, ConfigError: when the shared state cannot be used.
        """
        if ledger is None:
            return
        ring = ledger.keyring()
        await asyncio.to_thread(ring.refresh)
        if self._state_url is None:
            self._meter = LocalMeter(ledger.charged)
        else:
            from herdwise.serving.meter_redis import RedisMeter

            self._meter = RedisMeter(self._state_url, ledger.charged)
        self._keyring = ring
        self._watching = asyncio.create_task(ring.watch(_REFRESH_S))

    async def close(self) -> None:
        """Give back connections."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await asyncio.gather(*self._settling)
        if self._meter is not None:
            await self._meter.close()

    def admin(self, headers: Mapping[bytes, bytes]) -> tuple[Keyring, Meter]:
        """What the admin API works on.

        Raises:
            RequestError: 401 without the admin key, 404 where there is no admin API, 501 without a ledger.
        """
        self.check_admin(headers)
        if self._keyring is None or self._meter is None:
            raise RequestError(
                "this endpoint keeps no ledger, and so no virtual keys.",
                status=501,
                code="no_ledger",
                remedy="Set ledger.url.",
            )
        return self._keyring, self._meter

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
        ring = self._keyring
        if not self._static and self._admin is None and (ring is None or ring.empty):
            return ANYBODY
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
        key, meter = client.key, self._meter
        if key is None or meter is None:
            return None
        at = time.time()
        return Pass(key, at, await meter.begin(key, at))

    async def reserve(self, admitted: Pass, situation: Situation, max_tokens: int | None) -> None:
        """Hold what the request will probably take: what the best-ranked candidate is predicted to.

        Raises:
            RequestError: 429, when that no longer fits; 422, when nobody can say what a candidate costs
                that the request names, and the key has a budget.
        """
        key, meter = admitted.key, self._meter
        if meter is None:
            raise HerdwiseError("there is nothing to reserve with.")
        usd, tokens = _expected(situation, max_tokens)
        if key.terms.budgets and math.isnan(usd):
            raise RequestError(
                f"key {key.name!r} has a budget, and nobody knows what the candidate costs.",
                status=422,
                code="unknown_cost",
                remedy="Give the candidate a price in the config.",
            )
        nanos = to_nanos(usd) if key.terms.budgets else 0
        admitted.held = await meter.reserve(key, admitted.at, nanos, tokens)

    async def settle(self, admitted: Pass, course: Course) -> None:
        """Charge what the request took; a client that goes away meanwhile does not stop that.

        Never raises for the meter's sake: an answer that is there is given, also where nobody can count it.
        """
        held = admitted.held
        if held is None:
            return
        usage = course.usage()
        nanos = course.charged_nanos() or 0
        known = usage.input_tokens is not None and usage.output_tokens is not None
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0) if known else held.tokens
        settling = asyncio.create_task(self._charge(admitted.key, held, nanos, tokens))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        await asyncio.shield(settling)

    async def _charge(self, key: VirtualKey, held: Reservation, nanos: int, tokens: int) -> None:
        if self._meter is None:
            return
        try:
            await self._meter.settle(key, held, nanos, tokens)
        except HerdwiseError as error:
            logger.error(
                "%s USD of key %s could not be counted (the ledger has them): %s",
                nanos / NANOS_PER_USD,
                key.key_id,
                error,
            )


def within(goals: Goals, admitted: Pass, herd: Herd) -> Goals:
    """The goals, narrowed to what a key may do and can still pay."""
    terms, limits = admitted.key.terms, goals.constraints
    changes: dict[str, object] = {}
    if terms.candidates is not None:
        allowed = frozenset(terms.candidates) & frozenset(herd.names)  # others may have left since
        changes["candidates"] = allowed if limits.candidates is None else allowed & limits.candidates
    if admitted.left_nanos is not None:
        left_usd = admitted.left_nanos / NANOS_PER_USD
        # Who is predicted to cost more than what is left, or whose cost nobody knows, is not asked.
        changes["max_cost_usd"] = (
            left_usd if limits.max_cost_usd is None else min(left_usd, limits.max_cost_usd)
        )
        total = left_usd if goals.max_total_usd is None else min(left_usd, goals.max_total_usd)
        goals = goals.replace(max_total_usd=total)
    if not changes:
        return goals
    stated = {name: getattr(limits, name) for name in Constraints.__dataclass_fields__}
    return goals.replace(constraints=Constraints(**(stated | changes)))


def too_dear(admitted: Pass | None, error: NoCandidateError) -> RequestError | None:
    """Nobody meets the constraints: whether what is left of the key's budget is why, as an error."""
    if admitted is None or admitted.left_nanos is None:
        return None
    if not any(reason.startswith("predicted cost_usd") for reason in error.removed.values()):
        return None
    tightest = min(admitted.key.terms.budgets, key=lambda budget: period_end(budget.period, 0.0) or math.inf)
    end = period_end(tightest.period, admitted.at)
    return RequestError(
        f"{admitted.left_nanos / NANOS_PER_USD:g} USD is left of the budget of key {admitted.key.name!r}:"
        " less than any candidate that may answer is predicted to cost.",
        status=429,
        code="insufficient_quota",
        retry_after_s=None if end is None else end - admitted.at,
    )


def check_terms(key: VirtualKey, policy: str, candidate: str | None) -> None:
    """Whether a key may ask so.

    Args:
        key: whose.
        policy: who is to decide.
        candidate: who is to answer, where the request names one.

    Raises:
        RequestError: 403.
    """
    terms = key.terms
    if candidate is not None and terms.candidates is not None and candidate not in terms.candidates:
        raise RequestError(
            f"key {key.name!r} may not ask {candidate!r}.",
            status=403,
            param="model",
            code="candidate_not_allowed",
            remedy=f"It may ask {', '.join(terms.candidates)}.",
        )
    named = "direct" if candidate is not None else policy
    if terms.policies is not None and named not in terms.policies:
        raise RequestError(
            f"key {key.name!r} may not use policy {named!r}.",
            status=403,
            param="model",
            code="policy_not_allowed",
            remedy=f"It may use {', '.join(terms.policies)}.",
        )


def shown_keys(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys that a request shows: as a bearer token, as x-api-key, or both."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = token.strip() if scheme.lower() == b"bearer" else b""
    return [key for key in (bearer, headers.get(b"x-api-key", b"").strip()) if key]


def _scope(shown: Sequence[bytes]) -> bytes:
    return hashlib.blake2b(b"\0".join(shown), digest_size=16).digest()


def _expected(situation: Situation, max_tokens: int | None) -> tuple[float, int]:
    """USD (NaN = unknown) and tokens that the best-ranked candidate will probably take."""
    first = int(np.argmax(situation.utility))
    asked = situation.query.input_tokens
    answer = float(situation.estimates.output_tokens[first])
    if math.isnan(answer):
        answer = float(max_tokens if max_tokens is not None else _ASSUMED_OUTPUT_TOKENS)
    elif max_tokens is not None:
        answer = min(answer, float(max_tokens))
    usd = float(situation.estimates.cost_usd[first])
    if math.isnan(usd):
        price = situation.herd[first].price.cost_usd(asked, answer)
        usd = math.nan if price is None else price
    return usd, math.ceil(asked + answer)
