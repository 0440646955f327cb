"""What the training split says of each candidate, kept with a router."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from herdwise.core.outcomes import OutcomeTable

if TYPE_CHECKING:
    from herdwise.routing.enlist import Admission

#: A candidate that ran less of the training queries has no part in the training facts.
MIN_COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What the training split says, kept so that evaluation needs only the test split.

    Args:
        quality_column: the column that was learned.
        n_queries, n_outcomes: size of the training data (graded outcomes).
        n_common: queries that every candidate of at least ``MIN_COVERAGE`` ran.
        fingerprint: digest of the training data.
        coverage: candidate -> share of the queries it has a graded outcome for.
        mean_micro: candidate -> mean quality over the common queries.
        mean_macro: candidate -> mean over benchmarks of the mean over their common queries.
        enlisted: candidate admitted from a few outcomes -> their number ``n_probes``, and the 95% interval
            ``low``, ``high`` of its estimated mean, which stands in ``mean_micro``.
    """

    quality_column: str
    n_queries: int
    n_outcomes: int
    n_common: int
    fingerprint: str
    coverage: dict[str, float]
    mean_micro: dict[str, float]
    mean_macro: dict[str, float]
    enlisted: dict[str, dict[str, float]] = field(default_factory=dict)

    def with_enlisted(self, admission: Admission) -> Self:
        """With one more candidate, its means being estimates."""
        name, n_recorded = admission.candidate.name, int((admission.rows >= 0).sum())
        told = {"n_probes": admission.n_probes, "low": admission.low, "high": admission.high}
        return replace(
            self,
            n_outcomes=self.n_outcomes + admission.n_probes,
            coverage={**self.coverage, name: n_recorded / self.n_queries},
            mean_micro={**self.mean_micro, name: admission.level},
            mean_macro={**self.mean_macro, name: admission.level_macro},
            enlisted={**self.enlisted, name: told},
        )

    def without(self, name: str) -> Self:
        """Without one candidate; the numbers of queries and outcomes stay those that were learned from."""
        return replace(
            self,
            coverage={k: v for k, v in self.coverage.items() if k != name},
            mean_micro={k: v for k, v in self.mean_micro.items() if k != name},
            mean_macro={k: v for k, v in self.mean_macro.items() if k != name},
            enlisted={k: v for k, v in self.enlisted.items() if k != name},
        )

    @classmethod
    def of(cls, table: OutcomeTable, quality_column: str) -> Self:
        """Facts of a training table. Where no query is common to all, each candidate's own queries count."""
        quality = table.matrix(quality_column)
        coverage = table.coverage(quality_column)
        covered = coverage >= MIN_COVERAGE
        common = np.zeros(len(quality), dtype=bool)
        if covered.any():
            common = np.isfinite(quality[:, covered]).all(axis=1)
        place = {name: i for i, name in enumerate(sorted(set(table.benchmarks)))}
        benchmark = np.fromiter((place[name] for name in table.benchmarks), np.int64, table.n_queries)

        def means(column: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
            rows = rows & np.isfinite(column)
            if not rows.any():
                return float("nan"), float("nan")
            total = np.bincount(benchmark[rows], weights=column[rows])
            count = np.bincount(benchmark[rows])
            there = count > 0
            return float(total.sum() / count.sum()), float((total[there] / count[there]).mean())

        everywhere = np.ones(len(quality), dtype=bool)
        pairs = [
            means(quality[:, j], common if covered[j] else everywhere) for j in range(table.n_candidates)
        ]
        names = table.herd.names
        return cls(
            quality_column=quality_column,
            n_queries=table.n_queries,
            n_outcomes=int(np.count_nonzero(np.isfinite(quality))),
            n_common=int(common.sum()),
            fingerprint=table.fingerprint(quality_column),
            coverage=dict(zip(names, coverage.tolist(), strict=True)),
            mean_micro={n: p[0] for n, p in zip(names, pairs, strict=True) if np.isfinite(p[0])},
            mean_macro={n: p[1] for n, p in zip(names, pairs, strict=True) if np.isfinite(p[1])},
        )
