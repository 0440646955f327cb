"""Erases texts and deletes decisions that are old enough, in small batches, beside the ledger's writer."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from herdwise.core.errors import ConfigError, HerdwiseError
from herdwise.serving.ending import end
from herdwise.serving.ledger_engine import open_engine
from herdwise.serving.ledger_tables import ASKS, DECISIONS, FEEDBACK

logger = logging.getLogger(__name__)

DAY_S = 86400.0
#: How often a running endpoint looks.
EVERY_S = 3600.0
#: Decisions changed in one transaction: requests' own writes wait no longer than that takes.
_BATCH = 500

_HAS_TEXT = or_(DECISIONS.c.text.is_not(None), DECISIONS.c.tools.is_not(None))
_SAYS = or_(FEEDBACK.c.comment.is_not(None), FEEDBACK.c.demonstration.is_not(None))
#: What virtual keys were charged: budgets are counted from these.
_CHARGED = (DECISIONS.c.key_id.is_not(None)) & (DECISIONS.c.charged_usd > 0)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was, or would be, taken out of a ledger.

    Args:
        texts: decisions whose prompts and answers were erased.
        comments: feedback whose words were erased; its scores stay.
        decisions: decisions deleted, with their asks and feedback.
        stripped: decisions of which only the charge was left, since a virtual key's budgets count it.
    """

    texts: int
    comments: int
    decisions: int
    stripped: int

    def __bool__(self) -> bool:
        return bool(self.texts or self.comments or self.decisions or self.stripped)


NOTHING = Pruned(0, 0, 0, 0)


def prune_ledger(
    url: str, *, keep_texts_days: float | None, keep_days: float | None, dry_run: bool = False
) -> Pruned:
    """Take out of a ledger what is older than it is to be kept; it may be in use.

    Args:
        url: the ledger's database.
        keep_texts_days: days after which prompts, answers and what users wrote are erased; None = never.
        keep_days: days after which decisions are deleted; None = never.
        dry_run: only count.

    Raises:
        ConfigError: when there is no such ledger, or it cannot be written.
    """
    engine = open_engine(url, create=False)
    try:
        return prune(engine, keep_texts_days=keep_texts_days, keep_days=keep_days, dry_run=dry_run)
    except SQLAlchemyError as error:
        why = getattr(error, "orig", None) or type(error).__name__
        raise ConfigError(
            f"the ledger cannot be pruned ({why}).", remedy="What was done before stays done; try again."
        ) from error
    finally:
        engine.dispose()


def prune(
    engine: Engine,
    *,
    keep_texts_days: float | None,
    keep_days: float | None,
    dry_run: bool = False,
    stop: threading.Event | None = None,
) -> Pruned:
    """As ``prune_ledger``, over an open engine; ``stop`` ends it after the batch at hand."""
    stop = stop or threading.Event()
    now, texts, comments, deleted, stripped = time.time(), 0, 0, 0, 0
    if keep_days is not None:
        old = DECISIONS.c.created_at < now - keep_days * DAY_S
        whole = old & (~_CHARGED | DECISIONS.c.charged_usd.is_(None) | DECISIONS.c.key_id.is_(None))
        bare = old & _CHARGED & DECISIONS.c.query_id.in_(select(ASKS.c.query_id))
        if dry_run:
            deleted, stripped = _count(engine, whole), _count(engine, bare)
        else:
            deleted = _in_batches(engine, whole, _delete, stop)
            stripped = _in_batches(engine, bare, _strip, stop)
    if keep_texts_days is not None:
        before = now - keep_texts_days * DAY_S
        wordy = (DECISIONS.c.created_at < before) & _HAS_TEXT
        said = (FEEDBACK.c.created_at < before) & _SAYS
        if dry_run:
            texts = _count(engine, wordy)
            with engine.connect() as connection:
                query = select(func.count()).select_from(FEEDBACK).where(said)
                comments = int(connection.execute(query).scalar_one())
        else:
            texts = _in_batches(engine, wordy, _erase, stop)
            with engine.begin() as connection:
                _overwrite_what_goes(connection)
                done = connection.execute(
                    FEEDBACK.update().where(said).values(comment=None, demonstration=None)
                )
                comments = done.rowcount
    found = Pruned(texts, comments, deleted, stripped)
    if found and not dry_run and engine.dialect.name == "sqlite":
        with engine.connect() as connection:  # what was overwritten must not stay in the write-ahead log
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def _count(engine: Engine, which: ColumnElement[bool]) -> int:
    with engine.connect() as connection:
        query = select(func.count()).select_from(DECISIONS).where(which)
        return int(connection.execute(query).scalar_one())


def _in_batches(
    engine: Engine,
    which: ColumnElement[bool],
    change: Callable[[Connection, list[str]], None],
    stop: threading.Event,
) -> int:
    """Change decisions until none is left to be; how many were."""
    done = 0
    while not stop.is_set():
        # Read and write apart: SQLite refuses at once to write after a read that others have overtaken.
        with engine.connect() as connection:
            query = select(DECISIONS.c.query_id).where(which).order_by(DECISIONS.c.created_at).limit(_BATCH)
            ids = list(connection.execute(query).scalars())
        if not ids:
            break
        with engine.begin() as connection:
            _overwrite_what_goes(connection)
            change(connection, ids)
        done += len(ids)
    return done


def _overwrite_what_goes(connection: Connection) -> None:
    """SQLite leaves what is erased in the file's free pages unless told otherwise."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def _erase(connection: Connection, ids: list[str]) -> None:
    connection.execute(DECISIONS.update().where(DECISIONS.c.query_id.in_(ids)).values(text=None, tools=None))
    connection.execute(ASKS.update().where(ASKS.c.query_id.in_(ids)).values(text=None))


def _strip(connection: Connection, ids: list[str]) -> None:
    connection.execute(FEEDBACK.delete().where(FEEDBACK.c.query_id.in_(ids)))
    connection.execute(ASKS.delete().where(ASKS.c.query_id.in_(ids)))
    connection.execute(
        DECISIONS.update().where(DECISIONS.c.query_id.in_(ids)).values(text=None, tools=None, goals=None)
    )


def _delete(connection: Connection, ids: list[str]) -> None:
    connection.execute(FEEDBACK.delete().where(FEEDBACK.c.query_id.in_(ids)))
    connection.execute(ASKS.delete().where(ASKS.c.query_id.in_(ids)))
    connection.execute(DECISIONS.delete().where(DECISIONS.c.query_id.in_(ids)))


class Retention:
    """Prunes a running endpoint's ledger, at the start and every hour.

    Args:
        prune: prunes by what the config says now; see ``Ledger.prune``.
        every_s: seconds between two times.
    """

    def __init__(
        self, prune: Callable[[threading.Event], Awaitable[Pruned]], every_s: float = EVERY_S
    ) -> None:
        self._prune, self._every_s = prune, every_s
        self._stop = threading.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, after the batch at hand."""
        self._stop.set()
        await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                found = await self._prune(self._stop)
            except (SQLAlchemyError, HerdwiseError) as error:
                why = getattr(error, "orig", None) or error
                logger.error("the ledger could not be pruned, in an hour it is tried again: %s", why)
            else:
                if found:
                    logger.info(
                        "ledger: erased the texts of %d decisions and %d comments; deleted %d decisions,"
                        " and all but the charge of %d",
                        found.texts,
                        found.comments,
                        found.decisions,
                        found.stripped,
                    )
            await asyncio.sleep(self._every_s)
