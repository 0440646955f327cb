"""Inserts records into the ledger's tables, many at a time.

The statements are SQLAlchemy's, made once per kind of database; the values go to the driver as they stand in
the records. Taking each record apart into dictionaries, and those into parameters, cost more than the
database did (docs/experiments/2026-11-21-gateway.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Table

from herdwise.serving.ledger_tables import ASKS, DECISIONS
from herdwise.serving.records import AskRecord, DecisionRecord

_DECISION_FIELDS = tuple(f.name for f in fields(DecisionRecord) if f.name != "asks")
_ASK_FIELDS = tuple(f.name for f in fields(AskRecord))
_decision_values: Callable[[DecisionRecord], tuple[Any, ...]] = attrgetter(*_DECISION_FIELDS)
_ask_values: Callable[[AskRecord], tuple[Any, ...]] = attrgetter(*_ASK_FIELDS)


@dataclass(frozen=True, slots=True)
class _Insert:
    """A statement with its columns in the order of the values; ``named`` where parameters go by name."""

    sql: str
    columns: tuple[str, ...]
    named: bool

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        values: Any = [dict(zip(self.columns, row, strict=True)) for row in rows] if self.named else rows
        connection.exec_driver_sql(self.sql, values)


@lru_cache(maxsize=16)
def _insert(table: Table, dialect: Dialect, columns: tuple[str, ...]) -> _Insert:
    compiled = table.insert().compile(dialect=dialect, column_keys=columns)
    order = compiled.positiontup
    if (
        order is not None and tuple(order) != columns
    ):  # columns go by the table's order, whatever is asked for
        raise ValueError(f"the columns of {table.name} stand in another order than its record's fields")
    return _Insert(str(compiled), columns, order is None)


def insert_decisions(connection: Connection, decisions: Sequence[DecisionRecord]) -> None:
    """Insert decisions and their asks.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: from the database; values that it cannot hold raise the driver's own
            errors, such as OverflowError.
    """
    if not decisions:
        return
    dialect = connection.dialect
    _insert(DECISIONS, dialect, _DECISION_FIELDS).run(
        connection, [_decision_values(one) for one in decisions]
    )
    asks = [(one.query_id, *_ask_values(ask)) for one in decisions for ask in one.asks]
    if asks:
        _insert(ASKS, dialect, ("query_id", *_ASK_FIELDS)).run(connection, asks)
