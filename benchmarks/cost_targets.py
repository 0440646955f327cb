"""What routing by the query alone saves at a quality asked for; bench_routing prints it for test splits.

    python benchmarks/cost_targets.py         the same on `train`: what a chosen weight does on rows that
                                              neither router nor choice have seen, beside hindsight

The operating point (weight on cost, margin for leaving the best single) is chosen on training rows
(`herdwise.evaluation.operating`); the picks are those of the policy `single`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from herdwise.core.decision import CostKind
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.averages import Average, mean
from herdwise.evaluation.costs import cost_matrix
from herdwise.evaluation.intervals import interval, resampled_means
from herdwise.evaluation.operating import LeftOut, choose, estimates
from herdwise.routing.router import Router
from herdwise.storage.outcomes import read_outcomes

SHARED = Path(__file__).resolve().parents[2] / "shared" / "outcomes"
_FOLDS, _COVERAGE = 4, 0.95
_HINDSIGHT = np.concatenate([[0.0], np.geomspace(1e-4, 10.0, 200)])


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


def with_cost(tables: tuple[OutcomeTable, ...], kind: CostKind) -> list[OutcomeTable]:
    """Without the candidates whose cost is not on record everywhere."""
    known = np.logical_and.reduce([np.isfinite(cost_matrix(part, kind)).all(axis=0) for part in tables])
    names = [n for n, k in zip(tables[0].herd.names, known, strict=True) if k]
    return [part.restrict(names) for part in tables]


def followed(
    train: OutcomeTable,
    test: OutcomeTable,
    column: str,
    kind: CostKind,
    reference: str | None,
    target: Callable[[float], float],
) -> tuple[np.ndarray, str, LeftOut]:
    """``(n, 4)`` cost and quality of picks and reference, the point in words, and the test rows."""
    whole = complete(train, column)
    alone = whole.herd.index(reference) if reference else best_single(train, column, "micro")
    level = float(whole.matrix(column)[:, alone].mean())
    point = choose(LeftOut.of(train, kind, column), kind, level - target(level), alone)
    router = Router.fit(train, quality_column=column, keep_texts=False)
    foretold, cost = estimates(router, test, kind)
    if router.best_single is None:
        raise ValueError("the router knows no candidate's mean")
    rows = LeftOut(foretold, cost, test.matrix(column), cost_matrix(test, kind), router.best_single)
    at, pick = np.arange(len(foretold)), rows.picks(point.cost_weight, point.leave_margin)
    series = [rows.cost[at, pick], rows.cost[:, alone], rows.quality[at, pick], rows.quality[:, alone]]
    words = (
        f"weight {point.cost_weight:.3g}, margin {point.leave_margin:g}"
        f" (expected {point.saving:.1%} at {-100 * point.loss:+.2f})"
    )
    return np.stack(series, axis=1), words, rows


def cost_table(
    title: str,
    tables: tuple[OutcomeTable, OutcomeTable],
    column: str,
    kind: CostKind,
    reference: str | None,
    target: Callable[[float], float],
) -> None:
    """Mean cost at a quality relative to a reference candidate's."""
    train, test = with_cost(tables, kind)
    series, words, rows = followed(train, test, column, kind, reference, target)
    draws = resampled_means(series, test.benchmarks, "micro")
    low, high = interval(1.0 - draws[:, 0] / draws[:, 1])
    level, ceiling = interval(100 * (draws[:, 2] - draws[:, 3]))
    paid, alone, routed, single = series.mean(axis=0)
    print(
        f"\n{title}: {len(series)} queries, the {rows.quality.shape[1]} of {len(tables[0].herd)} candidates"
        f" whose {kind} is known; reference {reference or train.herd.names[rows.best_single]}"
    )
    print(
        f"  {words}: mean {kind} {1 - paid / alone:.1%} lower [{low:.1%}, {high:.1%}]"
        f" ({alone:.4g} -> {paid:.4g}, {alone / paid:.2f} times smaller); quality {100 * routed:.2f}"
        f" against {100 * single:.2f}, {100 * (routed - single):+.2f} [{level:+.2f}, {ceiling:+.2f}]"
    )


def rehearse(
    title: str,
    train: OutcomeTable,
    column: str,
    kind: CostKind,
    reference: str | None,
    target: Callable[[float], float],
    seeds: int,
) -> None:
    """The same on folds of the training rows, and the most that any weight would have saved in hindsight."""
    (train,) = with_cost((train,), kind)
    train = complete(train, column)
    print(f"\n{title}: {train.n_queries} training queries, {len(train.herd)} candidates")
    for seed in range(seeds):
        fold = np.random.default_rng(seed).permutation(train.n_queries) % _FOLDS
        parts, kept = [], []
        for number in range(_FOLDS):
            inside, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            series, words, rows = followed(
                train.take(inside), train.take(held), column, kind, reference, target
            )
            parts.append(series)
            kept.append(rows)
            print(f"    {words}")
        paid, alone, routed, single = np.concatenate(parts).mean(axis=0)
        print(
            f"  seed {seed}, chosen: {1 - paid / alone:.1%} lower, {alone / paid:.2f} times smaller, at"
            f" {100 * (routed - single):+.2f} (asked for {100 * (target(single) - single):+.2f})"
        )
        unit = float(np.mean([rows.cost_foretold.mean() for rows in kept]))
        for margin in (0.0, 0.02, 0.1):
            top = 0.0
            for weight in _HINDSIGHT / unit:
                at = [rows.picks(float(weight), margin) for rows in kept]
                got = np.concatenate([r.quality[np.arange(len(p)), p] for r, p in zip(kept, at, strict=True)])
                cost = np.concatenate([r.cost[np.arange(len(p)), p] for r, p in zip(kept, at, strict=True)])
                if got.mean() >= target(single):
                    top = max(top, 1 - float(cost.mean()) / alone)
            print(f"          hindsight, margin {margin:g}: {top:.1%} lower", flush=True)


def main() -> None:
    """Rehearse the three targets on training rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="routerbench_partial,bfcl,mmlu_pro")
    options = parser.parse_args()
    for name in options.only.split(","):
        if name != "mmlu_pro" and not (SHARED / name).is_dir():
            print(f"\n{name}: not at hand, left out")
            continue
        train = replace(read_outcomes(name if name == "mmlu_pro" else SHARED / name), answers=None)
        train = train.split("train")
        covered = train.coverage("quality") >= _COVERAGE
        train = train.restrict([n for n, c in zip(train.herd.names, covered, strict=True) if c])
        if name == "routerbench_partial":
            rehearse("99% of best single", train, "quality", "usd", None, lambda q: 0.99 * q, options.seeds)
        elif name == "bfcl":
            rehearse(
                "within 0.5 points", train, "quality", "latency", None, lambda q: q - 0.005, options.seeds
            )
        else:
            plain = [
                c.name for c in train.herd if c.open_weights and not c.name.lower().startswith("deepseek")
            ]
            rehearse(
                "open weights without DeepSeek",
                train.restrict(plain),
                "quality",
                "active_params",
                "Meta-Llama-3.1-70B-Instruct",
                lambda q: q,
                options.seeds,
            )


if __name__ == "__main__":
    main()
