"""Run by Alembic. The connection is given by ``ledger_schema``, which owns the transaction."""

from alembic import context

from herdwise.serving.ledger_tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
)
context.run_migrations()
