"""Opens many paced streams at once and keeps what each chunk's way took. Prints one JSON object.

python paced_client.py PORT KEY MODEL N_STREAMS CHUNKS_PER_S SECONDS
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from functools import partial
from typing import cast

import numpy as np
import uvloop

#: Streams are opened over this long, and the first second with all of them open is not counted.
_RAMP_S, _SETTLE_S = 3.0, 1.0
_SENT = re.compile(rb'"content":" (\d+)"')


class Stream(asyncio.Protocol):
    """One stream: when each chunk was sent and when it came, in nanoseconds."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.sent: list[int] = []
        self.came: list[int] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note the chunks that are complete."""
        now = time.monotonic_ns()
        whole, found, self._rest = (self._rest + data).rpartition(b"\n\n")
        if found:
            for stamp in _SENT.findall(whole):
                self.sent.append(int(stamp))
                self.came.append(now)
            if whole.endswith(b"data: [DONE]"):
                self._end(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream that was not whole is dropped."""
        del exc
        self._end(False)

    def _end(self, well: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(well)
            self._transport.close()


async def _run(port: int, key: str, model: str, n_streams: int, per_s: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    interval_s = n_streams / per_s
    n = max(2, round((_RAMP_S + _SETTLE_S + seconds) / interval_s))
    streams: list[Stream] = []
    began = loop.time()
    for i in range(n_streams):
        message = {
            "role": "user",
            "content": f"Question {i}: which of the {i + 2} suppliers is the best one?",
        }
        asked = {"model": model, "stream": True, "messages": [message]}
        body = json.dumps({**asked, "paced": {"interval_s": interval_s, "n": n}}).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await asyncio.sleep(max(0.0, began + i * _RAMP_S / n_streams - loop.time()))
        _, stream = await loop.create_connection(partial(Stream, head.encode() + body), "127.0.0.1", port)
        streams.append(stream)
    all_open = time.monotonic_ns()
    longest_s = _RAMP_S + _SETTLE_S + seconds + 30
    await asyncio.wait([stream.ended for stream in streams], timeout=longest_s)
    well = [s.ended.done() and s.ended.result() and len(s.sent) == n for s in streams]
    since = all_open + int(_SETTLE_S * 1e9)
    until = min(s.sent[-1] for s in streams if s.sent)
    added, ways, counted = [], [], 0
    for stream in streams:
        sent, came = np.array(stream.sent), np.array(stream.came)
        inside = (sent[1:] >= since) & (sent[1:] <= until)
        ways.append((came - sent)[1:][inside])
        added.append((np.diff(came) - np.diff(sent))[inside])
        counted += int(inside.sum())
    late, way = np.concatenate(added) / 1e6, np.concatenate(ways) / 1e6
    told = {
        "streams": n_streams,
        "dropped": n_streams - sum(map(bool, well)),
        "chunks_per_s": counted / ((until - since) / 1e9),
        "gap_p50_ms": float(np.percentile(late, 50)),
        "gap_p99_ms": float(np.percentile(late, 99)),
        "gap_max_ms": float(late.max()),
        "way_p50_ms": float(np.percentile(way, 50)),
        "way_p99_ms": float(np.percentile(way, 99)),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    uvloop.run(
        _run(
            int(sys.argv[1]),
            sys.argv[2],
            sys.argv[3],
            int(sys.argv[4]),
            float(sys.argv[5]),
            float(sys.argv[6]),
        )
    )
