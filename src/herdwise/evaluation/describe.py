"""What an outcome folder holds, before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.routing.facts import MIN_COVERAGE


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate: quality is the mean over the queries it ran, None where nothing was graded."""

    candidate: str
    coverage: float
    quality: float | None
    params_b: float | None
    active_params_b: float | None
    open_weights: bool | None


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One benchmark: the candidate that is best on it in hindsight, and the oracle."""

    benchmark: str
    n: int
    best_single: str | None
    best_single_quality: float | None
    oracle_quality: float | None


@dataclass(frozen=True, slots=True)
class Description:
    """Counts, coverage, best single and oracle of a table.

    Best single and oracle are means over the ``n_common`` queries that all ``n_covered`` candidates of
    at least 95% coverage ran; both are hindsight.
    """

    name: str
    n_queries: int
    n_candidates: int
    n_outcomes: int
    n_graded: int
    n_common: int
    n_covered: int
    splits: dict[str, int]
    columns: list[str]
    best_single: str | None
    best_single_quality: float | None
    oracle_quality: float | None
    candidates: list[CandidateRow]
    benchmarks: list[BenchmarkRow]


def describe(table: OutcomeTable, quality_column: str = "quality") -> Description:
    """Describe a table.

    Raises:
        InputError: when the column was not recorded.
    """
    quality = np.asarray(table.matrix(quality_column), dtype=np.float64)
    coverage = table.coverage(quality_column)
    covered = np.flatnonzero(coverage >= MIN_COVERAGE)
    common = np.isfinite(quality[:, covered]).all(axis=1) & np.full(len(quality), len(covered) > 0)
    benchmarks = np.asarray(table.benchmarks, dtype=object)

    def best(rows: np.ndarray) -> tuple[str | None, float | None, float | None]:
        if not rows.any():
            return None, None, None
        chosen = quality[rows][:, covered]
        means = chosen.mean(axis=0)
        top = int(means.argmax())
        return (
            table.herd[int(covered[top])].name,
            float(means[top]),
            float(chosen.max(axis=1).mean()),
        )

    graded = np.isfinite(quality)
    name, single, oracle = best(common)
    return Description(
        name=table.name,
        n_queries=table.n_queries,
        n_candidates=table.n_candidates,
        n_outcomes=table.n_outcomes,
        n_graded=int(np.isfinite(table.values[quality_column]).sum()),
        n_common=int(common.sum()),
        n_covered=len(covered),
        splits=dict(sorted(Counter(s for s in table.splits if s is not None).items())),
        columns=[*table.values, *(["answer"] if table.answers is not None else [])],
        best_single=name,
        best_single_quality=single,
        oracle_quality=oracle,
        candidates=[
            CandidateRow(
                candidate=c.name,
                coverage=float(coverage[j]),
                quality=float(quality[graded[:, j], j].mean()) if graded[:, j].any() else None,
                params_b=c.params_b,
                active_params_b=c.active_params_b,
                open_weights=c.open_weights,
            )
            for j, c in enumerate(table.herd)
        ],
        benchmarks=[
            BenchmarkRow(b, int((benchmarks == b).sum()), *best(common & (benchmarks == b)))
            for b in sorted(set(table.benchmarks))
        ],
    )
