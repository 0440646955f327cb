"""The trace that a call to an upstream belongs to: W3C Trace Context headers, set by whoever traces."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

#: Sent with every call of the running task; None = nothing is traced.
TRACE_HEADERS: ContextVar[Mapping[str, str] | None] = ContextVar("herdwise_trace_headers", default=None)
