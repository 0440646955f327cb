"""What tracing costs a request: ``python benchmarks/bench_telemetry.py`` (needs the extra `telemetry`).

CPU microseconds of the whole process, over a request with one ask: its place in the trace, three spans, and
the thread that encodes and sends them to a receiver of this machine (in a process of its own). Then the share
that the event loop pays itself.
"""

from __future__ import annotations

import multiprocessing
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection

from herdwise.backends.openai_compatible import OpenAICompatible
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Usage
from herdwise.core.decision import Goals
from herdwise.core.money import Price
from herdwise.core.query import Query
from herdwise.routing.declared import DeclaredRouter
from herdwise.serving.course import Course, LiveAsk
from herdwise.serving.telemetry import Telemetry
from herdwise.serving.telemetry_settings import TelemetrySettings

_REQUESTS = 5_000
_PARENT = {b"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


def _receive(port: Connection) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    port.send(server.server_port)
    server.serve_forever()


def main() -> None:
    """Print both figures."""
    told, telling = multiprocessing.Pipe(duplex=False)
    receiver = multiprocessing.Process(target=_receive, args=(telling,), daemon=True)
    receiver.start()
    telemetry = Telemetry(TelemetrySettings(f"http://127.0.0.1:{told.recv()}"))
    herd = Herd([Candidate("one", quality=0.5, price=Price(1.0, 2.0))])
    situation = DeclaredRouter(herd).situation(Query("Hello"), Goals())
    backends = {"one": OpenAICompatible("one", "http://127.0.0.1:9/v1")}
    loop_s, started = 0.0, time.process_time()
    for _ in range(_REQUESTS):
        now = time.perf_counter()
        course = Course("id", situation, "single", "auto", {"temperature": 0}, True, {}, "declared", now)
        ask = LiveAsk(0, 0, "one", course.body, usage=Usage(120, 80), finish_reason="stop")
        ask.begin()
        ask.end("answered")
        before = time.thread_time()
        course.trace = telemetry.begin(_PARENT, now)
        if course.trace is not None:
            ask.span_id = course.trace.pass_on()
        loop_s += time.thread_time() - before
        course.asks.append(ask)
        course.finish("answered", "best", ask)
        before = time.thread_time()
        telemetry.ended(course, "/v1/chat/completions", backends)
        loop_s += time.thread_time() - before
        time.sleep(0.0005)  # so that the thread keeps up, as it does beside requests
    telemetry.close()
    print(f"in all                {1e6 * (time.process_time() - started) / _REQUESTS:6.1f} us a request")
    print(f"on the event loop     {1e6 * loop_s / _REQUESTS:6.1f} us a request")
    receiver.terminate()


if __name__ == "__main__":
    main()
