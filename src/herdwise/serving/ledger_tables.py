"""The ledger's tables. What changes here needs a migration: see ``ledger_schema``."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

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
    Column("key_id", String),
    Column("charged_usd", Float),
    Column("cached_from", String),
    Index("ix_decisions_key_id_created_at", "key_id", "created_at"),
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
    Column("mean_logprob", Float),
    Column("min_logprob", Float),
    Column("answer_logprob", Float),
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

#: Virtual keys. Of the key itself only a digest is kept; ``terms`` is JSON (see ``keyring.Terms``).
KEYS = Table(
    "keys",
    METADATA,
    Column("key_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("shown", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("terms", Text, nullable=False),
    Index("ix_keys_digest", "digest", unique=True),
)
