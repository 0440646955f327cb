"""Virtual keys, and which of them a decision is charged to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From the tables of herdwise 0.1, whose own table of versions Alembic's takes the place of."""
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("shown", sa.String, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.Column("terms", sa.Text, nullable=False),
    )
    op.create_index("ix_keys_digest", "keys", ["digest"], unique=True)
    op.add_column("decisions", sa.Column("key_id", sa.String))
    op.add_column("decisions", sa.Column("charged_usd", sa.Float))
    op.create_index("ix_decisions_key_id_created_at", "decisions", ["key_id", "created_at"])
    op.execute("DROP TABLE IF EXISTS herdwise_schema")
