"""Brings the ledger's tables up to date: Alembic's migrations, run where they are needed only."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from herdwise.core.errors import ConfigError
from herdwise.serving.ledger_tables import METADATA

logger = logging.getLogger(__name__)

#: Every revision in ``migrations/versions``, in order. The last is what this herdwise works with.
REVISIONS = ("0001", "0002", "0003", "0004")
HEAD = REVISIONS[-1]

_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
#: The table of versions before Alembic's: its ledgers are of the first revision.
_FIRST = "herdwise_schema"
#: Any number, as long as it is the same for all gateways of one database.
_LOCK = 4_816_230_517


def prepare(connection: Connection, shown: str, *, create: bool) -> None:
    """Make, check or migrate the tables, in the connection's transaction.

    Gateways that start at the same time wait for each other.

    Args:
        connection: just begun.
        shown: the ledger's URL without its password, for errors.
        create: whether a missing ledger is made; otherwise it is an error.

    Raises:
        ConfigError: when it is no ledger, or one of a newer herdwise.
    """
    _alone(connection)
    revision = _revision(connection)
    if revision == HEAD:
        return
    if revision is None:
        if not create:
            raise ConfigError(
                f"{shown} is not a ledger of herdwise.", remedy="Name the one that `serve` writes."
            )
        # What the migrations lead to, without importing Alembic (a test holds the two together).
        METADATA.create_all(connection)
        _VERSION.create(connection)
        connection.execute(_VERSION.insert().values(version_num=HEAD))
        return
    if revision not in REVISIONS:
        raise ConfigError(
            f"the ledger {shown} has revision {revision}; this herdwise knows {HEAD} at most.",
            remedy="Update herdwise, or name another ledger.",
        )
    logger.info("the ledger %s is brought from revision %s to %s", shown, revision, HEAD)
    migrate(connection, revision)


def migrate(connection: Connection, revision: str | None, to: str = HEAD) -> None:
    """Run Alembic's migrations from one revision to another; None = from nothing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if revision is not None and not inspect(connection).has_table(_VERSION.name):
        command.stamp(config, revision)
    command.upgrade(config, to)


def _alone(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _revision(connection: Connection) -> str | None:
    tables = inspect(connection)
    if tables.has_table(_VERSION.name):
        return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    return REVISIONS[0] if tables.has_table(_FIRST) else None
