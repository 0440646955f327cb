"""The admin API: virtual keys, made, changed, watched and revoked; reloads. For the admin key alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from herdwise.core.errors import HerdwiseError, InputError, RequestError
from herdwise.core.money import NANOS_PER_USD
from herdwise.serving.access import read_body
from herdwise.serving.admission import Admission
from herdwise.serving.keyring import Keyring, Terms, VirtualKey
from herdwise.serving.meter import Meter, period_end
from herdwise.serving.wire.errors import from_exception, wire_error
from herdwise.serving.wire.openai_chat import decode

_MOST_BYTES = 64 * 1024
_Body = TypeVar("_Body")
_Handler = Callable[[Request, Keyring, Meter], Awaitable[Any]]
_Time = Annotated[float, msgspec.Meta(gt=0)] | None | UnsetType


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/v1/keys. ``expires_at`` is a Unix time."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    terms: Terms = Terms()
    expires_at: Annotated[float, msgspec.Meta(gt=0)] | None = None


class KeyChanges(msgspec.Struct, forbid_unknown_fields=True):
    """The body of PATCH /admin/v1/keys/{key_id}: what is left out stays; ``terms`` are replaced whole."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    terms: Terms | UnsetType = UNSET
    expires_at: _Time = UNSET


class AdminEndpoints:
    """The admin endpoints of one service.

    Args:
        admission: knows the admin key.
        reload: reads the config anew, and tells what came of it as JSON values.
        clear_cache: forgets all answers that are kept.
    """

    def __init__(
        self,
        admission: Admission,
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        clear_cache: Callable[[], Awaitable[None]],
    ) -> None:
        self._admission, self._reload, self._clear_cache = admission, reload, clear_cache

    def routes(self) -> list[Route]:
        """Their paths."""
        one = "/admin/v1/keys/{key_id}"
        return [
            Route("/admin/v1/keys", self._guarded(self.create), methods=["POST"]),
            Route("/admin/v1/keys", self._guarded(self.list), methods=["GET"]),
            Route("/admin/v1/reload", self.reload, methods=["POST"]),
            Route("/admin/v1/cache", self.clear_cache, methods=["DELETE"]),
            Route(one, self._guarded(self.show), methods=["GET"]),
            Route(one, self._guarded(self.change), methods=["PATCH"]),
            Route(one, self._guarded(self.revoke), methods=["DELETE"]),
        ]

    def _guarded(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                ring, meter = self._admission.admin(dict(request.scope["headers"]))
                return _json(await handler(request, ring, meter))
            except InputError as error:
                told = from_exception(error)
            except HerdwiseError as error:
                told = wire_error(str(error), status=503, code="ledger_unavailable")
            return _json(told.body, told.status, dict(told.headers))

        return guarded

    async def reload(self, request: Request) -> Response:
        """Go by the config as it now stands; a bad one is refused, and the old one goes on."""
        try:
            self._admission.check_admin(dict(request.scope["headers"]))
            return _json(await self._reload())
        except HerdwiseError as error:
            told = from_exception(error)
            return _json(told.body, told.status, dict(told.headers))

    async def clear_cache(self, request: Request) -> Response:
        """Forget all answers that are kept."""
        try:
            self._admission.check_admin(dict(request.scope["headers"]))
        except HerdwiseError as error:
            told = from_exception(error)
            return _json(told.body, told.status, dict(told.headers))
        await self._clear_cache()
        return _json({"object": "cache", "cleared": True})

    async def create(self, request: Request, ring: Keyring, meter: Meter) -> Any:
        """Make a key; its secret is told here and never again."""
        del meter
        said = await _read(request, NewKey)
        key, secret = await asyncio.to_thread(ring.create, said.name, said.terms, expires_at=said.expires_at)
        return {**_told(key), "key": secret}

    async def list(self, request: Request, ring: Keyring, meter: Meter) -> Any:
        """All keys, the oldest first."""
        del request, meter
        return {"object": "list", "data": [_told(key) for key in await asyncio.to_thread(ring.all)]}

    async def show(self, request: Request, ring: Keyring, meter: Meter) -> Any:
        """One key, with what it has spent."""
        key = await asyncio.to_thread(ring.get, request.path_params["key_id"])
        at, spending = time.time(), []
        for budget in key.terms.budgets:
            nanos = await meter.spent(key, budget, at)
            spending.append(
                {
                    "usd": budget.usd,
                    "period": budget.period,
                    "spent_usd": nanos / NANOS_PER_USD,
                    "renewed_at": period_end(budget.period, at),
                }
            )
        return {**_told(key), "spending": spending}

    async def change(self, request: Request, ring: Keyring, meter: Meter) -> Any:
        """Change a key; its next request goes by it, at other gateways within a second or two."""
        del meter
        said = await _read(request, KeyChanges)
        changes = {f: v for f in said.__struct_fields__ if (v := getattr(said, f)) is not UNSET}
        name = request.path_params["key_id"]
        if not changes:
            return _told(await asyncio.to_thread(ring.get, name))
        return _told(await asyncio.to_thread(lambda: ring.change(name, **changes)))

    async def revoke(self, request: Request, ring: Keyring, meter: Meter) -> Any:
        """Close a key for good."""
        del meter
        return _told(await asyncio.to_thread(ring.revoke, request.path_params["key_id"]))


def _told(key: VirtualKey) -> dict[str, Any]:
    """A key as JSON values; its secret is not known."""
    return {
        "object": "key",
        "key_id": key.key_id,
        "name": key.name,
        "shown": key.shown,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "terms": msgspec.to_builtins(key.terms),
    }


async def _read(request: Request, kind: type[_Body]) -> _Body:
    length = request.headers.get("content-length")
    raw = await read_body(request.receive, None if length is None else length.encode(), _MOST_BYTES)
    try:
        return msgspec.convert(decode(raw or b""), kind)
    except msgspec.ValidationError as error:
        raise RequestError(f"the body cannot be read: {error}.", code="invalid_key_terms") from None


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(value), status_code=status, headers=headers, media_type="application/json"
    )
