"""Alembic's scripts: how the ledger's tables came to be what they are, step by step."""
