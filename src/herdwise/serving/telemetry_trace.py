"""One request's place in a trace (W3C Trace Context), and what its upstreams are told of it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from herdwise.transport.tracing import TRACE_HEADERS

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
#: A longer tracestate may be dropped, says the specification.
_MOST_STATE_CHARS = 512
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's place in a trace.

    Args:
        trace_id: 128 bits, not 0.
        parent_id: the caller's span, 64 bits; None = the trace begins here.
        state: the caller's ``tracestate``.
        span_id, decision_id: of the request's own spans.
        sampled: whether its spans are kept.
        started_at, started_ns: the same moment by ``time.perf_counter()`` and in Unix nanoseconds.
    """

    trace_id: int
    parent_id: int | None
    state: str
    span_id: int
    decision_id: int
    sampled: bool
    started_at: float
    started_ns: int

    @property
    def hex_id(self) -> str:
        """The trace's id as logs show it."""
        return f"{self.trace_id:032x}"

    def at_ns(self, moment: float) -> int:
        """A moment by ``time.perf_counter()`` in Unix nanoseconds."""
        return self.started_ns + round((moment - self.started_at) * 1e9)

    def pass_on(self) -> int:
        """Have the running task's next call belong to a span of its own; that span's id.

        What is not sampled is passed on as the caller told it.
        """
        span_id = new_span_id() if self.sampled else (self.parent_id or self.span_id)
        headers = {"traceparent": f"00-{self.trace_id:032x}-{span_id:016x}-{int(self.sampled):02x}"}
        if self.state:
            headers["tracestate"] = self.state
        TRACE_HEADERS.set(headers)
        return span_id


def begin_trace(headers: Mapping[bytes, bytes], started_at: float, sample_ratio: float) -> Trace | None:
    """The place of a request that has just come; None where nobody wants to hear of it.

    A caller's ``traceparent`` decides whether it is sampled; without one, chance does.

    Args:
        headers: lower-case name -> value.
        started_at: ``time.perf_counter()`` when it came.
        sample_ratio: share of requests without a caller's say that are sampled.
    """
    told = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    parent_id: int | None = None
    state = ""
    # Version ff is forbidden; a version of the future begins as this one does, and 00 ends here.
    if told is not None and told[1] != b"ff" and not (told[1] == b"00" and told[5]):
        trace_id, parent_id = int(told[2], 16), int(told[3], 16)
        sampled = bool(int(told[4], 16) & _SAMPLED)
        state = headers.get(b"tracestate", b"")[:_MOST_STATE_CHARS].decode("latin-1")
    if not parent_id or not trace_id:
        trace_id, parent_id, state = random.getrandbits(128) or 1, None, ""
        sampled = random.random() < sample_ratio
        if not sampled:
            return None
    elapsed_ns = round((time.perf_counter() - started_at) * 1e9)
    return Trace(
        trace_id,
        parent_id,
        state,
        new_span_id(),
        new_span_id(),
        sampled,
        started_at,
        time.time_ns() - elapsed_ns,
    )


def new_span_id() -> int:
    """A span's id: 64 random bits, not 0."""
    return random.getrandbits(64) or 1
