"""What replay may reveal of a table of outcomes: answers, their signals' evidence, further samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.replay import Records
from herdwise.routing.router import Router

Completions = Mapping[tuple[str, str], str]

#: Answers whose signals are held at once.
_AT_ONCE = 2**20


def records_of(
    table: OutcomeTable,
    router: Router,
    column: str,
    cost_usd: np.ndarray,
    latency_s: np.ndarray,
    completions: Completions | None = None,
) -> Records:
    """Records of a table's queries for the router's herd.

    Args:
        table: of the router's herd, in its order.
        column: the quality that is measured.
        cost_usd, latency_s: ``(n, m)``, NaN = unknown.
        completions: (query id, candidate) -> full text of first samples, whose signals count as live.
    """

    def one(part: OutcomeTable, texts: Completions | None) -> Records:
        quality = part.matrix(column)
        answers = None if part.answers is None else part.answer_matrix()
        evidence = evidences(part, router, texts)
        return Records(np.isfinite(quality), answers, cost_usd, latency_s, evidence, quality)

    if table.n_samples == 1:
        return replace(one(table, completions), quality=None)
    further = tuple(one(table.one_sample(number), None) for number in range(1, table.n_samples))
    return replace(one(table.one_sample(0), completions), again=further)


def evidences(table: OutcomeTable, router: Router, completions: Completions | None) -> np.ndarray:
    """Log-odds that the recorded answers' signals add, ``(n, m)`` float32; 0 where nothing is on record."""
    n, m = table.n_queries, table.n_candidates
    found = np.zeros((n, m), dtype=np.float32)
    step = max(_AT_ONCE // max(m, 1), 1)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        part = table if len(rows) == n else table.take(rows)
        found[rows] = router.evidences(part, completions)
    return found
