"""Prune: which few candidates carry the herd, by the quality that routing among them reaches.

A predictor is trained once on all candidates; a smaller herd only takes columns of its predictions. Sets are
chosen on the training split, by predictions of rows that the fit had not seen, and measured once on the test
split where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from herdwise.core.decision import COST_KINDS, Constraints, CostKind
from herdwise.core.errors import ConfigError
from herdwise.core.outcomes import OutcomeTable
from herdwise.encoding.base import ENCODERS, Encoder
from herdwise.evaluation.averages import AVERAGES, Average, query_weights
from herdwise.evaluation.costs import cost_matrix, first_known_kind, require_known
from herdwise.evaluation.selection import (
    measured_rows,
    removed_by_coverage,
    require_some,
    select_candidates,
)
from herdwise.evaluation.setup import EVERY_QUERY, QUALITY_COLUMNS
from herdwise.evaluation.subsets import Routed, best_subsets
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.routing.router import Progress

_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Reach:
    """What a set of candidates reaches on one split.

    Args:
        routed: mean quality when each query goes to whom of the set is predicted best.
        share: of the whole herd's routed quality.
        oracle: mean of the best quality per query in hindsight.
        cost: mean cost per query of those asked, in the pruning's kind; None = unknown.
    """

    routed: float
    share: float
    oracle: float
    cost: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """The best set found of one size.

    Args:
        kept: its candidates, by the herd's order.
        added, dropped: against the set before.
        train: out of fold on the training split, which the set was chosen on.
        test: held out; None where there is no test split.
        routed_gain, oracle_gain: over the set before, on the training split.
    """

    kept: tuple[str, ...]
    added: tuple[str, ...]
    dropped: tuple[str, ...]
    train: Reach
    test: Reach | None
    routed_gain: float
    oracle_gain: float


@dataclass(frozen=True, slots=True)
class Pruning:
    """Which candidates carry the herd.

    Args:
        whole_train, whole_test: the herd unpruned.
        stages: sizes 1, 2, ... in order.
        chosen: the smallest size that keeps ``min_share`` of the whole herd's routed quality on the training
            split; None where no size up to the last does.
        excluded: candidate -> why it takes no part.
    """

    name: str
    quality_column: str
    average: Average
    cost_kind: CostKind
    min_share: float
    n_candidates: int
    n_train: int
    n_test: int | None
    whole_train: Reach
    whole_test: Reach | None
    stages: tuple[Stage, ...]
    chosen: int | None
    excluded: dict[str, str] = field(default_factory=dict)


def prune(
    table: OutcomeTable,
    *,
    max_candidates: int = 10,
    min_share: float = 0.97,
    limits: Constraints | None = None,
    quality_column: str = "quality",
    average: Average = "micro",
    cost: CostKind | None = None,
    train_split: str = "train",
    test_split: str = "test",
    encoder: str | Encoder = "static",
    predictor: str = "stack",
    seed: int = 0,
    progress: Progress | None = None,
) -> Pruning:
    """Choose and measure the best sets of 1 to ``max_candidates`` candidates.

    Args:
        table: recorded outcomes; a table without splits is used whole and measured out of fold only.
        max_candidates: largest set looked for.
        min_share: of the whole herd's routed quality that a pruned herd must keep.
        limits: on what a candidate is.
        cost: kind to report; None = the first one known for every candidate.

    Raises:
        InputError: a split, column or average that isn't there; nobody or nothing left.
        UnknownCostError: an explicit ``cost`` that some candidate lacks.
    """
    if average not in AVERAGES:
        raise ConfigError(f"there is no average {average!r}.", remedy=f"Known: {', '.join(AVERAGES)}.")
    if quality_column not in QUALITY_COLUMNS:
        raise ConfigError(
            f"column {quality_column!r} is not one of quality.",
            remedy=f"Known: {', '.join(QUALITY_COLUMNS)}.",
        )
    report = progress or (lambda _stage, _done, _total: None)
    splits = table.split_names()
    train = table if not splits or train_split == EVERY_QUERY else table.split(train_split)
    test = table.split(test_split) if test_split in splits and test_split != train_split else None
    allowed, excluded = select_candidates(train, limits or Constraints())
    parts = {"train": allowed} | ({} if test is None else {"test": test.restrict(allowed.herd.names)})
    coverage = {
        split: dict(zip(part.herd.names, part.coverage(quality_column).tolist(), strict=True))
        for split, part in parts.items()
    }
    excluded = excluded | removed_by_coverage(coverage)
    names = [name for name in table.herd.names if name not in excluded]
    require_some(names, excluded)
    learned = train.restrict(names)
    kind = cost or first_known_kind({each: cost_matrix(learned, each) for each in COST_KINDS})
    if cost is not None:
        require_known(cost, cost_matrix(learned, cost), names)

    coder = ENCODERS.create(encoder) if isinstance(encoder, str) else encoder
    coder.fit(learned.texts)
    X = _encoded(coder, learned)
    report("learn quality", 0, 1)
    fitted, unseen = _learn(predictor, X, learned.matrix(quality_column), seed)
    report("learn quality", 1, 1)
    whole = np.isfinite(learned.matrix(quality_column)).all(axis=1)
    rows = measured_rows(learned, learned.herd, quality_column)
    found = best_subsets(
        Routed(unseen[whole], rows.quality, query_weights(rows.table.benchmarks, average)),
        min(max_candidates, len(names)),
        progress=lambda done, total: report("choose", done, total),
    )
    on_train = _Measured(rows.table, unseen[whole], rows.quality, kind, average)
    on_test = None
    if test is not None:
        held_out = measured_rows(test, learned.herd, quality_column)
        predicted = fitted.predict(_encoded(coder, held_out.table))
        on_test = _Measured(held_out.table, predicted, held_out.quality, kind, average)
    stages = _stages(found, names, on_train, on_test)
    sizes = (len(stage.kept) for stage in stages if stage.train.share >= min_share)
    everybody = np.arange(len(names))
    return Pruning(
        name=table.name,
        quality_column=quality_column,
        average=average,
        cost_kind=kind,
        min_share=min_share,
        n_candidates=len(names),
        n_train=len(rows.quality),
        n_test=None if on_test is None else len(on_test.quality),
        whole_train=on_train.reach(everybody),
        whole_test=None if on_test is None else on_test.reach(everybody),
        stages=stages,
        chosen=next(sizes, None),
        excluded=excluded,
    )


class _Measured:
    """One split's rows, on which sets of columns are measured."""

    def __init__(
        self,
        table: OutcomeTable,
        predicted: np.ndarray,
        quality: np.ndarray,
        kind: CostKind,
        average: Average,
    ) -> None:
        self.predicted, self.quality, self.cost = predicted, quality, cost_matrix(table, kind)
        self.weight = query_weights(table.benchmarks, average)
        self.routed = Routed(predicted, quality, self.weight)
        self.whole = self.routed(np.arange(quality.shape[1]))

    def reach(self, columns: np.ndarray) -> Reach:
        routed = self.routed(columns)
        pick = columns[self.predicted[:, columns].argmax(axis=1)]
        cost = float(self.weight @ self.cost[np.arange(len(pick)), pick])
        return Reach(
            routed=routed,
            share=routed / self.whole if self.whole > 0 else 1.0,
            oracle=float(self.weight @ self.quality[:, columns].max(axis=1)),
            cost=cost if np.isfinite(cost) else None,
        )


def _stages(
    sets: list[np.ndarray], names: list[str], train: _Measured, test: _Measured | None
) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    before: tuple[str, ...] = ()
    for columns in sets:
        kept = tuple(names[i] for i in columns.tolist())
        reach = train.reach(columns)
        last = stages[-1].train if stages else Reach(0.0, 0.0, 0.0, None)
        stages.append(
            Stage(
                kept=kept,
                added=tuple(name for name in kept if name not in before),
                dropped=tuple(name for name in before if name not in kept),
                train=reach,
                test=None if test is None else test.reach(columns),
                routed_gain=reach.routed - last.routed,
                oracle_gain=reach.oracle - last.oracle,
            )
        )
        before = kept
    return tuple(stages)


def _encoded(coder: Encoder, table: OutcomeTable) -> np.ndarray:
    return coder.encode(table.asked_texts(0, table.n_queries) if coder.reads_tools else table.texts)


def _learn(name: str, X: np.ndarray, Y: np.ndarray, seed: int) -> tuple[Predictor, np.ndarray]:
    """A predictor of all rows, and ``(n, m)`` predictions of each row by a fit that had not seen it."""
    fitted = PREDICTORS.create(name).fit(X, Y, seed=seed)
    if fitted.left_out_ is not None:
        return fitted, np.clip(fitted.left_out_, 0.0, 1.0)
    fold = np.random.default_rng(seed).permutation(len(X)) % min(_FOLDS, len(X))
    unseen = np.tile(fitted.means_, (len(X), 1))
    for number in range(int(fold.max()) + 1):
        rest = fold != number
        if np.isfinite(Y[rest]).any():
            unseen[~rest] = PREDICTORS.create(name).fit(X[rest], Y[rest], seed=seed).predict(X[~rest])
    return fitted, unseen
