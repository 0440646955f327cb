"""Decisions, asks, feedback and what is known of the candidates."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "candidates",
        sa.Column("candidate", sa.String, primary_key=True),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_table(
        "decisions",
        sa.Column("query_id", sa.String, primary_key=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("policy", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("candidate", sa.String),
        sa.Column("returned_ask", sa.Integer),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cost_usd", sa.Float),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("latency_s", sa.Float),
        sa.Column("overhead_s", sa.Float),
        sa.Column("goals", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("tools", sa.Text),
    )
    op.create_index("ix_decisions_created_at", "decisions", ["created_at"])
    op.create_table(
        "asks",
        sa.Column(
            "query_id",
            sa.String,
            sa.ForeignKey("decisions.query_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("ask", sa.Integer, primary_key=True),
        sa.Column("candidate", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("error_kind", sa.String),
        sa.Column("error_status", sa.Integer),
        sa.Column("started_s", sa.Float),
        sa.Column("latency_s", sa.Float),
        sa.Column("first_token_s", sa.Float),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("output_chars", sa.Integer),
        sa.Column("cost_usd", sa.Float),
        sa.Column("finish_reason", sa.String),
        sa.Column("propensity", sa.Float),
        sa.Column("continued", sa.Boolean, nullable=False),
        sa.Column("predicted_quality", sa.Float),
        sa.Column("predicted_cost_usd", sa.Float),
        sa.Column("text", sa.Text),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "query_id",
            sa.String,
            sa.ForeignKey("decisions.query_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("score", sa.Float),
        sa.Column("comment", sa.Text),
        sa.Column("demonstration", sa.Text),
    )
    op.create_index("ix_feedback_query_id", "feedback", ["query_id"])
