"""Token logprobs of answers, where their upstreams gave them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Unknown for what was asked before."""
    for name in ("mean_logprob", "min_logprob", "answer_logprob"):
        op.add_column("asks", sa.Column(name, sa.Float))
