"""What routing by the query alone saves at a quality asked for, held-out; run by bench_routing.

The weight on cost is chosen on training rows by cross-validation; utility is predicted quality -
weight x predicted cost, as in the policy `single`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from herdwise.core.decision import CostKind
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.averages import Average, mean
from herdwise.evaluation.costs import cost_matrix
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.routing.router import Router

WEIGHTS = np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 100)])
_FOLDS = 4


def complete(table: OutcomeTable, column: str) -> OutcomeTable:
    """The queries that every candidate ran."""
    return table.take(np.flatnonzero(np.isfinite(table.matrix(column)).all(axis=1)))


def best_single(train: OutcomeTable, column: str, average: Average) -> int:
    """Column of the best candidate of the training rows."""
    rows = complete(train, column)
    return int(np.argmax(mean(rows.matrix(column), rows.benchmarks, average)))


def picked(matrix: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of each row, the entry where the score is highest."""
    return np.asarray(matrix[np.arange(len(matrix)), scores.argmax(axis=1)], dtype=np.float64)


def cost_table(
    title: str,
    tables: tuple[OutcomeTable, OutcomeTable],
    column: str,
    kind: CostKind,
    reference: str | None,
    target: Callable[[float], float],
) -> None:
    """Mean cost at a quality relative to a reference candidate's."""
    names = tables[0].herd.names
    known = np.logical_and.reduce([np.isfinite(cost_matrix(part, kind)).all(axis=0) for part in tables])
    train, test = (part.restrict([n for n, k in zip(names, known, strict=True) if k]) for part in tables)
    whole = complete(train, column)
    alone = whole.herd.index(reference) if reference else best_single(train, column, "micro")
    weight = chosen_weight(train, column, kind, target(float(whole.matrix(column)[:, alone].mean())))
    router = Router.fit(train, quality_column=column, keep_texts=False)
    foretold, cost = predicted(router, test, kind)
    utility = foretold - weight * cost
    Y, C = test.matrix(column), cost_matrix(test, kind)
    routed, paid = picked(Y, utility), picked(C, utility)
    series = np.stack([paid, C[:, alone], routed, Y[:, alone]], axis=1)
    draws = resampled_means(series, test.benchmarks, "micro")
    low, high = interval(1.0 - draws[:, 0] / draws[:, 1])
    level, ceiling = interval(100 * (draws[:, 2] - draws[:, 3]))
    less = 1.0 - series[:, 0].mean() / series[:, 1].mean()
    print(
        f"\n{title}: {len(Y)} queries, the {Y.shape[1]} of {len(names)} candidates whose {kind} is known;"
        f" reference {test.herd.names[alone]}"
    )
    print(
        f"  weight {weight:.3f}: mean {kind} {less:.1%} lower [{low:.1%}, {high:.1%}]"
        f" ({series[:, 1].mean():.4g} -> {series[:, 0].mean():.4g}, {1 / (1 - less):.2f} times smaller);"
        " quality"
        f" {100 * series[:, 2].mean():.2f} against {100 * series[:, 3].mean():.2f},"
        f" {100 * (series[:, 2] - series[:, 3]).mean():+.2f} [{level:+.2f}, {ceiling:+.2f}]"
    )


def chosen_weight(train: OutcomeTable, column: str, kind: CostKind, enough: float) -> float:
    """The largest weight that keeps quality ``enough`` on training rows, predicted by the other folds."""
    fold = np.random.default_rng(0).permutation(train.n_queries) % _FOLDS
    quality = np.zeros((len(WEIGHTS), train.n_queries))
    for number in range(_FOLDS):
        held = np.flatnonzero(fold == number)
        inside = train.take(np.flatnonzero(fold != number))
        router = Router.fit(inside, quality_column=column, keep_texts=False)
        rows = train.take(held)
        foretold, cost = predicted(router, rows, kind)
        Y = rows.matrix(column)
        for place, weight in enumerate(WEIGHTS):
            quality[place, held] = picked(Y, foretold - weight * cost)
    kept = np.nanmean(quality, axis=1) >= enough
    return float(WEIGHTS[np.flatnonzero(kept)[-1]]) if kept.any() else 0.0


def predicted(router: Router, rows: OutcomeTable, kind: CostKind) -> tuple[np.ndarray, np.ndarray]:
    """Predicted quality, and predicted cost as a multiple of its mean over the herd."""
    got = router.estimate(rows.queries())
    if kind == "active_params":
        cost = cost_matrix(rows, kind)
    else:
        cost = got.cost_usd if kind == "usd" else got.latency_s
    return got.quality, cost / np.nanmean(cost)
