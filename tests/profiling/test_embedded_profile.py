"""Candidates that run in this process are profiled like any other, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from herdwise.backends.embedded import Embedded
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.money import FREE
from herdwise.profiling.benchmark import Item
from herdwise.profiling.profiler import Profiler
from herdwise.storage.outcomes import read_outcomes, read_texts


async def test_embedded_candidates_are_profiled_without_a_server(nano_folder: Path, tmp_path: Path) -> None:
    names = ["ant", "bee"]
    backends = {name: Embedded(name, folder=nano_folder) for name in names}
    items = [
        Item(f"i{i}", f"{i}?", ({"role": "user", "content": f"{i}?"},), "regex", options={"pattern": "."})
        for i in range(20)
    ]
    profiler = Profiler(
        Herd(Candidate(name, price=FREE) for name in names),
        backends,
        items,
        sampling={"max_tokens": 8, "logprobs": True},
        budget_usd=0.0,
    )
    summary = await profiler.run(tmp_path)
    for backend in backends.values():
        await backend.close()
    assert (summary.n_outcomes, summary.failures, summary.spent_usd) == (40, [], 0.0)
    texts = read_texts(tmp_path)
    assert all(texts[f"i{i}", "ant"] == texts[f"i{i}", "bee"] for i in range(20))
    table = read_outcomes(tmp_path)
    assert (table.matrix("mean_logprob") <= 0).all()
    assert np.isfinite(table.matrix("latency_s")).all()
