"""What `herdwise serve` adds to a call: milliseconds per request, seconds to start, memory.

    python benchmarks/bench_serving.py [--router DIR] [--requests N] [--candidates N]

A real upstream and a real endpoint, each in a process of its own, and one client with one keep-alive
connection that asks a different question each time: directly, then through the endpoint, in turns, in
the same run; take the ratio, not the absolute figures. The ledger is on. Without --router the herd is
declared; with one, every decision encodes and predicts for its whole herd. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
QUESTION = (
    "Number {}: a small company wants to know which of its three suppliers delivers the best parts for the"
    " least money, given that the first is cheap but late, the second is dear but always on time, and the"
    " third is somewhere between the two. How should it decide, and what should it measure first?"
)


@contextmanager
def running(command: list[str]) -> Iterator[tuple[int, IO[str]]]:
    """A process: its id, and what it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            raise SystemExit("no pipe")
        try:
            yield process.pid, process.stdout
        finally:
            process.terminate()


def memory_mb(pid: int) -> float:
    """Resident memory, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_ms(pid: int) -> float:
    """User and system milliseconds used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000


class Client:
    """One keep-alive connection."""

    def __init__(self, base_url: str, model: str) -> None:
        parts = urlsplit(base_url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        self._path, self._model, self._asked = f"{parts.path}/chat/completions", model, 0

    def ask(self, *, stream: bool) -> float:
        """Milliseconds until the last byte."""
        self._asked += 1
        message = {"role": "user", "content": QUESTION.format(self._asked)}
        body = json.dumps({"model": self._model, "messages": [message], "stream": stream})
        started = time.perf_counter()
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        with self._connection.getresponse() as response:
            content = response.read()
        elapsed_ms = (time.perf_counter() - started) * 1000
        if response.status != 200:
            raise SystemExit(f"HTTP {response.status}: {content.decode(errors='replace')[:500]}")
        return elapsed_ms


def config_text(base_url: str, router: Path | None, n_candidates: int, folder: Path) -> str:
    """A config whose candidates all stand behind one upstream."""
    names = [f"candidate-{i}" for i in range(n_candidates)]
    if router is not None:
        manifest = json.loads((router / "manifest.json").read_text(encoding="utf-8"))
        names = [candidate["name"] for candidate in manifest["herd"]]
    lines = ["candidates:"]
    lines += [f"  - {{name: {json.dumps(n)}, base_url: '{base_url}', model: bench}}" for n in names]
    lines += [f"ledger: {{url: 'sqlite:///{folder}/ledger.db'}}", "server: {log_level: WARNING}"]
    if router is not None:
        lines.append(f"router: {json.dumps(str(router.resolve()))}")
    return "\n".join(lines) + "\n"


def answers(url: str) -> bool:
    """Whether /readyz answers 200."""
    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
        return bool(response.status == 200)


def told(printed: IO[str]) -> str:
    """The URL in the JSON object that `serve --json` prints."""
    text = ""
    for line in printed:
        text += line
        if line.startswith("}"):
            return str(json.loads(text)["url"])
    raise SystemExit("serve ended before it was ready")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--router", type=Path, help="a saved router; none = a declared herd")
    parser.add_argument("--candidates", type=int, default=33, help="of the declared herd")
    parser.add_argument("--requests", type=int, default=1000, help="of each kind")
    options = parser.parse_args()
    upstream = [sys.executable, str(ROOT / "tests" / "faulty_upstream.py"), "--model", "bench"]
    with tempfile.TemporaryDirectory() as name, running(upstream) as (_, printed):
        base_url = printed.readline().split()[1]
        config = Path(name) / "herdwise.yaml"
        config.write_text(config_text(base_url, options.router, options.candidates, Path(name)), "utf-8")
        program = str(Path(sys.executable).with_name("herdwise"))
        started = time.perf_counter()
        with running([program, "serve", "--config", str(config), "--port", "0", "--json"]) as (pid, said):
            url = told(said)
            ready_s = (time.perf_counter() - started) if answers(url) else float("nan")
            print(f"{ready_s:.2f} s from start to the first 200, {memory_mb(pid):.0f} MiB then")
            clients = {"upstream": Client(base_url, "bench"), "herdwise": Client(f"{url}/v1", "auto")}
            for stream in (False, True):
                times: dict[str, list[float]] = {who: [] for who in clients}
                cpu = cpu_ms(pid)
                for i in range(options.requests + 50):
                    for who, client in clients.items():
                        elapsed_ms = client.ask(stream=stream)
                        if i >= 50:
                            times[who].append(elapsed_ms)
                p50 = {who: statistics.median(values) for who, values in times.items()}
                p99 = {who: statistics.quantiles(values, n=100)[98] for who, values in times.items()}
                added = p50["herdwise"] - p50["upstream"]
                each = (cpu_ms(pid) - cpu) / (options.requests + 50)
                print(
                    f"{'stream' if stream else 'whole'}: upstream {p50['upstream']:.2f} ms p50"
                    f" ({p99['upstream']:.2f} p99), through herdwise {p50['herdwise']:.2f}"
                    f" ({p99['herdwise']:.2f}): {added:.2f} ms added,"
                    f" {p50['herdwise'] / p50['upstream']:.2f} times; {each:.2f} ms of CPU each"
                )
            print(f"{memory_mb(pid):.0f} MiB after {2 * (options.requests + 50)} requests")


if __name__ == "__main__":
    main()
