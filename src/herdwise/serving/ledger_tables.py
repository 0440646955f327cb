"""The ledger's tables and the engine that reaches them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from herdwise.core.errors import ConfigError

#: Raised by one with every change of the tables.
SCHEMA_VERSION = 1

METADATA = MetaData()

SCHEMA = Table("herdwise_schema", METADATA, Column("version", Integer, primary_key=True))

#: What is known of every candidate that was ever served, as JSON: an export's candidates.csv.
CANDIDATES = Table(
    "candidates",
    METADATA,
    Column("candidate", String, primary_key=True),
    Column("facts", Text, nullable=False),
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("query_id", String, primary_key=True),
    Column("created_at", Float, nullable=False, index=True),
    Column("model", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("origin", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason", Text),
    Column("candidate", String),
    Column("returned_ask", Integer),
    Column("streamed", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cost_usd", Float),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("latency_s", Float),
    Column("overhead_s", Float),
    Column("goals", Text),
    Column("text", Text),
    Column("tools", Text),
)

ASKS = Table(
    "asks",
    METADATA,
    Column("query_id", String, ForeignKey("decisions.query_id", ondelete="CASCADE"), primary_key=True),
    Column("ask", Integer, primary_key=True),
    Column("candidate", String, nullable=False),
    Column("status", String, nullable=False),
    Column("error_kind", String),
    Column("error_status", Integer),
    Column("started_s", Float),
    Column("latency_s", Float),
    Column("first_token_s", Float),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("output_chars", Integer),
    Column("cost_usd", Float),
    Column("finish_reason", String),
    Column("propensity", Float),
    Column("continued", Boolean, nullable=False),
    Column("predicted_quality", Float),
    Column("predicted_cost_usd", Float),
    Column("text", Text),
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column(
        "query_id", String, ForeignKey("decisions.query_id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("created_at", Float, nullable=False),
    Column("score", Float),
    Column("comment", Text),
    Column("demonstration", Text),
)


def ledger_url(text: str) -> URL:
    """A database URL; a plain path means an SQLite file.

    Raises:
        ConfigError: when it can't be read, or names no file.
    """
    try:
        url = make_url(text if "://" in text else f"sqlite:///{text}")
    except ArgumentError as error:
        raise ConfigError(
            "the ledger's URL cannot be read.", remedy="Such as sqlite:///herdwise.sqlite3."
        ) from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ConfigError(
            "the ledger needs a file.", remedy="Such as sqlite:///herdwise.sqlite3, or switch it off."
        )
    return url


def open_engine(text: str, *, create: bool) -> Engine:
    """Reach the ledger and check its schema.

    Args:
        text: URL or path.
        create: whether a missing ledger is made; otherwise it is an error.

    Raises:
        ConfigError: when it can't be reached, doesn't exist, is no ledger or is of a newer schema.
    """
    url = ledger_url(text)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        if create:
            _make_folder(path.parent, shown)
        elif not path.is_file():
            raise ConfigError(f"there is no ledger {shown}.", remedy="Name the one that `serve` writes.")
    try:
        engine = create_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            f"the ledger {shown} needs a driver that is not installed ({error}).",
            remedy="Install it, or use SQLite: sqlite:///herdwise.sqlite3.",
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    try:
        with engine.begin() as connection:
            _check_schema(connection, shown, create=create)
    except SQLAlchemyError as error:
        engine.dispose()
        raise ConfigError(
            f"the ledger {shown} cannot be opened: {getattr(error, 'orig', None) or error}.",
            remedy="Check the path or URL, and that it may be written.",
        ) from error
    except ConfigError:
        engine.dispose()
        raise
    return engine


def _make_folder(folder: Path, shown: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the ledger {shown} cannot be made: {error.strerror}.", remedy="Choose another place."
        ) from error


def _check_schema(connection: Connection, shown: str, *, create: bool) -> None:
    if inspect(connection).has_table(SCHEMA.name):
        version = connection.execute(select(SCHEMA.c.version)).scalar_one()
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"the ledger {shown} has schema {version}; this herdwise knows {SCHEMA_VERSION} at most.",
                remedy="Update herdwise, or name another ledger.",
            )
        return
    if not create:
        raise ConfigError(f"{shown} is not a ledger of herdwise.", remedy="Name the one that `serve` writes.")
    METADATA.create_all(connection)
    connection.execute(SCHEMA.insert().values(version=SCHEMA_VERSION))


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    # WAL: readers don't wait for the writer. FULL: a commit is on the disk, power failure included.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
