"""Quality against calls and active parameters per query, for several policies on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from herdwise.core.decision import Estimates, Goals
from herdwise.core.errors import UnknownCostError
from herdwise.core.query import Query
from herdwise.evaluation.curves import sweep_weights
from herdwise.evaluation.figures import PolicyCurve, TradeOff
from herdwise.evaluation.measured import Measured
from herdwise.evaluation.openings import openings_of
from herdwise.evaluation.replay import Openings, Records, replay
from herdwise.routing.base import Policy
from herdwise.routing.router import Router

#: Cost weights tried per policy, the unweighted one included.
N_WEIGHTS = 9


def policy_curve(
    policy: Policy,
    openings: Callable[[Goals], Openings],
    goals: Goals,
    records: Records,
    quality: np.ndarray,
    active_params_b: np.ndarray,
    cost_range: tuple[float, float],
    mean: Callable[[np.ndarray], np.ndarray],
) -> PolicyCurve:
    """What one policy makes of its options (see ``Policy.spectrum``) and of cost weights.

    Args:
        openings: goals -> opening situation per query, with a belief where the policy consults.
        quality, active_params_b: ``(n, m)`` recorded; sizes NaN where unknown.
        cost_range: mean cost of the cheapest and the dearest fixed candidate, in the goals' unit.
        mean: average of qualities. Calls and active parameters are always means over queries.

    Points that leave a query unanswered are left out.
    """
    variants = policy.spectrum(quality.shape[1])
    tried: list[tuple[Policy, Goals, str]] = [
        (variant, goals, _changed(variant, policy)) for variant in variants
    ]
    if not variants and cost_range[1] > cost_range[0]:
        for weight in sweep_weights(*cost_range, n=N_WEIGHTS):
            weighted = goals.replace(cost_weight=float(weight))
            tried.append((policy, weighted, f"cost weight {weight:.3g}"))
    points: list[TradeOff] = []
    for variant, under, setting in tried or [(policy, goals, "")]:
        try:
            course = replay(variant, openings(under), records)
        except UnknownCostError:
            continue
        reached = float(mean(course.quality(quality)))
        if np.isfinite(reached):
            size = float(course.cost(active_params_b).mean())
            calls = float(course.calls.mean())
            points.append(TradeOff(setting, reached, calls, size if np.isfinite(size) else None))
    return PolicyCurve(policy.name, sorted(points, key=lambda p: (p.calls, p.quality)))


def policy_curves(
    policies: Sequence[Policy],
    router: Router,
    queries: list[Query],
    estimates: list[Estimates],
    goals: Goals,
    records: Records,
    measured: Measured,
    active_params_b: np.ndarray,
    cost: np.ndarray,
    report: Callable[[str, int, int], None],
) -> list[PolicyCurve]:
    """``policy_curve`` of each on the measured rows; ``cost`` is ``(n, m)`` in the goals' unit."""
    found: list[PolicyCurve] = []
    fixed = measured.mean(cost)
    ends = (float(fixed.min()), float(fixed.max())) if np.isfinite(fixed).all() else (0.0, 0.0)
    for done, policy in enumerate(policies):
        report("policies", done, len(policies))
        under = openings_of(router, policy, queries, estimates)
        found.append(
            policy_curve(
                policy, under, goals, records, measured.quality, active_params_b, ends, measured.mean
            )
        )
    if policies:
        report("policies", len(policies), len(policies))
    return found


def _changed(variant: Policy, policy: Policy) -> str:
    own = policy.options()
    told = [f"{k} {v:g}" for k, v in variant.options().items() if v != own[k] and isinstance(v, int | float)]
    return ", ".join(told) or "as configured"


def names_of(policies: Sequence[str]) -> list[str]:
    """Each name once, in the given order."""
    return list(dict.fromkeys(name.strip() for name in policies if name.strip()))
