"""What an approximate index of neighbours is worth: recall and time against the exact search.

    python benchmarks/bench_neighbours.py                        200,000 synthetic rows
    python benchmarks/bench_neighbours.py --rows 1000000 --probes 8,16,32

Rows are drawn around 2,000 centres in 284 dimensions, as spread as the centres, so that the nearest
hundred of a query lie in several lists; queries are drawn alike and are not among the rows. Recall is the
share of the true 100 nearest that is found. The last line gives what kNN makes of it: the mean difference
of its predictions (quality, in points) from those over the exact neighbours.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

import numpy as np

from herdwise.prediction.knn import KNNPredictor
from herdwise.prediction.neighbour_index import ExactIndex, InvertedIndex

_DIMENSIONS, _CENTRES, _QUERIES, _K = 284, 2000, 300, 100


def draw(n: int, rng: np.random.Generator, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length one, and the centre that each was drawn around."""
    member = rng.integers(0, len(centres), n)
    rows = centres[member] + rng.standard_normal((n, _DIMENSIONS), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), member


def timed(index: ExactIndex | InvertedIndex, queries: np.ndarray) -> tuple[np.ndarray, float]:
    """Rows found one query at a time, and the median milliseconds."""
    found, spent = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(index.nearest(query[None], _K)[0][0])
        spent.append(time.perf_counter() - started)
    return np.stack(found), 1e3 * float(np.median(spent))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--probes", default="8,16,24,32,64")
    options = parser.parse_args()
    if find_spec("faiss") is None:
        print("the extra `index` is not installed: nothing measured")
        return
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((_CENTRES, _DIMENSIONS), dtype=np.float32)
    rows, member = draw(options.rows, rng, centres)
    queries, _ = draw(_QUERIES, rng, centres)
    true, exact_ms = timed(ExactIndex(rows), queries)
    print(f"{options.rows:,} rows, {_DIMENSIONS} dimensions, {_K} nearest; exact: {exact_ms:.2f} ms a query")
    for probes in (int(value) for value in options.probes.split(",")):
        started = time.perf_counter()
        index = InvertedIndex(rows, n_probes=probes)
        built = time.perf_counter() - started
        found, ms = timed(index, queries)
        recall = np.mean([len(np.intersect1d(f, t)) / _K for f, t in zip(found, true, strict=True)])
        print(
            f"  {probes:3d} lists: recall {recall:.3f}, {ms:.2f} ms a query, built in {built:.1f} s",
            flush=True,
        )
    chance = rng.random((_CENTRES, 8), dtype=np.float32)[member]
    outcomes = (rng.random(chance.shape) < chance).astype(np.float32)
    told = [
        KNNPredictor(k=_K, prior=5.0, many=many).fit(rows, outcomes).predict(queries)
        for many in (options.rows, options.rows - 1)
    ]
    print(f"  predictions differ by {100 * float(np.abs(told[0] - told[1]).mean()):.2f} points")


if __name__ == "__main__":
    main()
