"""Many open streams at once: none dropped, and how late the chunks come."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.load import Target
from gateway.processes import OTHER_CORE, Running, free_port

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Paced:
    """What came of many open streams.

    Args:
        name: who was in between.
        streams: open at the same time.
        asked_per_s, chunks_per_s: in all streams together, as asked for and as they came.
        dropped: streams that did not bring all of their chunks.
        gap_p50_ms, gap_p99_ms, gap_max_ms: by how much the time between two chunks was longer at the
            client than at the upstream.
        way_p50_ms, way_p99_ms: from the upstream's sending to the client's reading.
        cpu_us: processor time of the gateway for one chunk; NaN where nobody stood in between.
    """

    name: str
    streams: int
    asked_per_s: float
    chunks_per_s: float
    dropped: int
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    way_p50_ms: float
    way_p99_ms: float
    cpu_us: float


def paced_upstream(folder: Path) -> tuple[Running, int]:
    """The upstream, and its port."""
    port = free_port()
    command = [sys.executable, str(_HERE / "paced_upstream.py"), str(port)]
    return Running("paced upstream", command, core=OTHER_CORE, log=folder / "paced_upstream.log"), port


def run_paced(target: Target, *, streams: int, per_s: float, seconds: float) -> Paced:
    """Open so many streams that send so many chunks in all."""
    command = ["taskset", "-c", str(OTHER_CORE), sys.executable, str(_HERE / "paced_client.py")]
    numbers = [str(target.port), target.key, target.model, str(streams), str(per_s), str(seconds)]
    cpu_s = 0.0 if target.process is None else target.process.cpu_s()
    done = subprocess.run([*command, *numbers], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the paced client failed: {done.stderr[-800:]}")
    told = json.loads(done.stdout)
    used_s = float("nan") if target.process is None else target.process.cpu_s() - cpu_s
    # The opening and closing of the streams are in it too.
    whole_s = seconds + 4.0
    return Paced(name=target.name, asked_per_s=per_s, cpu_us=used_s / (per_s * whole_s) * 1e6, **told)
