"""What a profile itself costs per answer: candidates that answer at once, in this process.

python benchmarks/bench_profile.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from herdwise.backends.base import Backend, Health
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.completion import Chunk, Completion, Usage
from herdwise.core.money import FREE
from herdwise.profiling.benchmark import Item
from herdwise.profiling.profiler import Profiler


class Instant(Backend):
    """Answers at once."""

    name: ClassVar[str] = "instant"

    async def complete(self, body: Mapping[str, Any]) -> Completion:
        """Always the same."""
        del body
        return Completion("instant", "The answer is 7.", usage=Usage(10, 5), latency_s=0.001)

    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[Chunk]:
        """The same, as one chunk; a profile asks for none."""
        yield Chunk({}, (await self.complete(body)).text, "stop")

    async def probe(self) -> Health:
        """Always there."""
        return Health(True)


async def _run(n_items: int, n_candidates: int) -> tuple[float, float]:
    items = [
        Item(f"i{i}", f"q{i}", ({"role": "user", "content": f"q{i}"},), "exact", reference="7")
        for i in range(n_items)
    ]
    herd = Herd(Candidate(f"c{j}", price=FREE) for j in range(n_candidates))
    profiler = Profiler(herd, {name: Instant() for name in herd.names}, items)
    with tempfile.TemporaryDirectory() as out:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        await profiler.run(out)
        return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> None:
    """Print the table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wall_s, cpu_s = asyncio.run(_run(options.items, options.candidates))
    n = options.items * options.candidates
    if options.json:
        print(json.dumps({"answers": n, "wall_s": wall_s, "cpu_us_per_answer": 1e6 * cpu_s / n}))
        return
    print(
        f"{n} answers asked, graded and written: {wall_s:.2f} s, {1e6 * cpu_s / n:.0f} us of processor each"
    )


if __name__ == "__main__":
    main()
