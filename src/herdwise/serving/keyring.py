"""Virtual keys: who they are, what they may do. Of a key itself only a digest is kept."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
from sqlalchemy import Engine, RowMapping, select
from sqlalchemy.exc import SQLAlchemyError

from herdwise.core.errors import HerdwiseError, InputError, RequestError
from herdwise.serving.ledger_tables import KEYS

logger = logging.getLogger(__name__)

Period = Literal["hour", "day", "month", "ever"]
PERIODS: tuple[Period, ...] = get_args(Period)
#: More than this shared state could not count to the last billionth.
_MOST_USD = 1e6

_PREFIX = "hw-"
_SECRET_BYTES = 32
#: As much of a key is shown in lists, so that its owner knows it again.
_SHOWN_CHARS = 9


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD, a million at most, that may be spent in each period (calendar hours, days and months in UTC)."""

    usd: Annotated[float, msgspec.Meta(ge=0)]
    period: Period = "month"


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a virtual key may do. None = no limit.

    Args:
        budgets: all of them hold.
        requests_per_minute, tokens_per_minute: in each calendar minute; tokens are input and output.
        candidates: names that may answer; None = all.
        policies: names that may decide, "direct" for naming a candidate outright; None = all.
    """

    budgets: tuple[Budget, ...] = ()
    requests_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tokens_per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    candidates: tuple[str, ...] | None = None
    policies: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """One key.

    Args:
        key_id: by which it is spoken of; not secret.
        name: for people.
        shown: its first characters.
        created_at, expires_at, revoked_at: Unix times, None = not.
        terms: what it may do.
    """

    key_id: str
    name: str
    shown: str
    created_at: float
    terms: Terms
    expires_at: float | None = None
    revoked_at: float | None = None

    def valid(self, now: float) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Keyring:
    """The virtual keys of one ledger. All its methods but ``known`` touch the database.

    Args:
        engine: the ledger's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_digest: dict[str, VirtualKey] = {}

    def known(self, shown: bytes) -> VirtualKey | None:
        """The key that a client shows, as of the last ``refresh``; None = there is no such key.

        It is looked up by its digest, so that the time taken tells nothing of other keys.
        """
        return self._by_digest.get(digest(shown))

    @property
    def empty(self) -> bool:
        """Whether there is no key at all."""
        return not self._by_digest

    def refresh(self) -> None:
        """Read all keys anew: those made, changed and revoked by others too.

        Raises:
            RequestError: 503, when the database cannot be read; what is known stays.
        """
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(select(KEYS)).mappings().all()
        except SQLAlchemyError as error:
            raise RequestError(
                f"the keys cannot be read ({type(error).__name__}).",  # who asks may be anybody
                status=503,
                code="ledger_unavailable",
                retry_after_s=1.0,
            ) from error
        keys = {row["digest"]: _key(row) for row in rows}
        self._by_digest = {hashed: key for hashed, key in keys.items() if key is not None}

    def create(self, name: str, terms: Terms, *, expires_at: float | None = None) -> tuple[VirtualKey, str]:
        """Make a key. Returns it with its secret, which nobody can ever see again.

        Raises:
            InputError: when the name is empty, or a budget is more than can be counted.
            HerdwiseError: when it could not be written.
        """
        if not name.strip():
            raise InputError("a key needs a name.", remedy="Say whose it is, or what for.")
        _check(terms)
        secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        key = VirtualKey(
            f"key_{secrets.token_hex(8)}", name.strip(), secret[:_SHOWN_CHARS], time.time(), terms, expires_at
        )
        hashed = digest(secret.encode())
        row = {
            "key_id": key.key_id,
            "name": key.name,
            "digest": hashed,
            "shown": key.shown,
            "created_at": key.created_at,
            "expires_at": expires_at,
            "revoked_at": None,
            "terms": msgspec.json.encode(terms).decode(),
        }
        self._write(KEYS.insert().values(row))
        self._by_digest[hashed] = key
        return key, secret

    def change(self, key_id: str, **changes: Any) -> VirtualKey:
        """Change ``name``, ``terms``, ``expires_at`` or ``revoked_at``.

        Raises:
            RequestError: 404, when there is no such key.
            InputError: when a budget is more than can be counted.
            HerdwiseError: when it could not be written.
        """
        self.get(key_id)
        if "terms" in changes:
            _check(changes["terms"])
            changes["terms"] = msgspec.json.encode(changes["terms"]).decode()
        self._write(KEYS.update().where(KEYS.c.key_id == key_id).values(**changes))
        self.refresh()
        return self.get(key_id)

    def revoke(self, key_id: str) -> VirtualKey:
        """Close a key for good; it stays in the list. A revoked one stays revoked as it was.

        Raises:
            RequestError: 404, when there is no such key.
        """
        key = self.get(key_id)
        return key if key.revoked_at is not None else self.change(key_id, revoked_at=time.time())

    def get(self, key_id: str) -> VirtualKey:
        """A key by its id.

        Raises:
            RequestError: 404.
        """
        for key in self.all():
            if key.key_id == key_id:
                return key
        raise RequestError(
            f"there is no key {key_id!r}.",
            status=404,
            param="key_id",
            code="key_not_found",
            remedy="`herdwise keys list` and GET /admin/v1/keys name them all.",
        )

    def all(self) -> Sequence[VirtualKey]:
        """All keys, the oldest first, revoked ones too."""
        self.refresh()
        return sorted(self._by_digest.values(), key=lambda key: key.created_at)

    async def watch(self, every_s: float) -> None:
        """Refresh without end, so that what other gateways do to keys holds here too; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await asyncio.to_thread(self.refresh)
            except RequestError as error:
                # Keys that were revoked elsewhere meanwhile still open here: that must not go unseen.
                logger.warning("keys go by what was read before: %s", error.message)

    def _write(self, statement: Any) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(statement)
        except SQLAlchemyError as error:
            raise HerdwiseError(
                f"the key could not be written ({getattr(error, 'orig', None) or type(error).__name__}).",
                remedy="Try again later.",
            ) from error


def _check(terms: Terms) -> None:
    # Not by their type, so that keys which are kept can be read, whatever they say.
    if any(budget.usd > _MOST_USD for budget in terms.budgets):
        raise InputError(f"a budget is more than {_MOST_USD:,.0f} USD.", remedy="Leave it out: no limit.")


def digest(key: bytes) -> str:
    """SHA-256: a key holds 256 random bits, so that neither salt nor a slow hash would add anything."""
    return hashlib.sha256(key).hexdigest()


def _key(row: RowMapping) -> VirtualKey | None:
    """The key of a row; None, so that it opens nothing, where its terms are a newer herdwise's."""
    try:
        terms = msgspec.json.decode(row["terms"], type=Terms)
    except msgspec.DecodeError as error:
        logger.error("key %s is left closed: its terms cannot be read (%s)", row["key_id"], error)
        return None
    return VirtualKey(
        key_id=row["key_id"],
        name=row["name"],
        shown=row["shown"],
        created_at=row["created_at"],
        terms=terms,
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
