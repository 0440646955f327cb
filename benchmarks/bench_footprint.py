"""What herdwise weighs and how long its parts take: import, install, training, one decision.

    python benchmarks/bench_footprint.py

Each figure stands beside a reference of the same run, since absolute times say more of the machine. Training
runs in a process of its own, so its peak memory is its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from herdwise import Goals, Query, Router, read_outcomes
from herdwise.routing.single import Single


def import_ms(module: str, runs: int = 9) -> float:
    """Median milliseconds of ``import module`` in a fresh interpreter, by its own clock."""
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1e3)"
    found = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(runs)
    ]
    return float(np.median(found))


def core_install() -> tuple[float, int]:
    """Megabytes and number of the distributions that ``pip install herdwise`` brings, itself included."""
    todo, sizes = ["herdwise"], dict[str, float]()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in sizes:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # a dependency for another platform
        files = [Path(str(found.locate_file(f))) for f in found.files or ()]
        sizes[name] = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
        for wanted in found.requires or ():
            extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", wanted)
            if not extra or (name, extra[1]) == ("uvicorn", "standard"):
                todo.append(re.split(r"[\s;\[<>=!~(]", wanted, maxsplit=1)[0])
    return sum(sizes.values()), len(sizes)


def training(out: Path, *more: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of ``herdwise train`` on the shipped outcomes, start included."""
    command = [sys.executable, "-c", "from herdwise.cli import main; main()"]
    command += ["train", "--outcomes", "mmlu_pro", "--out", str(out), *more]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"training failed with status {status}")
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def decisions_us(router: Router, texts: list[str]) -> tuple[float, float]:
    """p50 and p99 microseconds of encode + predict + constraints + policy, one query at a time."""
    policy, goals, queries = Single(), Goals(), [Query(text) for text in texts]
    for query in queries[:50]:
        policy.step(router.situation(query, goals))
    taken = []
    for query in queries:
        started = time.perf_counter_ns()
        policy.step(router.situation(query, goals))
        taken.append((time.perf_counter_ns() - started) / 1e3)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


def main() -> None:
    """Print the table."""
    bare = import_ms("json")
    ours = import_ms("herdwise")
    numpy_ms = import_ms("numpy")
    print(f"import herdwise: {ours:.1f} ms (json {bare:.1f} ms, numpy {numpy_ms:.1f} ms in the same run)")
    megabytes, count = core_install()
    print(f"core install: {megabytes:.0f} MB in {count} distributions, as unpacked, without bytecode")
    with tempfile.TemporaryDirectory() as folder:
        for more in (("--no-fusion",), ()):
            wall, cpu, peak = training(Path(folder) / "router", *more)
            command = " ".join(("herdwise train --outcomes mmlu_pro", *more))
            print(f"{command}: {wall:.1f} s ({cpu:.1f} s CPU), peak {peak:.0f} MB")
        router = Router.load(Path(folder) / "router")
    table = read_outcomes("mmlu_pro").split("test")
    words = [text.split() for text in table.texts]
    texts = [" ".join(w[:50]) for w in words if len(w) >= 50][:1000]
    with threadpool_limits(1):
        p50, p99 = decisions_us(router, texts)
        knn = Router.fit(read_outcomes("mmlu_pro").split("train"), predictor="knn", keep_texts=False)
        knn_p50, knn_p99 = decisions_us(knn, texts)
    print(f"one decision, {len(router.herd)} candidates, 50 words: p50 {p50:.0f} us, p99 {p99:.0f} us")
    print(f"the same with plain kNN: {knn_p50:.0f} / {knn_p99:.0f} us ({knn_p50 / p50:.1f} times)")


if __name__ == "__main__":
    main()
