"""Every line about a request has its decision's id, whoever wrote it, and no other's."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from herdwise.backends.base import Backend, Health
from herdwise.core.completion import Completion
from herdwise.serving.logs import REQUEST, JsonFormatter, TextFormatter
from herdwise.serving.telemetry_settings import TelemetrySettings


class Talking(Backend):
    """Logs by itself while it answers, and fails in a way that nobody foresees where it is asked to."""

    name = "talking"

    async def complete(self, body: Any) -> Completion:
        text = body["messages"][-1]["content"]
        logging.getLogger("herdwise.backends.talking").warning("asked %s", text)
        await asyncio.sleep(0.02)
        logging.getLogger("herdwise.backends.talking").warning("answers %s", text)
        if text == "break":
            raise RuntimeError("nobody foresaw this")
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
        return Completion("large", text, "stop", body={"id": "x", "choices": choices})

    def stream(self, body: Any) -> Any:
        raise NotImplementedError

    async def probe(self) -> Health:
        return Health(True)


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the endpoint logs, as JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("herdwise")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


async def test_lines_of_other_floors_carry_the_id_of_the_request_that_they_are_about(
    endpoint: Any, lines: Any
) -> None:
    e = await endpoint(backends={"large": Talking()})
    texts = [f"text {i}" for i in range(8)]
    replies = await asyncio.gather(*(e.chat(text, model="large") for text in texts))
    ids = {text: reply.headers["x-herdwise-decision-id"] for text, reply in zip(texts, replies, strict=True)}
    told = [line for line in lines() if line["logger"] == "herdwise.backends.talking"]
    assert len(told) == 16
    for line in told:
        assert line["decision_id"] == ids[line["message"].split(" ", 1)[1]]
        assert "trace_id" not in line
    ends = [line for line in lines() if line["message"] == "chat"]
    assert sorted(line["decision_id"] for line in ends) == sorted(ids.values())


async def test_a_failure_that_nobody_foresaw_is_logged_with_the_decision(endpoint: Any, lines: Any) -> None:
    e = await endpoint(backends={"large": Talking()})
    reply = await e.chat("break", model="large")
    assert reply.status == 502
    (failed,) = [line for line in lines() if line["level"] == "ERROR"]
    assert "nobody foresaw this" in failed["exception"]
    assert failed["decision_id"] == reply.headers["x-herdwise-decision-id"]


async def test_a_traced_request_is_logged_with_its_trace(endpoint: Any, lines: Any, closed_port: int) -> None:
    pytest.importorskip("opentelemetry.sdk.trace")
    e = await endpoint(telemetry=TelemetrySettings(f"http://127.0.0.1:{closed_port}", sample_ratio=0.0))
    trace = "0af7651916cd43dd8448eb211c80319c"
    await e.chat(headers={"traceparent": f"00-{trace}-b7ad6b7169203331-00"})
    (line,) = [line for line in lines() if line["message"] == "chat"]
    assert line["trace_id"] == trace


def test_what_a_line_says_of_itself_goes_before_what_is_known_of_the_request() -> None:
    record = logging.LogRecord("herdwise.x", logging.INFO, "f", 1, "lost", (), None)
    record.decision_id = "another"
    token = REQUEST.set(("this", "t" * 32))
    try:
        told = json.loads(JsonFormatter().format(record))
        assert told["decision_id"] == "another"
        assert "trace_id" not in told
        del record.decision_id
        assert "decision_id=this trace_id=" + "t" * 32 in TextFormatter().format(record)
    finally:
        REQUEST.reset(token)
