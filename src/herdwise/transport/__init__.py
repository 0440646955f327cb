"""One keep-alive HTTP client, SSE parsing."""
