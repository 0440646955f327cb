"""Reaches the ledger's database."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from herdwise.core.errors import ConfigError
from herdwise.serving.ledger_schema import prepare

#: A PostgreSQL that is cut off without a word is given up after half a minute, not after the system's two
#: hours: what waits is written over another connection once there is one. The URL's own go before these.
_PSYCOPG = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


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
        if url.get_driver_name() == "psycopg":
            url = url.update_query_dict({k: str(v) for k, v in _PSYCOPG.items() if k not in url.query})
        engine = create_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            f"the ledger {shown} needs a driver that is not installed ({error}).",
            remedy="Install it, or use SQLite: sqlite:///herdwise.sqlite3.",
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    elif url.get_driver_name() == "psycopg":
        event.listen(engine, "connect", _set_up_psycopg)
    try:
        with engine.begin() as connection:
            prepare(connection, shown, create=create)
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


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    # WAL: readers don't wait for the writer. FULL: a commit is on the disk, power failure included.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _set_up_psycopg(connection: Any, _record: Any) -> None:
    """Let texts in that hold NUL, which PostgreSQL has no place for: a client that sends one would otherwise
    keep its decision, and what it cost, out of the ledger.
    """
    from psycopg.types.string import StrDumperUnknown

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, Dumper)
