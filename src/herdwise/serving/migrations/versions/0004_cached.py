"""Whose answer was given again, where the cache had it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing came from a cache before."""
    op.add_column("decisions", sa.Column("cached_from", sa.String))
