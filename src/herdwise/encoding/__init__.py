"""Query -> vector."""
