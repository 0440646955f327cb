"""What an evaluation fixes before it trains or measures: candidates, test rows, best single."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from herdwise.core.decision import Constraints
from herdwise.core.errors import ConfigError, HerdMismatchError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.averages import Average
from herdwise.evaluation.references import best_single, training_means
from herdwise.evaluation.selection import (
    MeasuredRows,
    completed,
    measured_rows,
    removed_by_coverage,
    require_some,
    select_candidates,
)
from herdwise.routing.router import Router

#: In place of a split's name: every query of the folder.
EVERY_QUERY = "all"


#: Columns that hold qualities, fractions in [0, 1].
QUALITY_COLUMNS = ("quality", "correct")


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything fixed before a router is trained and the policy is replayed.

    Args:
        source: the given router, of the remaining candidates, or the table to train one on.
        rows: the test rows that are measured.
        test: the whole test split, every candidate of the folder.
        column: the quality column learned and measured.
        best_single: chosen on the training split.
        n_train: training queries.
        n_shared_texts: measured rows whose text also stands in train; None where train is not at hand.
        excluded: candidate -> why it takes no part.
        warnings: what a reader should know.
    """

    source: Router | OutcomeTable
    rows: MeasuredRows
    test: OutcomeTable
    column: str
    best_single: str
    n_train: int
    n_shared_texts: int | None
    excluded: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def set_up(
    table: OutcomeTable,
    limits: Constraints,
    *,
    router: Router | None,
    quality_column: str | None,
    average: Average,
    train_split: str,
    test_split: str,
) -> Setup:
    """Choose candidates and rows; nothing is trained yet.

    Raises:
        InputError: a split, candidate or column that isn't there; nobody or nothing left.
        HerdMismatchError: a candidate that the given router does not know.
    """
    if quality_column not in (None, *QUALITY_COLUMNS):
        raise ConfigError(
            f"column {quality_column!r} is not one of quality.",
            remedy=f"Known: {', '.join(QUALITY_COLUMNS)}.",
        )
    test = _split(table, test_split)
    if router is None:
        column = quality_column or "quality"
        if train_split == test_split:
            raise ConfigError(
                f"training and test split are both {test_split!r}: the figures would not be held out.",
                remedy="Name two splits with --train-split and --test-split, or give a trained --router.",
            )
        train = _split(table, train_split)
        return _to_train(train, test, (train_split, test_split), limits, column, average)
    column = quality_column or router.facts.quality_column
    if column != router.facts.quality_column:
        raise ConfigError(
            f"the router learned column {router.facts.quality_column!r}, not {column!r}.",
            remedy=f"Train again with --quality-column {column}, or leave --quality-column out.",
        )
    return _with_router(router, test, test_split, limits, column, average)


def _to_train(
    train: OutcomeTable,
    test: OutcomeTable,
    splits: tuple[str, str],
    limits: Constraints,
    column: str,
    average: Average,
) -> Setup:
    allowed, excluded = select_candidates(test, limits)
    coverage = {
        name: _shares(part.restrict(allowed.herd.names), column)
        for name, part in zip(splits, (train, test), strict=True)
    }
    excluded = excluded | removed_by_coverage(coverage)
    names = [name for name in test.herd.names if name not in excluded]
    require_some(names, excluded)
    learned = train.restrict(names)
    means, n_common = training_means(learned.matrix(column), learned.benchmarks, average)
    best = best_single(learned.herd.names, dict(zip(learned.herd.names, means.tolist(), strict=True)))
    rows = measured_rows(test, learned.herd, column)
    known_texts = set(train.texts)
    shared = sum(text in known_texts for text in rows.table.texts)
    warnings = _about_rows(rows, test)
    if shared:
        warnings.append(f"{shared} of {len(rows.quality)} measured texts also stand in the training split.")
    if n_common < train.n_queries:
        warnings.append(
            f"best single was chosen on the {n_common} of {train.n_queries} training queries"
            " that every remaining candidate ran."
        )
    return Setup(learned, rows, test, column, best, train.n_queries, shared, excluded, warnings)


def _with_router(
    router: Router,
    test: OutcomeTable,
    test_split: str,
    limits: Constraints,
    column: str,
    average: Average,
) -> Setup:
    known = completed(test.herd, router.herd)
    allowed, excluded = select_candidates(replace(test, herd=known, _cache={}), limits)
    tested = _shares(allowed, column)
    sparse = removed_by_coverage({test_split: tested})
    named = limits.candidates or frozenset()
    # Who is left out for coverage need not be known, unless the caller asked for it by name.
    foreign = [
        name
        for name in allowed.herd.names
        if name not in router.herd and (name in named or name not in sparse)
    ]
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        both = [name for name in test.herd.names if name in router.herd]
        raise HerdMismatchError(
            f"the router was not trained with {shown}.",
            remedy=(
                f"Name candidates that it knows with --candidates, such as {','.join(both[:3])},"
                if both
                else "Evaluate it on a folder of its own herd,"
            )
            + " or train again with their outcomes.",
        )
    # An enlisted candidate ran a few queries by design; its mean is an estimate for all of them.
    trained = {
        name: router.facts.coverage.get(name, 0.0)
        for name in tested
        if name not in sparse and name not in router.facts.enlisted
    }
    excluded = excluded | sparse | removed_by_coverage({"train": trained})
    left = [name for name in tested if name not in excluded]
    require_some(left, excluded)
    herd = known.subset(left)
    means = router.facts.mean_micro if average == "micro" else router.facts.mean_macro
    best = best_single(left, means)
    # The folder's own facts count where it has them; where nothing differs the router serves as it is.
    fitted = router if herd == router.herd else router.adapt(herd)
    rows = measured_rows(test, fitted.herd, column)
    return Setup(
        fitted,
        rows,
        test,
        column,
        best,
        router.facts.n_queries,
        None,
        excluded,
        _about_rows(rows, test),
    )


def _split(table: OutcomeTable, name: str) -> OutcomeTable:
    return table if name == EVERY_QUERY else table.split(name)


def _shares(table: OutcomeTable, column: str) -> dict[str, float]:
    return dict(zip(table.herd.names, np.asarray(table.coverage(column)).tolist(), strict=True))


def _about_rows(rows: MeasuredRows, test: OutcomeTable) -> list[str]:
    if rows.n_left_out == 0:
        return []
    return [
        f"{rows.n_left_out} of {test.n_queries} test queries are left out:"
        " some remaining candidate has no graded outcome there."
    ]
