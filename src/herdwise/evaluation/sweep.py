"""The router's cost-quality curve: the same policy replayed under a range of cost weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from herdwise.core.decision import CostKind, Goals
from herdwise.core.errors import UnknownCostError
from herdwise.evaluation.curves import Hull, aiq, sweep_weights, upper_hull
from herdwise.evaluation.figures import CurvePoint, Curves
from herdwise.evaluation.measured import Measured
from herdwise.evaluation.references import zero_router
from herdwise.evaluation.replay import Openings, Records, replay
from herdwise.routing.base import Policy


def sweep(
    policy: Policy,
    openings: Callable[[Goals], Openings],
    goals: Goals,
    records: Records,
    quality: np.ndarray,
    cost: np.ndarray,
    kind: CostKind,
    mean: Callable[[np.ndarray], np.ndarray],
    cost_range: tuple[float, float],
    report: Callable[[str, int, int], None],
) -> list[CurvePoint]:
    """One point per cost weight, mean recorded cost and quality of what the policy did.

    Queries that a policy leaves unanswered have a cost and no quality: such a weight gives no point.

    Args:
        openings: goals -> opening situation per query.
        quality, cost: ``(n, m)`` recorded.
        mean: the average (micro or macro), used for both axes.
        cost_range: mean cost of the cheapest and the dearest fixed candidate.

    Raises:
        UnknownCostError: when the router can predict no cost of this kind.
    """
    points: list[CurvePoint] = []
    wanted = sweep_weights(*cost_range)
    for done, weight in enumerate(wanted):
        report("curve", done, len(wanted))
        course = replay(policy, openings(goals.replace(cost_weight=float(weight), cost_kind=kind)), records)
        x, y = mean(course.cost(cost)), mean(course.quality(quality))
        if np.isfinite(x) and np.isfinite(y):
            points.append(CurvePoint(float(x), float(y), float(weight)))
    report("curve", len(wanted), len(wanted))
    return points


def vertices(hull: Hull) -> list[CurvePoint]:
    """A hull's vertices, cost ascending."""
    return [CurvePoint(float(c), float(q)) for c, q in zip(hull.cost, hull.quality, strict=True)]


def has_range(cost: np.ndarray) -> bool:
    """Whether the fixed candidates' mean costs are known and differ."""
    return bool(np.isfinite(cost).all() and np.ptp(cost.mean(axis=0)) > 0)


def router_curves(
    measured: Measured,
    policy: Policy,
    openings: Callable[[Goals], Openings],
    goals: Goals,
    records: Records,
    cost: np.ndarray,
    warnings: list[str],
    report: Callable[[str, int, int], None],
) -> tuple[Curves, float | None, float | None]:
    """Curves over the measured rows, AIQ of the router and of the zero router."""
    if not has_range(cost):
        return Curves(), None, None
    quality = measured.quality
    mean_cost, mean_quality = measured.mean(cost), measured.mean(quality)
    ends = float(mean_cost.min()), float(mean_cost.max())
    blind = zero_router(mean_cost, mean_quality)
    try:
        points = sweep(
            policy, openings, goals, records, quality, cost, goals.cost_kind, measured.mean, ends, report
        )
    except UnknownCostError as error:
        warnings.append(f"the router's curve and AIQ are unknown: {error.message}")
        points = []
    if not points:
        return Curves(zero_router_hull=vertices(blind)), None, aiq(blind, *ends)
    own = upper_hull(np.array([p.cost for p in points]), np.array([p.quality for p in points]))
    return Curves(points, vertices(own), vertices(blind)), aiq(own, *ends), aiq(blind, *ends)
