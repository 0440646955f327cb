"""Writes the ledger in batches, on a thread of its own, so that no request waits for the disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from herdwise.core.errors import HerdwiseError, RequestError
from herdwise.serving.ledger_insert import insert_decisions
from herdwise.serving.ledger_tables import DECISIONS, FEEDBACK
from herdwise.serving.records import DecisionRecord, FeedbackRecord

logger = logging.getLogger(__name__)

#: Pause before a batch that could not be written is tried again.
RETRY_S = 0.5


@dataclass(slots=True)
class _Waiting:
    """A feedback and whoever waits until it is on the disk."""

    record: FeedbackRecord
    done: Future[None]


class BatchWriter:
    """A bounded queue and the thread that empties it.

    Decisions are written ``flush_s`` after the first of a batch came, at the latest; a feedback at once,
    after all that was queued before it. A batch that cannot be written (disk full, database locked) is
    kept and tried again; past the bounds new decisions are lost, which is counted and logged.

    Args:
        engine: the database.
        flush_s: how long a decision may wait for others.
        max_pending: most decisions that wait.
        max_pending_bytes: most bytes of texts that wait.
    """

    def __init__(self, engine: Engine, *, flush_s: float, max_pending: int, max_pending_bytes: int) -> None:
        self._engine, self._flush_s = engine, flush_s
        self._max_pending, self._max_pending_bytes = max_pending, max_pending_bytes
        self._queue: deque[DecisionRecord | _Waiting] = deque()
        self._pending: dict[str, DecisionRecord] = {}
        self._pending_bytes = 0
        self._lock = threading.Lock()
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._closing = False
        self.lost = 0
        # A daemon, so that a ledger that was never closed does not keep the interpreter alive.
        self._thread = threading.Thread(target=self._run, name="herdwise-ledger", daemon=True)
        self._thread.start()

    def put(self, record: DecisionRecord) -> None:
        """Queue a decision. Never blocks."""
        with self._lock:
            full = (
                len(self._pending) >= self._max_pending
                or self._pending_bytes + record.size > self._max_pending_bytes
            )
            if not full:
                self._queue.append(record)
                self._pending[record.query_id] = record
                self._pending_bytes += record.size
        if full:
            self._lose(record.query_id, "the queue is full")
        elif not self._wake.is_set():
            self._wake.set()

    def put_durable(self, record: FeedbackRecord) -> Future[None]:
        """Queue a feedback; the future is done once it is on the disk.

        Its exception is RequestError (404) when there is no such decision, HerdwiseError when it could
        not be written; then it is not written later either.
        """
        done: Future[None] = Future()
        with self._lock:
            self._queue.append(_Waiting(record, done))
        self._urgent.set()
        self._wake.set()
        return done

    def pending(self, query_id: str) -> DecisionRecord | None:
        """A decision that is not on the disk yet."""
        return self._pending.get(query_id)

    def pending_charges(self, key_id: str, since: float) -> dict[str, float]:
        """Decision -> USD charged to a virtual key, of those since a Unix time that still wait."""
        with self._lock:
            waiting = list(self._pending.values())
        return {
            one.query_id: one.charged_usd or 0.0
            for one in waiting
            if one.key_id == key_id and one.created_at >= since
        }

    @property
    def n_pending(self) -> int:
        """Decisions that are not on the disk yet."""
        return len(self._pending)

    def close(self, within_s: float | None = None) -> bool:
        """Write what waits, then end the thread. Whether it ended within the time, where one is given."""
        self._closing = True
        self._urgent.set()
        self._wake.set()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._urgent.wait(self._flush_s)
            with self._lock:
                batch = list(self._queue)
                self._queue.clear()
                self._wake.clear()
                if not self._closing:
                    self._urgent.clear()
            if batch and not self._write(batch) and not self._closing:
                self._urgent.wait(RETRY_S)
            if self._closing:
                self._write_last()
                return

    def _write_last(self) -> None:
        """One more try for what is left when the ledger is closed."""
        with self._lock:
            left = list(self._queue)
            self._queue.clear()
        if left and not self._write(left):
            for item in left:
                if isinstance(item, DecisionRecord):
                    self._lose(item.query_id, "the ledger was closed before it could be written")

    def _write(self, batch: Sequence[DecisionRecord | _Waiting]) -> bool:
        """Write a batch; False when the database refuses work and decisions were put back."""
        decisions = [item for item in batch if isinstance(item, DecisionRecord)]
        waiting = [item for item in batch if isinstance(item, _Waiting)]
        try:
            with self._engine.begin() as connection:
                insert_decisions(connection, decisions)
                refused = [item for item in waiting if not _insert_feedback(connection, item.record)]
        except OperationalError as error:
            self._put_back(decisions, waiting, error)
            return False
        except Exception:
            # One record the database cannot hold must not take the others with it.
            logger.exception("a batch of the ledger was refused; its records are written one by one")
            return self._write_singly(decisions, waiting)
        self._forget(decisions)
        for item in waiting:
            if any(item is other for other in refused):
                item.done.set_exception(unknown_decision(item.record.query_id))
            else:
                item.done.set_result(None)
        return True

    def _write_singly(self, decisions: Sequence[DecisionRecord], waiting: Sequence[_Waiting]) -> bool:
        for position, record in enumerate(decisions):
            try:
                with self._engine.begin() as connection:
                    insert_decisions(connection, [record])
            except OperationalError as error:
                self._put_back(decisions[position:], waiting, error)
                return False
            except Exception:
                logger.exception("the ledger cannot hold a decision", extra={"decision_id": record.query_id})
                self._lose(record.query_id, "the database refuses it")
            self._forget([record])
        for item in waiting:
            try:
                with self._engine.begin() as connection:
                    known = _insert_feedback(connection, item.record)
            except (SQLAlchemyError, ValueError, OverflowError) as error:
                item.done.set_exception(_not_written(error))
            else:
                if known:
                    item.done.set_result(None)
                else:
                    item.done.set_exception(unknown_decision(item.record.query_id))
        return True

    def _put_back(
        self, decisions: Sequence[DecisionRecord], waiting: Sequence[_Waiting], error: OperationalError
    ) -> None:
        logger.error(
            "the ledger cannot be written (%s); %d decisions wait, %d lost",
            error.orig,
            len(self._pending),
            self.lost,
        )
        with self._lock:
            self._queue.extendleft(reversed(decisions))
            if decisions:
                self._wake.set()
        for item in waiting:
            item.done.set_exception(_not_written(error))

    def _forget(self, decisions: Sequence[DecisionRecord]) -> None:
        with self._lock:
            for record in decisions:
                if self._pending.pop(record.query_id, None) is not None:
                    self._pending_bytes -= record.size

    def _lose(self, query_id: str, why: str) -> None:
        self.lost += 1
        # At load a full queue would flood the log: the first ten, then every hundredth, each with the count.
        if self.lost <= 10 or self.lost % 100 == 0:
            logger.error(
                "the ledger lost a decision: %s (%d lost so far)",
                why,
                self.lost,
                extra={"decision_id": query_id},
            )


def unknown_decision(query_id: str) -> RequestError:
    """The error for an id that no decision has."""
    return RequestError(
        f"there is no decision {query_id!r}.",
        status=404,
        param="decision_id",
        code="decision_not_found",
        remedy="The id stands in the answer's header x-herdwise-decision-id.",
    )


def _not_written(error: Exception) -> HerdwiseError:
    return HerdwiseError(
        f"the feedback could not be written ({getattr(error, 'orig', None) or type(error).__name__}).",
        remedy="Send it again later.",
    )


def _insert_feedback(connection: Connection, record: FeedbackRecord) -> bool:
    """Insert; False when there is no such decision."""
    known = select(DECISIONS.c.query_id).where(DECISIONS.c.query_id == record.query_id)
    if connection.execute(known).first() is None:
        return False
    connection.execute(FEEDBACK.insert(), [asdict(record)])
    return True
