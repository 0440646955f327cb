"""Traces of requests, for an OpenTelemetry collector: OTLP over HTTP, sent in batches by a thread.

Spans are made when a request has ended, from its course: nothing is done on its way but to draw ids. The
only file that imports OpenTelemetry.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from herdwise.backends.base import Backend
from herdwise.core.errors import MissingExtraError
from herdwise.core.version import __version__
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.telemetry_settings import TelemetrySettings
from herdwise.serving.telemetry_spans import (
    Attributes,
    ask_attributes,
    asked_model,
    decision_attributes,
    request_attributes,
)
from herdwise.serving.telemetry_trace import Trace, begin_trace

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, SpanKind

logger = logging.getLogger(__name__)

#: How long one batch may take to be sent.
_EXPORT_S = 10.0
#: How long the last ones may take, retries included.
_LAST_S = 2.0
#: Spans that wait; past it they are dropped.
_MOST_SPANS = 16_384


class Telemetry:
    """Makes spans and sends them.

    Args:
        settings: where to, and what they hold.

    Raises:
        MissingExtraError: when the extra is not installed.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise MissingExtraError("telemetry", extra="telemetry") from error
        self._settings = settings
        url = settings.endpoint.rstrip("/")
        url = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
        self._exporter = OTLPSpanExporter(endpoint=url, headers=dict(settings.headers), timeout=_EXPORT_S)
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=_MOST_SPANS, schedule_delay_millis=1000
        )
        self._resource = Resource(
            {
                "service.name": settings.service_name,
                "service.version": __version__,
                "service.instance.id": str(uuid.uuid4()),
                "telemetry.sdk.name": "opentelemetry",
                "telemetry.sdk.language": "python",
            }
        )
        self._scope = InstrumentationScope("herdwise", __version__)

    def begin(self, headers: Mapping[bytes, bytes], started_at: float) -> Trace | None:
        """See ``begin_trace``."""
        return begin_trace(headers, started_at, self._settings.sample_ratio)

    def refused(self, trace: Trace, api: str, status: int) -> None:
        """A request ended without a decision.

        Args:
            trace: its place.
            api: the path that it came by.
            status: as the client was told.
        """
        if trace.sampled:
            self._request(trace, request_attributes(api, status, None), api)

    def ended(self, course: Course, api: str, backends: Mapping[str, Backend]) -> None:
        """A request with a decision ended.

        Args:
            course: all of it.
            api: the path that it came by.
            backends: who reached whom.
        """
        trace = course.trace
        if trace is None or not trace.sampled:
            return
        from opentelemetry.trace import SpanKind

        for ask in course.asks:
            if ask.started_at is None or ask.span_id is None:
                continue  # it was never sent
            backend = backends[ask.candidate]
            self._span(
                trace,
                f"chat {asked_model(ask, backend)}",
                SpanKind.CLIENT,
                ask.span_id,
                trace.decision_id,
                ask_attributes(course, ask, backend, texts=self._settings.record_texts),
                ask.started_at,
                ask.started_at + (ask.latency_s or 0.0),
            )
        self._span(
            trace,
            f"decide {course.policy}",
            SpanKind.INTERNAL,
            trace.decision_id,
            trace.span_id,
            decision_attributes(course),
            course.started_at,
            course.ended_at or time.perf_counter(),
            events=_fallbacks(trace, course.asks),
        )
        self._request(trace, request_attributes(api, course.http_status, course.id), api)

    def close(self) -> None:
        """Send what waits; a collector that is away, or does not answer, is not waited for long."""
        # A daemon: a call that is under way cannot be broken off, and must not hold up the process's end.
        ending = threading.Thread(target=self._processor.shutdown, name="herdwise-traces-end", daemon=True)
        ending.start()
        ending.join(_LAST_S)
        if ending.is_alive():
            # What is not sent by now is not tried again.
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            logger.warning("the last traces could not be sent within %g s", _LAST_S)

    def _request(self, trace: Trace, attributes: Attributes, api: str) -> None:
        from opentelemetry.trace import SpanKind

        self._span(
            trace,
            f"POST {api}",
            SpanKind.SERVER,
            trace.span_id,
            trace.parent_id,
            attributes,
            trace.started_at,
            time.perf_counter(),
        )

    def _span(
        self,
        trace: Trace,
        name: str,
        kind: SpanKind,
        span_id: int,
        parent_id: int | None,
        attributes: Attributes,
        started_at: float,
        ended_at: float,
        events: list[tuple[str, int, Attributes]] | None = None,
    ) -> None:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.trace import Status, StatusCode

        failed = "error.type" in attributes and not _told_client_only(attributes)
        self._processor.on_end(
            ReadableSpan(
                name,
                context=_context(trace, span_id),
                parent=None
                if parent_id is None
                else _context(trace, parent_id, remote=span_id == trace.span_id),
                resource=self._resource,
                attributes=attributes,
                events=[Event(event, told, at_ns) for event, at_ns, told in events or ()],
                kind=kind,
                instrumentation_scope=self._scope,
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=trace.at_ns(started_at),
                end_time=trace.at_ns(max(started_at, ended_at)),
            )
        )


def _told_client_only(attributes: Attributes) -> bool:
    """A server's span is no error where the request was at fault (4xx)."""
    status = attributes.get("http.response.status_code")
    return "http.route" in attributes and isinstance(status, int) and status < 500


def _context(trace: Trace, span_id: int, *, remote: bool = False) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    state = TraceState.from_header([trace.state]) if trace.state else None
    return SpanContext(trace.trace_id, span_id, remote, TraceFlags(TraceFlags.SAMPLED), state)


def _fallbacks(trace: Trace, asks: list[LiveAsk]) -> list[tuple[str, int, Attributes]]:
    """An event for each ask that failed: who failed, why, and who was asked next."""
    told: list[tuple[str, int, Attributes]] = []
    for ask in asks:
        if ask.error is None:
            continue
        begun = ask.started_at if ask.started_at is not None else trace.started_at
        failed_at = begun + (ask.latency_s or 0.0)
        attributes: dict[str, Any] = {"herdwise.candidate": ask.candidate, "error.type": ask.error.kind}
        later = [one for one in asks[ask.number + 1 :] if (one.started_at or 0.0) >= failed_at]
        name = "herdwise.failure"
        if later:
            again = later[0].candidate == ask.candidate
            name = "herdwise.retry" if again else "herdwise.fallback"
            attributes["herdwise.next_candidate"] = later[0].candidate
        told.append((name, trace.at_ns(failed_at), attributes))
    return told
