"""The ledger: every decision, ask and feedback, in a database, ready to be learned from."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from herdwise.core.candidate import Herd
from herdwise.core.errors import HerdwiseError
from herdwise.core.money import NANOS_PER_USD
from herdwise.serving.keyring import Keyring
from herdwise.serving.ledger_engine import open_engine
from herdwise.serving.ledger_export import Exported, export_ledger
from herdwise.serving.ledger_retention import Pruned, prune
from herdwise.serving.ledger_tables import ASKS, CANDIDATES, DECISIONS, FEEDBACK
from herdwise.serving.ledger_writer import BatchWriter
from herdwise.serving.records import DecisionRecord, FeedbackRecord


class Ledger:
    """Where decisions, asks and feedback are kept.

    A decision that has ended is on the disk within a second (``flush_s`` plus the write); an
    acknowledged feedback is on the disk already. Nothing is opened before ``start``.

    Args:
        url: a database URL, such as ``sqlite:///herdwise.sqlite3``; a plain path means SQLite.
        flush_s: how long a decision waits for others, so that they are written together.
        max_pending: most decisions that may wait when the disk is slow or full; past it they are lost,
            counted in ``lost`` and logged.
        max_pending_bytes: the same in bytes.
    """

    def __init__(
        self,
        url: str,
        *,
        flush_s: float = 0.25,
        max_pending: int = 20_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.url = url
        self._flush_s, self._max_pending, self._max_pending_bytes = flush_s, max_pending, max_pending_bytes
        self._engine: Engine | None = None
        self._writer: BatchWriter | None = None

    def start(self, herd: Herd) -> None:
        """Open the database, make missing tables and note what is known of the herd. Twice is once.

        Raises:
            ConfigError: when it can't be opened, or is of a newer schema.
        """
        if self._writer is not None:
            return
        engine = open_engine(self.url, create=True)
        _note(engine, herd)
        self._engine = engine
        self._writer = BatchWriter(
            engine,
            flush_s=self._flush_s,
            max_pending=self._max_pending,
            max_pending_bytes=self._max_pending_bytes,
        )

    def note(self, herd: Herd) -> None:
        """Note what is known of another herd that is served from now on.

        Raises:
            HerdwiseError: when it could not be written, or the ledger was not started.
        """
        try:
            _note(self._started()[1], herd)
        except SQLAlchemyError as error:
            why = getattr(error, "orig", None) or type(error).__name__
            raise HerdwiseError(
                f"the ledger cannot be written ({why}).", remedy="Try again later."
            ) from error

    def close(self, within_s: float | None = None) -> int:
        """Write what waits and close the database. A ledger that was not started has nothing to close.

        Args:
            within_s: how long a database that does not answer is waited for; None = for ever.

        Returns:
            Decisions that are lost, as they could not be written.
        """
        writer, self._writer = self._writer, None
        engine, self._engine = self._engine, None
        if writer is None or engine is None:
            return 0
        before = writer.lost
        if not writer.close(within_s):
            return writer.n_pending + writer.lost - before
        engine.dispose()
        return writer.lost - before

    @property
    def lost(self) -> int:
        """Decisions that could not be kept since the start."""
        return 0 if self._writer is None else self._writer.lost

    @property
    def pending(self) -> int:
        """Decisions that are not on the disk yet."""
        return 0 if self._writer is None else self._writer.n_pending

    def record(self, decision: DecisionRecord) -> None:
        """Queue a decision that has ended. Never blocks.

        Raises:
            HerdwiseError: when the ledger was not started.
        """
        self._started()[0].put(decision)

    async def feedback(self, record: FeedbackRecord) -> None:
        """Write a feedback; on return it is on the disk.

        Raises:
            RequestError: 404, when there is no such decision.
            HerdwiseError: when it could not be written.
        """
        await asyncio.wrap_future(self._started()[0].put_durable(record))

    async def find(self, query_id: str) -> dict[str, Any] | None:
        """A decision with its asks and feedback, written or still waiting; None = there is none."""
        writer, engine = self._started()
        waiting = writer.pending(query_id)
        if waiting is not None:
            return {**asdict(waiting), "feedback": []}
        return await asyncio.to_thread(_find, engine, query_id)

    def waits(self, query_id: str) -> bool:
        """Whether a decision that has ended is not on the disk yet."""
        return self._started()[0].pending(query_id) is not None

    def keyring(self) -> Keyring:
        """The virtual keys that are kept in this ledger."""
        return Keyring(self._started()[1])

    async def charged(self, key_id: str, since: float) -> int:
        """Billionths of a USD charged to a virtual key since a Unix time, written or still waiting."""
        writer, engine = self._started()
        waiting = writer.pending_charges(key_id, since)
        return await asyncio.to_thread(_charged, engine, key_id, since, waiting)

    def export(self, path: str | os.PathLike[str]) -> Exported:
        """Write what is on the disk as an outcome folder; see ``ledger_export.export_ledger``.

        Raises:
            ConfigError: when nothing can be exported.
        """
        return export_ledger(self.url, path)

    async def prune(
        self, *, keep_texts_days: float | None, keep_days: float | None, stop: threading.Event
    ) -> Pruned:
        """Erase and delete what is older than it is to be kept; see ``ledger_retention.prune``."""
        engine = self._started()[1]
        return await asyncio.to_thread(
            lambda: prune(engine, keep_texts_days=keep_texts_days, keep_days=keep_days, stop=stop)
        )

    def _started(self) -> tuple[BatchWriter, Engine]:
        if self._writer is None or self._engine is None:
            raise HerdwiseError("the ledger is closed.", remedy="Call start() first.")
        return self._writer, self._engine


def _note(engine: Engine, herd: Herd) -> None:
    with engine.begin() as connection:
        # In one order everywhere, as several processes may note their herds at the same moment.
        for candidate in sorted(herd, key=lambda one: one.name):
            facts, own = msgspec.json.encode(candidate).decode(), CANDIDATES.c.candidate == candidate.name
            if connection.execute(CANDIDATES.update().where(own).values(facts=facts)).rowcount:
                continue
            try:
                with connection.begin_nested():
                    connection.execute(CANDIDATES.insert().values(candidate=candidate.name, facts=facts))
            except IntegrityError:  # another process was a moment faster
                connection.execute(CANDIDATES.update().where(own).values(facts=facts))


def _charged(engine: Engine, key_id: str, since: float, waiting: Mapping[str, float]) -> int:
    rows = select(func.sum(DECISIONS.c.charged_usd))
    rows = rows.where(DECISIONS.c.key_id == key_id, DECISIONS.c.created_at >= since)
    if waiting:  # some of them may have been written meanwhile
        rows = rows.where(DECISIONS.c.query_id.not_in(waiting))
    with engine.connect() as connection:
        written = connection.execute(rows).scalar_one() or 0.0
    return round((written + sum(waiting.values())) * NANOS_PER_USD)


def _find(engine: Engine, query_id: str) -> dict[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(select(DECISIONS).where(DECISIONS.c.query_id == query_id)).mappings().first()
        if row is None:
            return None
        asks = select(ASKS).where(ASKS.c.query_id == query_id).order_by(ASKS.c.ask)
        feedback = select(FEEDBACK).where(FEEDBACK.c.query_id == query_id).order_by(FEEDBACK.c.id)
        hidden = {"query_id", "id"}
        return {
            **row,
            "asks": [
                {k: v for k, v in ask.items() if k not in hidden}
                for ask in connection.execute(asks).mappings()
            ],
            "feedback": [
                {k: v for k, v in said.items() if k not in hidden}
                for said in connection.execute(feedback).mappings()
            ],
        }
