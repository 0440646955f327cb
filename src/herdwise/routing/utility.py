"""What a candidate is worth for this query: utility = quality - cost_weight * cost - preferences - margin."""

from __future__ import annotations

import numpy as np

from herdwise.core.decision import CostKind, Estimates, Goals
from herdwise.core.errors import UnknownCostError
from herdwise.routing.constraints import HerdFacts


def costs(facts: HerdFacts, estimates: Estimates, kind: CostKind) -> np.ndarray:
    """Cost of one ask by each candidate in the unit of ``kind``, ``(m,)``, NaN = unknown."""
    if kind == "usd":
        return estimates.cost_usd
    if kind == "active_params":
        return facts.active_params_b
    if kind == "latency":
        return estimates.latency_s
    return np.ones(len(facts.names))


def utilities(
    facts: HerdFacts, estimates: Estimates, goals: Goals, admitted: np.ndarray, removed: dict[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Utility of each candidate, ``(m,)`` float64, -inf where not admitted.

    With ``cost_weight`` above 0 a candidate of unknown cost can't be compared: it is removed, and
    named in ``removed``.

    As soon as anything but quality counts, ``leave_margin`` is taken off everybody who is predicted below the
    best single: among many cheaper candidates one always seems as good by chance, and a predictor's guard
    keeps those it does not trust only a hair below.

    Returns:
        utility, and the mask of who is admitted after that.

    Raises:
        UnknownCostError: when cost counts and no admitted candidate's cost is known.
    """
    wish = goals.preferences
    utility = wish.quality * np.asarray(estimates.quality, dtype=np.float64)
    if goals.cost_weight > 0:
        cost = costs(facts, estimates, goals.cost_kind)
        unknown = np.isnan(cost)
        if unknown[admitted].all():
            raise UnknownCostError(
                f"cost_weight is {goals.cost_weight:g}, but no candidate's cost"
                f" ({goals.cost_kind}) is known.",
                remedy=_COST_REMEDY[goals.cost_kind],
            )
        for position in np.flatnonzero(unknown & admitted):
            removed[facts.names[position]] = f"cost ({goals.cost_kind}) unknown"
        admitted = admitted & ~unknown
        utility = utility - goals.cost_weight * np.where(unknown, 0.0, cost)
    if not wish.neutral:
        for weight, values, log in (
            (wish.cost, estimates.cost_usd, True),
            (wish.size, facts.active_params_b, True),
            (wish.latency, estimates.latency_s, True),
            (wish.recency, -facts.released_day, False),
            (wish.brevity, estimates.output_tokens, True),
        ):
            if weight:
                utility = utility - weight * _scaled(values, admitted, log=log)
    single = estimates.best_single
    if single is not None and admitted[single] and (goals.cost_weight > 0 or not wish.neutral):
        behind = estimates.quality < estimates.quality[single]
        utility = utility - wish.quality * goals.leave_margin * behind
    if admitted is facts.all_admitted:
        return utility, admitted
    return np.where(admitted, utility, -np.inf), admitted


def _scaled(values: np.ndarray, admitted: np.ndarray, *, log: bool) -> np.ndarray:
    """Values moved to [0, 1] over the admitted, 0 = least; unknown counts as 1, the worst.

    Sizes, costs and times differ by factors, so they are compared on a log scale, with everything
    below a ten-thousandth of the largest taken as equal (a cost may be zero).
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values) & admitted
    if not known.any():
        return np.ones(len(values))
    if log:
        top = values[known].max()
        values = np.log(np.maximum(values, top * 1e-4)) if top > 0 else np.zeros_like(values)
    low, high = values[known].min(), values[known].max()
    span = high - low
    scaled = (values - low) / span if span > 0 else np.zeros_like(values)
    return (
        np.where(np.isfinite(values), np.clip(scaled, 0.0, 1.0), 1.0)
        if span > 0
        else np.where(known, 0.0, 1.0)
    )


_COST_REMEDY: dict[CostKind, str] = {
    "usd": "Give candidates a price (input_usd_per_mtok, output_usd_per_mtok), record cost_usd in the"
    " outcomes, or weigh another cost with cost_kind: active_params.",
    "active_params": "Give candidates their active_params_b.",
    "latency": "Give candidates a latency_s, or record it in the outcomes.",
    "calls": "",
}
