"""Traces, as a real OTLP/HTTP receiver gets them: a span per request, per decision and per ask."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from herdwise.core.errors import MissingExtraError
from herdwise.serving.cache_store import CacheSettings
from herdwise.serving.telemetry import Telemetry
from herdwise.serving.telemetry_settings import TelemetrySettings
from herdwise.serving.telemetry_trace import begin_trace

proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLER, CALLED = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
#: Kinds of spans by their numbers on the wire.
INTERNAL, SERVER, CLIENT = 1, 2, 3


class Receiver:
    """Takes spans as any collector does, and decodes them by OpenTelemetry's own protobuf."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    data = gzip.decompress(data)
                receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, data)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, headers: dict[str, str], data: bytes) -> None:
        assert path == "/v1/traces"
        request = proto.ExportTraceServiceRequest()
        request.ParseFromString(data)
        self.raw += data
        self.headers.append(headers)
        for one in request.resource_spans:
            self.resources.append(values(one.resource.attributes))
            self.spans += [span for scope in one.scope_spans for span in scope.spans]

    def of(self, kind: int) -> list[Any]:
        return sorted((s for s in self.spans if s.kind == kind), key=lambda s: s.start_time_unix_nano)

    async def until(self, n_spans: int) -> None:
        async with asyncio.timeout(60):
            while len(self.spans) < n_spans:  # noqa: ASYNC110 - it is another thread's
                await asyncio.sleep(0.02)
        assert len(self.spans) == n_spans


def values(attributes: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(v) for v in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {attribute.key: plain(attribute.value) for attribute in attributes}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


async def test_a_request_makes_a_span_for_itself_its_decision_and_its_ask(
    endpoint: Any, receiver: Receiver
) -> None:
    settings = TelemetrySettings(receiver.url, headers={"x-team": "routing"}, service_name="front")
    e = await endpoint(telemetry=settings)
    reply = await e.chat("What is a quark?", temperature=0.5, max_tokens=100, stop=["END"])
    await receiver.until(3)
    (request,), (decision,), (ask,) = (receiver.of(kind) for kind in (SERVER, INTERNAL, CLIENT))
    assert (request.name, decision.name, ask.name) == (
        "POST /v1/chat/completions",
        "decide single",
        "chat up-large",
    )
    assert request.trace_id == decision.trace_id == ask.trace_id
    assert (request.parent_span_id, decision.parent_span_id) == (b"", request.span_id)
    assert ask.parent_span_id == decision.span_id
    assert receiver.resources[0]["service.name"] == "front"
    assert receiver.headers[0]["x-team"] == "routing"
    decision_id = reply.headers["x-herdwise-decision-id"]
    assert values(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "herdwise.decision_id": decision_id,
    }
    told = values(decision.attributes)
    assert told.pop("herdwise.overhead_s") > 0
    assert told == {
        "herdwise.decision_id": decision_id,
        "herdwise.policy": "single",
        "herdwise.origin": "declared",
        "herdwise.model": "auto",
        "herdwise.status": "answered",
        "herdwise.reason": told["herdwise.reason"],
        "herdwise.attempts": 1,
        "herdwise.candidate": "large",
        "herdwise.cost_usd": float(reply.headers["x-herdwise-cost-usd"]),
    }
    assert values(ask.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "up-large",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "up-large",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": e.upstreams["large"].port,
        "herdwise.candidate": "large",
        "herdwise.ask": 0,
        "herdwise.cost_usd": float(reply.headers["x-herdwise-cost-usd"]),
    }
    within = [request, decision, ask]
    for outer, inner in itertools.pairwise(within):
        assert outer.start_time_unix_nano <= inner.start_time_unix_nano
        assert inner.start_time_unix_nano <= inner.end_time_unix_nano <= outer.end_time_unix_nano


async def test_prompts_and_answers_stand_in_spans_only_where_the_config_says_so(
    endpoint: Any, receiver: Receiver
) -> None:
    silent = await endpoint(telemetry=TelemetrySettings(receiver.url))
    await silent.chat("A-SECRET-QUESTION")
    await receiver.until(3)
    assert b"A-SECRET-QUESTION" not in receiver.raw
    open_one = await endpoint(telemetry=TelemetrySettings(receiver.url, record_texts=True))
    await open_one.chat("A-KNOWN-QUESTION", stream=True)
    await receiver.until(6)
    told = values(receiver.of(CLIENT)[-1].attributes)
    assert json.loads(told["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "A-KNOWN-QUESTION"}]}
    ]
    assert json.loads(told["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "echo: A-KNOWN-QUESTION"}],
            "finish_reason": "stop",
        }
    ]
    assert told["gen_ai.response.time_to_first_chunk"] > 0


async def test_the_callers_trace_goes_on_and_upstreams_are_told_of_it(
    endpoint: Any, receiver: Receiver
) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url, sample_ratio=0.0))
    await e.chat(headers={"traceparent": PARENT, "tracestate": "vendor=value"})
    await receiver.until(3)
    (request,), (ask,) = receiver.of(SERVER), receiver.of(CLIENT)
    assert request.trace_id.hex() == CALLER
    assert request.parent_span_id.hex() == CALLED
    assert request.trace_state == "vendor=value"
    sent = e.upstreams["large"].requests[-1].headers
    assert sent["traceparent"] == f"00-{CALLER}-{ask.span_id.hex()}-01"
    assert sent["tracestate"] == "vendor=value"


async def test_what_the_caller_does_not_sample_is_passed_on_and_not_sent(
    endpoint: Any, receiver: Receiver
) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url))
    unsampled = PARENT[:-2] + "00"
    await e.chat(headers={"traceparent": unsampled})
    assert e.upstreams["large"].requests[-1].headers["traceparent"] == unsampled
    await e.chat("one that is")
    await receiver.until(3)
    assert CALLER not in {span.trace_id.hex() for span in receiver.spans}


async def test_a_share_of_nothing_sends_nothing(endpoint: Any, receiver: Receiver) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url, sample_ratio=0.0))
    await e.chat()
    assert "traceparent" not in e.upstreams["large"].requests[-1].headers
    await e.chat(headers={"traceparent": PARENT})
    await receiver.until(3)


async def test_without_telemetry_upstreams_get_no_trace(endpoint: Any) -> None:
    e = await endpoint()
    await e.chat(headers={"traceparent": PARENT})
    assert "traceparent" not in e.upstreams["large"].requests[-1].headers


async def test_a_fallback_is_an_event_and_the_failed_ask_an_error(endpoint: Any, receiver: Receiver) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url))
    e.upstreams["large"].behave("server_error", status=501)
    reply = await e.chat()
    assert reply.headers["x-herdwise-candidate"] == "small"
    await receiver.until(4)
    failed, answered = receiver.of(CLIENT)
    told = values(failed.attributes)
    assert (told["error.type"], told["http.response.status_code"]) == ("upstream_status", 501)
    assert (failed.status.code, answered.status.code) == (2, 0)
    sent = [e.upstreams[name].requests[-1].headers["traceparent"] for name in ("large", "small")]
    assert [text.split("-")[2] for text in sent] == [failed.span_id.hex(), answered.span_id.hex()]
    (decision,) = receiver.of(INTERNAL)
    (event,) = decision.events
    assert event.name == "herdwise.fallback"
    assert values(event.attributes) == {
        "herdwise.candidate": "large",
        "error.type": "upstream_status",
        "herdwise.next_candidate": "small",
    }


@pytest.mark.parametrize(("failure", "status", "is_error"), [("down", 502, True), ("refused", 404, False)])
async def test_requests_that_fail_are_traced_with_their_status(
    endpoint: Any, receiver: Receiver, failure: str, status: int, is_error: bool
) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url))
    for upstream in e.upstreams.values():
        upstream.behave("server_error", status=501)
    reply = await e.chat(model="auto" if failure == "down" else "nobody")
    assert reply.status == status
    await receiver.until(4 if failure == "down" else 1)
    (request,) = receiver.of(SERVER)
    told = values(request.attributes)
    assert (told["http.response.status_code"], told["error.type"]) == (status, str(status))
    assert (request.status.code == 2) is is_error


async def test_a_hit_in_the_cache_is_a_decision_without_an_ask(endpoint: Any, receiver: Receiver) -> None:
    e = await endpoint(telemetry=TelemetrySettings(receiver.url), cache=CacheSettings(kind="exact"))
    first = await e.chat()
    await e.chat()
    await receiver.until(5)
    told = values(receiver.of(INTERNAL)[-1].attributes)
    assert (told["herdwise.cache"], told["herdwise.attempts"]) == ("hit", 0)
    assert told["herdwise.cached_from"] == first.headers["x-herdwise-decision-id"]


async def test_a_receiver_that_is_away_disturbs_no_request(endpoint: Any, closed_port: int) -> None:
    e = await endpoint(telemetry=TelemetrySettings(f"http://127.0.0.1:{closed_port}"))
    assert [(await e.chat()).status for _ in range(20)] == [200] * 20


async def test_a_receiver_that_never_answers_does_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        silent.append(writer)

    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    telemetry = Telemetry(TelemetrySettings(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    trace = telemetry.begin({}, time.perf_counter())
    assert trace is not None
    telemetry.refused(trace, "/v1/chat/completions", 401)
    async with asyncio.timeout(60):
        await asked.wait()
    async with asyncio.timeout(9):  # it may take 10 s to answer as long as the process lives
        await asyncio.to_thread(telemetry.close)
    assert "could not be sent" in caplog.text
    for writer in silent:
        writer.close()
    server.close()


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        b"\xff" * 55,
    ],
)
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(header: bytes) -> None:
    trace = begin_trace({b"traceparent": header, b"tracestate": b"a=b"}, 0.0, sample_ratio=1.0)
    assert trace is not None
    assert (trace.parent_id, trace.state, trace.sampled) == (None, "", True)
    assert trace.hex_id != CALLER
    assert begin_trace({b"traceparent": header}, 0.0, sample_ratio=0.0) is None


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    header = b"01" + PARENT.encode()[2:] + b"-more"
    trace = begin_trace({b"traceparent": header}, 0.0, sample_ratio=0.0)
    assert trace is not None
    assert (trace.hex_id, trace.sampled) == (CALLER, True)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from herdwise.serving.telemetry import Telemetry

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match="telemetry"):
        Telemetry(TelemetrySettings("http://127.0.0.1:4318"))
