"""How long `herdwise serve` takes until it answers, and how much memory it holds then.

    python benchmarks/bench_serve_start.py [--router DIR] [--runs N]

Serves one candidate behind an HTTP address (never asked) in a fresh process, without a router or with the
saved one given (the candidate is then the first of its herd). Prints wall and CPU seconds until /healthz
answers, and resident memory: after the start, and after one routed request, which fails for want of an
upstream but has gone through encoding, prediction and policy. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path


def memory_mb(pid: int) -> float:
    """Resident memory, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    """User and system seconds used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(config: Path) -> tuple[float, float, float, float]:
    """Wall seconds, CPU seconds, MiB at the start, MiB after a request."""
    script = str(Path(sys.executable).with_name("herdwise"))
    command = [script, "serve", "--config", str(config), "--port", "0", "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        told = ""
        for line in process.stdout or ():
            told += line
            if line.startswith("}"):
                break
        url = json.loads(told)["url"]
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as response:
            response.read()
        wall, cpu, idle = time.perf_counter() - started, cpu_s(process.pid), memory_mb(process.pid)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "What is 6 x 7?"}]})
        request = urllib.request.Request(
            f"{url}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()
        asked = memory_mb(process.pid)
        process.terminate()
    return wall, cpu, idle, asked


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--router", type=Path, help="a saved router; none = declared qualities")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    name, router = "only", ""
    if options.router is not None:
        manifest = json.loads((options.router / "manifest.json").read_text(encoding="utf-8"))
        name, router = manifest["herd"][0]["name"], f"router: {json.dumps(str(options.router.resolve()))}\n"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "herdwise.yaml"
        config.write_text(
            f"candidates:\n  - {{name: {json.dumps(name)}, base_url: 'http://127.0.0.1:9/v1'}}\n{router}",
            encoding="utf-8",
        )
        runs = [measure(config) for _ in range(options.runs)]
    wall, cpu, idle, asked = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"{options.runs} runs, medians: {wall:.2f} s until it answers ({cpu:.2f} s of CPU),")
    print(f"{idle:.0f} MiB then, {asked:.0f} MiB after a request")


if __name__ == "__main__":
    main()
