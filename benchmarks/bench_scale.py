"""Training on millions of outcomes and deciding among a thousand candidates: time, peak memory, linearity.

    python benchmarks/bench_scale.py                    # both shapes, 1/100, 1/10, 1/3, all of 10 million
    python benchmarks/bench_scale.py --shapes wide --fractions 0.01,0.1
    python benchmarks/bench_scale.py --fusion           # the dense shape also with fusion learned

Outcome folders are made by resampling the training split of mmlu_pro: a query is a recorded one with words
dropped and a piece of another one put behind it; a candidate follows a recorded one, with an own share of its
outcomes exchanged for those on the other query. `herdwise train` runs in a process of its own, whose peak
resident memory is printed. Nothing is measured about quality here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from herdwise import Goals, OutcomeTable, Router, read_outcomes
from herdwise.core.candidate import Candidate, Herd
from herdwise.core.query import Query
from herdwise.evaluation.decision_time import decision_times_us
from herdwise.routing.single import Single
from herdwise.storage.candidates_csv import write_candidates

#: Cells (queries x candidates) that are made at once.
_CELLS = 1_000_000
_WORDS = 50


class Shape(NamedTuple):
    """Size of an outcome folder; ``coverage`` is the share of the pairs that were run."""

    n_queries: int
    n_candidates: int
    coverage: float


SHAPES = {"dense": Shape(300_000, 33, 1.0), "wide": Shape(50_000, 1_000, 0.2)}


class Trained(NamedTuple):
    """What one ``herdwise train`` took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def make_folder(folder: Path, source: OutcomeTable, shape: Shape, seed: int) -> int:
    """Write an outcome folder of this shape, block by block; returns its number of outcomes."""
    rng = np.random.default_rng(seed)
    n_source, m_source = source.n_queries, source.n_candidates
    follows = (
        np.arange(m_source)
        if shape.n_candidates == m_source
        else rng.integers(0, m_source, shape.n_candidates)
    )
    exchanged = np.zeros(m_source) if shape.n_candidates == m_source else rng.uniform(0, 0.3, len(follows))
    exchanged = np.maximum(exchanged, 0.05)
    names = [
        f"{source.herd[int(j)].name}" + ("" if shape.n_candidates == m_source else f"-{place}")
        for place, j in enumerate(follows)
    ]
    folder.mkdir(parents=True)
    write_candidates(
        Herd(_named(source.herd[int(j)], n) for j, n in zip(follows, names, strict=True)),
        folder / "candidates.csv",
    )
    quality, chars, said = source.matrix(), source.matrix("output_chars"), source.answer_matrix()
    price = rng.uniform(0.1, 5.0, len(follows)).astype(np.float32)
    speed = rng.uniform(50, 500, len(follows)).astype(np.float32)
    candidate_names = pa.array(names, pa.string())
    n_outcomes = 0
    queries_file = outcomes_file = None
    step = max(_CELLS // shape.n_candidates, 1)
    for start in range(0, shape.n_queries, step):
        n = min(step, shape.n_queries - start)
        base, other = rng.integers(0, n_source, (2, n))
        swap = rng.random((n, len(follows))) < exchanged
        rows = np.where(swap, other[:, None], base[:, None])
        got = quality[rows, follows]
        run = np.isfinite(got) & (rng.random(got.shape) < shape.coverage)
        i, j = np.nonzero(run)
        length = chars[rows[i, j], follows[j]] * rng.lognormal(0.0, 0.2, len(i)).astype(np.float32)
        ids = [f"query-{number:07d}" for number in range(start, start + n)]
        queries = pa.table(
            {
                "query_id": ids,
                "text": [
                    _jittered(source.texts[a], source.texts[b], rng)
                    for a, b in zip(base.tolist(), other.tolist(), strict=True)
                ],
                "benchmark": [f"{source.benchmarks[a]}-{int(a) % 14}" for a in base],
                "split": ["train"] * n,
            }
        )
        outcomes = pa.table(
            {
                "query_id": pa.array(ids, pa.string()).take(pa.array(i)),
                "candidate": candidate_names.take(pa.array(j)),
                "quality": got[i, j],
                "cost_usd": length / 4 * price[j] * np.float32(1e-6),
                "latency_s": length / 4 / speed[j],
                "output_chars": length,
                "answer": pa.array(said[rows[i, j], follows[j]].tolist(), pa.string()),
            }
        )
        if queries_file is None or outcomes_file is None:
            queries_file = pq.ParquetWriter(folder / "queries.parquet", queries.schema, compression="zstd")
            outcomes_file = pq.ParquetWriter(folder / "outcomes.parquet", outcomes.schema, compression="zstd")
        queries_file.write_table(queries)
        outcomes_file.write_table(outcomes)
        n_outcomes += len(i)
    assert queries_file is not None  # noqa: S101 - a shape has queries
    assert outcomes_file is not None  # noqa: S101
    queries_file.close()
    outcomes_file.close()
    return n_outcomes


def _named(candidate: Candidate, name: str) -> Candidate:
    return candidate.replace(name=name)


def _jittered(text: str, other: str, rng: np.random.Generator) -> str:
    """A text without a tenth of its words, with a piece of another one behind it."""
    words = text.split(" ")
    kept = rng.random(len(words)) >= 0.1
    beginning = other[: int(rng.integers(20, 120))]
    return " ".join([word for word, keep in zip(words, kept, strict=True) if keep]) + "\n" + beginning


def train(folder: Path, out: Path, *options: str) -> Trained:
    """``herdwise train`` in a process of its own."""
    command = [str(Path(sys.executable).with_name("herdwise")), "train", "--outcomes", str(folder)]
    started = time.perf_counter()
    with subprocess.Popen([*command, "--out", str(out), *options], stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"herdwise train ended with {process.returncode}.")
    return Trained(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def show_decisions(out: Path, texts: Sequence[str]) -> None:
    """Time of a decision over the router's herd, queries of ``_WORDS`` words."""
    router = Router.load(out)
    queries = [Query(text=" ".join(text.split()[:_WORDS])) for text in texts]
    p50, p99 = decision_times_us(router, Single(), queries, Goals())
    print(
        f"\ndecision over {len(router.herd)} candidates, {_WORDS} words: p50 {p50:.0f} us, p99 {p99:.0f} us"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="dense,wide")
    parser.add_argument("--fractions", default="0.01,0.1,0.333,1")
    parser.add_argument("--fusion", action="store_true", help="the largest dense folder with fusion too")
    parser.add_argument("--folder", type=Path, help="where outcome folders are made and kept")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    source = read_outcomes("mmlu_pro").split("train")
    fractions = [float(part) for part in chosen.fractions.split(",")]
    place = chosen.folder or Path(tempfile.mkdtemp(prefix="herdwise-scale-"))
    print(
        "| shape | queries x candidates | outcomes | folder | made in | fusion | train | processor | peak |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        for name in chosen.shapes.split(","):
            whole = SHAPES[name]
            for fraction in fractions:
                shape = whole._replace(n_queries=int(whole.n_queries * fraction))
                folder, out = place / f"{name}-{shape.n_queries}", place / f"router-{name}"
                started = time.perf_counter()
                if folder.is_dir():
                    n_outcomes, made = pq.ParquetFile(folder / "outcomes.parquet").metadata.num_rows, None
                else:
                    n_outcomes = make_folder(folder, source, shape, chosen.seed)
                    made = time.perf_counter() - started
                size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
                with_fusion = [False] + [True] * (
                    chosen.fusion and name == "dense" and fraction == max(fractions)
                )
                for fusion in with_fusion:
                    took = train(folder, out, "--fusion" if fusion else "--no-fusion")
                    print(
                        f"| {name} | {shape.n_queries:,} x {shape.n_candidates:,} | {n_outcomes:,}"
                        f" | {size:.0f} MB"
                        f" | {'-' if made is None else f'{made:.0f} s'} | {'yes' if fusion else 'no'}"
                        f" | {took.wall_s:.1f} s | {took.cpu_s:.1f} s | {took.peak_mb:,.0f} MB |",
                        flush=True,
                    )
            show_decisions(place / f"router-{name}", source.texts[:500])
        print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    finally:
        if chosen.folder is None:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
