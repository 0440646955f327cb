"""Operating point: the weight on cost that saves most while it keeps the quality asked for.

Chosen on training rows alone. Each is predicted by a router that has not seen it; the choice itself is
cross-validated too, since the weight that looks best on some rows loses more on others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from herdwise.core.decision import COST_KINDS, CostKind, Goals
from herdwise.core.errors import InputError
from herdwise.core.outcomes import OutcomeTable
from herdwise.evaluation.costs import cost_matrix
from herdwise.routing.facts import MIN_COVERAGE
from herdwise.routing.router import Router

#: Weights tried, per mean cost of the herd; margins for leaving the best single; losses aimed at.
_WEIGHTS = np.concatenate([[0.0], np.geomspace(1e-3, 0.5, 40), np.geomspace(0.6, 10.0, 10)])
_MARGINS = (0.02, 0.05, 0.1, 0.15, 0.2)
_LOSSES = (0.0, 0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.03)
_FOLDS = 4


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Goals that save cost at a quality, and what they are expected to do.

    Args:
        cost_kind, cost_weight, leave_margin: as in ``Goals``; the weight is per unit of cost.
        loss: expected loss of quality against the reference, a fraction; below 0 = a gain.
        saving: expected share of the reference's cost that is saved, 0 where nothing is worth while.
    """

    cost_kind: CostKind
    cost_weight: float
    leave_margin: float
    loss: float
    saving: float

    def goals(self, goals: Goals | None = None) -> Goals:
        """Goals with this weight and margin."""
        return (goals or Goals()).replace(
            cost_kind=self.cost_kind, cost_weight=self.cost_weight, leave_margin=self.leave_margin
        )


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Training rows as predicted by routers that had not seen them.

    Args:
        foretold, cost_foretold: ``(n, m)`` predicted quality and cost.
        quality, cost: ``(n, m)`` recorded.
        best_single: column of the best candidate, which leaving has a margin for.
    """

    foretold: np.ndarray
    cost_foretold: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    best_single: int

    @classmethod
    def of(cls, table: OutcomeTable, kind: CostKind, quality_column: str, seed: int = 0) -> LeftOut:
        """Predict each row of a table by a router trained on the other folds.

        Raises:
            InputError: when no query was run, with its cost known, by every candidate.
        """
        quality, cost = table.matrix(quality_column), cost_matrix(table, kind)
        whole = np.isfinite(quality).all(axis=1) & np.isfinite(cost).all(axis=1)
        if whole.sum() < 10 * _FOLDS:
            raise InputError(
                f"{table.name or 'the table'}: {int(whole.sum())} queries have quality and {kind} of every"
                f" candidate on record; {10 * _FOLDS} are needed.",
                remedy="Record more, or leave out the candidates whose cost is not known.",
            )
        fold = np.random.default_rng(seed).permutation(table.n_queries) % _FOLDS
        foretold, expected = np.zeros(quality.shape), np.zeros(quality.shape)
        for number in range(_FOLDS):
            held = np.flatnonzero(fold == number)
            inside = table.take(np.flatnonzero(fold != number))
            router = Router.fit(inside, quality_column=quality_column, keep_texts=False, fusion=False)
            rows = table.take(held)
            foretold[held], expected[held] = estimates(router, rows, kind)
        return cls(
            foretold=foretold[whole],
            cost_foretold=expected[whole],
            quality=quality[whole].astype(np.float64),
            cost=cost[whole].astype(np.float64),
            best_single=int(quality[whole].mean(axis=0).argmax()),
        )

    def picks(self, weight: float, margin: float) -> np.ndarray:
        """``(n,)`` columns that ``Single`` asks under a weight per unit of cost and a margin."""
        behind = self.foretold < self.foretold[:, [self.best_single]]
        picked: np.ndarray = (self.foretold - margin * behind - weight * self.cost_foretold).argmax(axis=1)
        return picked


def estimates(router: Router, rows: OutcomeTable, kind: CostKind) -> tuple[np.ndarray, np.ndarray]:
    """Predicted quality and cost of some queries, ``(n, m)`` each."""
    got = router.estimate(rows.queries())
    if kind == "usd":
        return got.quality, got.cost_usd
    return got.quality, got.latency_s if kind == "latency" else cost_matrix(rows, kind)


def choose(rows: LeftOut, kind: CostKind, max_loss: float, reference: int | None = None) -> OperatingPoint:
    """The point of least cost that loses no more than ``max_loss`` against a column (default: best single).

    For each margin and each loss aimed at, the weight is chosen on three quarters of the rows and followed on
    the rest; of those whose loss stays within ``max_loss`` there, the one that saves most is taken.
    """
    reference = rows.best_single if reference is None else reference
    unit = max(float(rows.cost_foretold.mean()), 1e-300)
    alone_quality, alone_cost = rows.quality[:, reference], rows.cost[:, reference]
    at = np.arange(len(rows.quality))
    fold = np.random.default_rng(0).permutation(len(at)) % _FOLDS
    stay = rows.picks(0.0, _MARGINS[0])
    best = OperatingPoint(
        cost_kind=kind,
        cost_weight=0.0,
        leave_margin=_MARGINS[0],
        loss=-float((rows.quality[at, stay] - alone_quality).mean()),
        saving=1.0 - float(rows.cost[at, stay].mean() / alone_cost.mean()),
    )
    for margin in _MARGINS:
        picks = np.stack([rows.picks(float(w) / unit, margin) for w in _WEIGHTS])
        gain = rows.quality[at, picks] - alone_quality
        cost = rows.cost[at, picks]
        for aim in _LOSSES:
            followed = np.zeros(len(at), dtype=np.int64)
            for number in range(_FOLDS):
                held = fold == number
                followed[held] = _cheapest(gain[:, ~held], cost[:, ~held], aim)
            loss = -float(gain[followed, at].mean())
            saving = 1.0 - float(cost[followed, at].mean() / alone_cost.mean())
            if loss <= max_loss and saving > best.saving:
                weight = float(_WEIGHTS[_cheapest(gain, cost, aim)]) / unit
                best = OperatingPoint(kind, weight, margin, loss, saving)
    return best


def _cheapest(gain: np.ndarray, cost: np.ndarray, loss: float) -> int:
    """Which weight costs least at no more than a loss; the one that loses least where all lose more."""
    mean, paid = gain.mean(axis=1), cost.mean(axis=1)
    enough = mean >= -loss
    return int(np.where(enough, paid, np.inf).argmin()) if enough.any() else int(mean.argmax())


def comparable(table: OutcomeTable, kind: CostKind, quality_column: str) -> OutcomeTable:
    """Without the candidates that ran, or whose cost is on record for, less than 95% of the queries.

    Raises:
        InputError: when fewer than two are left.
    """
    known = np.isfinite(table.matrix(quality_column)) & np.isfinite(cost_matrix(table, kind))
    kept = [n for n, c in zip(table.herd.names, known.mean(axis=0), strict=True) if c >= MIN_COVERAGE]
    if len(kept) < 2:
        raise InputError(
            f"{table.name or 'the table'}: {len(kept)} candidates have quality and {kind} on record for"
            f" {MIN_COVERAGE:.0%} of the queries; two are needed.",
            remedy=f"Take more candidates, or another cost that is on record: {', '.join(COST_KINDS)}.",
        )
    return table.restrict(kept)


def operating_point(
    table: OutcomeTable,
    *,
    max_loss: float,
    relative: bool = False,
    kind: CostKind = "usd",
    quality_column: str = "quality",
    seed: int = 0,
) -> OperatingPoint:
    """Goals that save most cost at a loss of no more than ``max_loss`` against the best single candidate.

    Args:
        table: training outcomes of ``comparable`` candidates.
        max_loss: a fraction, such as 0.005 for half a point.
        relative: ``max_loss`` is a share of the best single's quality, not of 1.

    Raises:
        InputError: see ``LeftOut.of``.
    """
    rows = LeftOut.of(table, kind, quality_column, seed)
    scale = float(rows.quality[:, rows.best_single].mean()) if relative else 1.0
    return choose(rows, kind, max_loss * scale)
